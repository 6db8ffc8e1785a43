// The API server as a pod of the cluster knows it: two environment variables and the files of its service account.

import Diagnostics
import Glibc

extension Kubeconfig {
  /// Where the node agent mounts a pod's service account.
  public static let serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

  /// Whether this process runs in a pod that has a service account: `KUBERNETES_SERVICE_HOST` and
  /// `KUBERNETES_SERVICE_PORT` are set and there is a token.
  public static var isInCluster: Bool {
    environment("KUBERNETES_SERVICE_HOST") != nil && environment("KUBERNETES_SERVICE_PORT") != nil
      && access("\(serviceAccountFolder)/token", R_OK) == 0
  }

  /// The configuration of a pod. Throws `CLI0106` outside of one. The token is read again as it ages.
  public static func inCluster(folder: String = serviceAccountFolder) throws(WeftError) -> Kubeconfig {
    guard let host = environment("KUBERNETES_SERVICE_HOST"),
      let port = environment("KUBERNETES_SERVICE_PORT")
    else {
      throw WeftError(
        "CLI0106", object: "KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT",
        cause: "are not set: this is no pod of a cluster", next: "add --kubeconfig FILE")
    }
    var config = Kubeconfig(server: "https://\(host.contains(":") ? "[\(host)]" : host):\(port)")
    config.tokenFile = "\(folder)/token"
    config.token = try TokenFile.read("\(folder)/token")
    // Without it the machine's own roots decide, as for every client.
    if access("\(folder)/ca.crt", R_OK) == 0 {
      config.certificateAuthority = try readFile("\(folder)/ca.crt", code: "CLI0100", bytesMax: 1 << 20)
    }
    if let name = try? readFile("\(folder)/namespace", code: "CLI0100", bytesMax: 1024), !name.isEmpty {
      config.namespace = String(decoding: name, as: UTF8.self)
    }
    return config
  }

  private static func environment(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }
}

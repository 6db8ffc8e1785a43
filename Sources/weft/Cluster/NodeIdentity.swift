// Who `weft node` is towards the API server: what its kubeconfig says, or with --bootstrap-kubeconfig a certificate of its own
// that it asks the cluster for; and the next one before that ends.

import ClusterClient
import ClusterNode
import ClusterObjects
import Diagnostics
import Glibc
import Logging

/// The client of a node, and what keeps its certificate new.
struct NodeIdentity {
  let config: Kubeconfig
  let api: RemoteClient
  private let keeping: Task<Void, Never>?

  /// - Parameters:
  ///   - folder: where the node's certificate is kept.
  ///   - rotates: whether the certificate is asked for again before it ends.
  static func obtain(
    kubeconfig: String, bootstrap: String?, nodeName: String, folder: String, rotates: Bool
  ) async throws -> NodeIdentity {
    let path = "\(folder)/\(CertificatePurpose.client.fileName)"
    if let bootstrap, try !isUsable(kubeconfig) {
      try await join(kubeconfig: kubeconfig, bootstrap: bootstrap, nodeName: nodeName, path: path)
    }
    var config = try Kubeconfig(path: kubeconfig)
    var current = certificate(of: config)
    if rotates, let kept = NodeCertificate.read(path, now: Timestamp.now().seconds),
      kept.end > current?.end ?? 0
    {
      config.clientCertificate = Array(kept.certificate.utf8)
      config.clientKey = Array(kept.key.utf8)
      current = kept
    }
    let api = try RemoteClient(kubeconfig: config)
    guard rotates else { return NodeIdentity(config: config, api: api, keeping: nil) }
    guard let current, current.commonName == "system:node:\(nodeName)" else {
      Logger(label: "node").warning(
        "rotateCertificates has no effect: the kubeconfig has no certificate of this node",
        metadata: ["kubeconfig": "\(kubeconfig)", "wanted": "system:node:\(nodeName)"])
      return NodeIdentity(config: config, api: api, keeping: nil)
    }
    let keeper = CertificateKeeper(
      .client, nodeName: nodeName, folder: folder, api: api, current: current
    ) { next in
      do throws(WeftError) {
        try api.show(certificate: Array(next.certificate.utf8), key: Array(next.key.utf8))
      } catch {
        Logger(label: "node").error("the client keeps its certificate", metadata: ["error": "\(error)"])
      }
    }
    return NodeIdentity(config: config, api: api, keeping: Task { await keeper.run() })
  }

  func stop() { keeping?.cancel() }

  private static func certificate(of config: Kubeconfig) -> NodeCertificate? {
    guard let certificate = config.clientCertificate, let key = config.clientKey else { return nil }
    return NodeCertificate(
      certificate: String(decoding: certificate, as: UTF8.self), key: String(decoding: key, as: UTF8.self))
  }

  /// Whether the file is there, and its certificate is not over.
  private static func isUsable(_ kubeconfig: String) throws -> Bool {
    guard access(kubeconfig, F_OK) == 0 else { return false }
    guard let config = try? Kubeconfig(path: kubeconfig) else { return false }
    return certificate(of: config).map { $0.end > Timestamp.now().seconds } ?? true
  }

  /// The first certificate, by the token of the bootstrap file, and a kubeconfig that names it.
  private static func join(
    kubeconfig: String, bootstrap: String, nodeName: String, path: String
  ) async throws {
    let first = try Kubeconfig(path: bootstrap)
    Terminal.complain("asking the cluster for a certificate of system:node:\(nodeName)")
    let issued = try await CertificateRequests.obtain(
      .client, nodeName: nodeName, api: try RemoteClient(kubeconfig: first))
    try issued.write(path)
    var cluster: JSON = ["server": JSON(first.server)]
    if let authority = first.certificateAuthority {
      cluster["certificate-authority-data"] = JSON(Base64.encode(authority))
    }
    if let name = first.tlsServerName { cluster["tls-server-name"] = JSON(name) }
    if first.skipsVerification { cluster["insecure-skip-tls-verify"] = true }
    let file: JSON = [
      "apiVersion": "v1", "kind": "Config", "current-context": "default",
      "clusters": [["name": "default", "cluster": cluster]],
      "users": [["name": "default", "user": ["client-certificate": JSON(path), "client-key": JSON(path)]]],
      "contexts": [["name": "default", "context": ["cluster": "default", "user": "default"]]],
    ]
    try write(kubeconfig, file.bytes)
  }

  private static func write(_ path: String, _ bytes: [UInt8]) throws(WeftError) {
    let target = "\(path).\(getpid()).tmp"
    let descriptor = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    let written = bytes.withUnsafeBytes {
      descriptor < 0 ? -1 : Glibc.write(descriptor, $0.baseAddress, $0.count)
    }
    if descriptor >= 0 { close(descriptor) }
    guard written == bytes.count, rename(target, path) == 0 else {
      throw WeftError(
        "NOD0033", object: path, cause: "cannot be written: \(String(cString: strerror(errno)))",
        next: "check its folder: ls -ld $(dirname \(path))")
    }
  }
}

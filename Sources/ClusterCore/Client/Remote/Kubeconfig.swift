// Which server, with which credentials: the file that kubectl reads.

import ClusterObjects
import Diagnostics

/// One context of a kubeconfig, resolved: server, CA, client certificate or token. Exec credential plugins
/// are not run.
public struct Kubeconfig: Sendable {
  /// `https://host:port`, with a path if the server sits behind one.
  public var server: String
  /// The namespace of the context; `default` when it names none.
  public var namespace: String
  /// PEM.
  public var certificateAuthority: [UInt8]?
  public var clientCertificate: [UInt8]?
  public var clientKey: [UInt8]?
  public var token: String?
  /// A file that holds the token and is read again as it ages: tokens of pods are renewed in place.
  public var tokenFile: String?
  public var user: String?
  public var password: String?
  /// The name the server's certificate must carry, when it is not the host of `server`.
  public var tlsServerName: String?
  public var skipsVerification = false

  public init(server: String, namespace: String = "default") {
    self.server = server
    self.namespace = namespace
  }

  /// Reads the context named, or the current one. Relative file names in it are taken from its folder.
  public init(path: String, context: String? = nil) throws(WeftError) {
    let bytes = try readFile(path, code: "CLI0100", bytesMax: 4 << 20)
    let folder = path.contains("/") ? String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) : "."
    let tree: JSON
    do throws(YAMLError) {
      tree = try YAML.parse(String(decoding: bytes, as: UTF8.self))
    } catch {
      throw WeftError(
        "CLI0101", object: error.line > 0 ? "\(path):\(error.line)" : path, cause: error.reason,
        next: "correct the kubeconfig")
    }
    self = try Self.build(tree, context: context, path: path, folder: folder)
  }

  private static func build(_ tree: JSON, context: String?, path: String, folder: String) throws(WeftError)
    -> Kubeconfig
  {
    func entry(_ list: String, _ kind: String, _ name: String) throws(WeftError) -> JSON {
      if let found = tree[list]?.elements.first(where: { $0["name"]?.string == name })?[kind] { return found }
      let known = (tree[list]?.elements ?? []).compactMap { $0["name"]?.string }.joined(separator: ", ")
      throw WeftError(
        "CLI0102", object: path,
        cause: "no \(kind) named \"\(name)\"; there are: \(known.isEmpty ? "none" : known)",
        next: "choose one with --context")
    }
    let name = context ?? tree["current-context"]?.string ?? ""
    let chosen = try entry("contexts", "context", name)
    let cluster = try entry("clusters", "cluster", chosen["cluster"]?.string ?? "")
    guard let server = cluster["server"]?.string else {
      throw WeftError(
        "CLI0102", object: path, cause: "the cluster names no server", next: "add `server:` to it")
    }
    func bytes(_ source: JSON, _ field: String) throws(WeftError) -> [UInt8]? {
      if let text = source["\(field)-data"]?.string {
        guard let decoded = Base64.decode(text.filter { !$0.isWhitespace }) else {
          throw WeftError("CLI0101", object: path, cause: "\(field)-data is not base64", next: "correct it")
        }
        return decoded
      }
      guard let file = source[field]?.string, !file.isEmpty else { return nil }
      return try readFile(file.hasPrefix("/") ? file : "\(folder)/\(file)", code: "CLI0100")
    }
    var config = Kubeconfig(server: server, namespace: chosen["namespace"]?.string ?? "default")
    config.certificateAuthority = try bytes(cluster, "certificate-authority")
    config.tlsServerName = cluster["tls-server-name"]?.string
    config.skipsVerification = cluster["insecure-skip-tls-verify"]?.bool ?? false
    guard let userName = chosen["user"]?.string, !userName.isEmpty else { return config }
    let user = try entry("users", "user", userName)
    config.clientCertificate = try bytes(user, "client-certificate")
    config.clientKey = try bytes(user, "client-key")
    config.token = user["token"]?.string
    if config.token == nil, let file = user["tokenFile"]?.string, !file.isEmpty {
      let path = file.hasPrefix("/") ? file : "\(folder)/\(file)"
      config.tokenFile = path
      config.token = try TokenFile.read(path)
    }
    config.user = user["username"]?.string
    config.password = user["password"]?.string
    if user["exec"] != nil, config.token == nil, config.clientCertificate == nil {
      throw WeftError(
        "CLI0103", object: path,
        cause: "user \"\(userName)\" gets credentials from a program, which is not supported",
        next: "use a context with a token or a client certificate")
    }
    return config
  }
}

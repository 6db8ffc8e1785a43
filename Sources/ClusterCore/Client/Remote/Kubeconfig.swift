// Which server, with which credentials: the file that kubectl reads.

import ClusterObjects
import Diagnostics
import Glibc

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
    self = try Self.build([KubeconfigFile(path)], context: context)
  }

  /// Several files as kubectl reads `KUBECONFIG`: the first that says something counts, those that do not exist are passed over.
  /// Throws `CLI0100` when none exists.
  public init(paths: [String], context: String? = nil) throws(WeftError) {
    let there = paths.filter { access($0, F_OK) == 0 }
    var files: [KubeconfigFile] = []
    for path in there.isEmpty ? Array(paths.prefix(1)) : there { files.append(try KubeconfigFile(path)) }
    self = try Self.build(files, context: context)
  }

  private static func build(_ files: [KubeconfigFile], context: String?) throws(WeftError) -> Kubeconfig {
    let path = files.map(\.path).joined(separator: ":")
    func entry(_ list: String, _ kind: String, _ name: String) throws(WeftError) -> (JSON, KubeconfigFile) {
      for file in files {
        if let found = file.entries(list).first(where: { $0["name"]?.string == name })?[kind] {
          return (found, file)
        }
      }
      let known = files.flatMap { $0.entries(list) }.compactMap { $0["name"]?.string }.joined(separator: ", ")
      throw WeftError(
        "CLI0102", object: path,
        cause: "no \(kind) named \"\(name)\"; there are: \(known.isEmpty ? "none" : known)",
        next: "choose one with --context")
    }
    let current = files.lazy.compactMap { $0.tree["current-context"]?.string }.first { !$0.isEmpty }
    let (chosen, _) = try entry("contexts", "context", context ?? current ?? "")
    let (cluster, clusterFile) = try entry("clusters", "cluster", chosen["cluster"]?.string ?? "")
    guard let server = cluster["server"]?.string else {
      throw WeftError(
        "CLI0102", object: clusterFile.path, cause: "the cluster names no server", next: "add `server:` to it"
      )
    }
    var config = Kubeconfig(
      server: server, namespace: chosen["namespace"]?.string.flatMap { $0.isEmpty ? nil : $0 } ?? "default")
    config.certificateAuthority = try clusterFile.bytes(cluster, "certificate-authority")
    config.tlsServerName = cluster["tls-server-name"]?.string
    config.skipsVerification = cluster["insecure-skip-tls-verify"]?.bool ?? false
    guard let userName = chosen["user"]?.string, !userName.isEmpty else { return config }
    let (user, userFile) = try entry("users", "user", userName)
    config.clientCertificate = try userFile.bytes(user, "client-certificate")
    config.clientKey = try userFile.bytes(user, "client-key")
    config.token = user["token"]?.string
    if config.token == nil, let file = user["tokenFile"]?.string, !file.isEmpty {
      let path = userFile.absolute(file)
      config.tokenFile = path
      config.token = try TokenFile.read(path)
    }
    config.user = user["username"]?.string
    config.password = user["password"]?.string
    if user["exec"] != nil, config.token == nil, config.clientCertificate == nil {
      throw WeftError(
        "CLI0103", object: userFile.path,
        cause: "user \"\(userName)\" gets credentials from a program, which is not supported",
        next: "use a context with a token or a client certificate")
    }
    return config
  }
}

/// One file of a kubeconfig, as a tree.
private struct KubeconfigFile {
  let path: String
  let tree: JSON

  init(_ path: String) throws(WeftError) {
    self.path = path
    let bytes = try readFile(path, code: "CLI0100", bytesMax: 4 << 20)
    do throws(YAMLError) {
      tree = try YAML.parse(String(decoding: bytes, as: UTF8.self))
    } catch {
      throw WeftError(
        "CLI0101", object: error.line > 0 ? "\(path):\(error.line)" : path, cause: error.reason,
        next: "correct the kubeconfig")
    }
  }

  func entries(_ list: String) -> [JSON] { tree[list]?.elements ?? [] }

  /// A name of a file, which stands relative to this one's folder.
  func absolute(_ file: String) -> String {
    if file.hasPrefix("/") { return file }
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    return "\(folder)/\(file)"
  }

  /// What a field says, in place (`-data`) or by the name of a file.
  func bytes(_ source: JSON, _ field: String) throws(WeftError) -> [UInt8]? {
    if let text = source["\(field)-data"]?.string {
      guard let decoded = Base64.decode(text.filter { !$0.isWhitespace }) else {
        throw WeftError("CLI0101", object: path, cause: "\(field)-data is not base64", next: "correct it")
      }
      return decoded
    }
    guard let file = source[field]?.string, !file.isEmpty else { return nil }
    return try readFile(absolute(file), code: "CLI0100")
  }
}

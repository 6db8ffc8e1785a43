// How to reach an API server, as a kubeconfig says it: address, trust, identity.

import ClusterObjects
import Diagnostics
import Glibc
import Yams

/// One context of a kubeconfig, with files read and inline data decoded. Certificates and keys are PEM text.
public struct ClientConfiguration: Sendable {
  /// `https://HOST:PORT`, perhaps with a path.
  public var server: String
  public var authority: String?
  public var isInsecure = false
  public var serverName: String?
  public var clientCertificate: String?
  public var clientKey: String?
  public var token: String?
  public var namespace = "default"

  public init(server: String) { self.server = server }

  /// Reads a kubeconfig. Throws `CLI0021` when it cannot be read and `CLI0022` when it says something unusable.
  public init(kubeconfig path: String, context wanted: String? = nil) throws(WeftError) {
    let folder = path.split(separator: "/").dropLast().reduce(path.hasPrefix("/") ? "" : ".") {
      "\($0)/\($1)"
    }
    guard let text = Self.read(path) else {
      throw WeftError(
        "CLI0021", object: "kubeconfig \(path)", cause: "cannot be read: \(String(cString: strerror(errno)))",
        next: "check the path, or start a cluster: weft up")
    }
    func unusable(_ cause: String) -> WeftError {
      WeftError(
        "CLI0022", object: "kubeconfig \(path)", cause: cause,
        next: "compare with: kubectl config view --kubeconfig \(path)")
    }
    let tree: JSON
    do {
      tree = try YAML.one(text)
    } catch {
      throw unusable("is no YAML (\(error))")
    }
    func entry(_ list: String, _ key: String, _ name: String) -> JSON? {
      tree[list]?.elements.first { $0["name"]?.string == name }?[key]
    }
    let name = wanted ?? tree["current-context"]?.string ?? ""
    guard let context = entry("contexts", "context", name) else {
      throw unusable("has no context \"\(name)\"")
    }
    guard let cluster = entry("clusters", "cluster", context["cluster"]?.string ?? ""),
      let server = cluster["server"]?.string
    else { throw unusable("names no server for context \"\(name)\"") }
    let user = entry("users", "user", context["user"]?.string ?? "") ?? [:]
    func material(_ tree: JSON, _ key: String) throws(WeftError) -> String? {
      if let data = tree["\(key)-data"]?.string, !data.isEmpty {
        guard let bytes = Base64.decode(data) else { throw unusable("\(key)-data is no base64") }
        return String(decoding: bytes, as: UTF8.self)
      }
      guard let file = tree[key]?.string, !file.isEmpty else { return nil }
      guard let text = Self.read(file.hasPrefix("/") ? file : "\(folder)/\(file)") else {
        throw unusable("names the file \(file), which cannot be read")
      }
      return text
    }
    self.init(server: server)
    authority = try material(cluster, "certificate-authority")
    isInsecure = cluster["insecure-skip-tls-verify"]?.bool ?? false
    serverName = cluster["tls-server-name"]?.string
    clientCertificate = try material(user, "client-certificate")
    clientKey = try material(user, "client-key")
    token = user["token"]?.string
    if token == nil, let file = user["tokenFile"]?.string, let text = Self.read(file) {
      token = String(text.split(separator: "\n").first ?? "")
    }
    if let namespace = context["namespace"]?.string, !namespace.isEmpty { self.namespace = namespace }
  }

  /// At most 1 MiB: no kubeconfig is larger.
  private static func read(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while bytes.count < 1 << 20 {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 { return nil }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

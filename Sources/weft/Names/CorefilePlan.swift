// A Corefile from its path: read with the files it names, and what it comes to for the server.

import Addresses
import DNS
import Diagnostics
import Glibc

/// What `weft dns` serves, and where.
struct DNSPlan: Sendable {
  var zone = ZoneSettings()
  var server = DNSServerSettings()
  var listen: [SocketEndpoint] = []
  /// Ports over TLS and HTTPS.
  var encrypted: [EncryptedPort] = []
  var metrics: SocketEndpoint?
  var health: SocketEndpoint?
  var ready: SocketEndpoint?
  var lameduckSeconds = 0.0
  var access = Corefile.Access()
  var reloadSeconds: Double?
  /// Between looks at the files that the Corefile names, for which `reload` is not needed.
  var fileReloadSeconds: Double?
  /// `startup_timeout`: how long the start waits for the cluster before it serves.
  var startupSeconds: Double?
  var warnings: [String] = []
  /// Text of the file and of all it names: what is compared to see a change.
  var source = ""
  /// The Corefile alone, and the files that it names.
  var text = ""
  var files: [String] = []

  /// Plugins of this file that a node has no use for: it has pages of its own.
  var unusedOnNode: [String] {
    let asked = [("prometheus", metrics != nil), ("health", health != nil), ("ready", ready != nil)]
    return asked.filter(\.1).map(\.0)
  }

  /// How the files look from outside: it changes when one of them does. Costs a look at each.
  var signature: String {
    files.map { path in
      var info = Glibc.stat()
      guard stat(path, &info) == 0 else { return "-" }
      return "\(info.st_ino) \(info.st_size) \(info.st_mtim.tv_sec).\(info.st_mtim.tv_nsec)"
    }.joined(separator: "\n")
  }
}

enum CorefilePlan {
  /// Reads a Corefile. Relative paths begin at its folder.
  /// - Throws: `CLI0030` when it cannot be opened, `DNS0010` with file and line when it cannot be read, `CLI0031` when it
  ///   serves no cluster.
  /// - Parameter known: the Corefile's text, when only the files that it names are to be read again.
  static func read(_ path: String, text known: String? = nil) throws(WeftError) -> DNSPlan {
    let text: String
    if let known { text = known } else { text = try TextFile.read(path, code: "CLI0030") }
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
    let seen = SeenFiles()
    let corefile = try Corefile.read(text, file: path, environment: environment()) { name in
      let path = name.hasPrefix("/") ? name : folder + name
      let content = Self.file(path)
      seen.text += content ?? ""
      seen.paths.append(path)
      return content
    } interfaces: {
      OwnAddresses.of($0)
    }
    guard let zone = corefile.zone else {
      throw WeftError(
        "CLI0031", object: path, cause: "no `kubernetes` line says which zone is the cluster's",
        next: "add: kubernetes cluster.local in-addr.arpa ip6.arpa")
    }
    var plan = DNSPlan(zone: zone, server: corefile.server)
    func endpoints(_ port: UInt16) -> [SocketEndpoint] {
      let addresses = corefile.bindAddresses(port)
      return (addresses.isEmpty ? [IPAddress.v4(IPv4Address(bits: 0))] : addresses).map {
        SocketEndpoint($0, port)
      }
    }
    plan.listen = corefile.ports.flatMap(endpoints)
    for transport in [ServerBlock.Transport.tls, .https] {
      for port in corefile.ports(transport) {
        guard let credentials = corefile.credentials(port, transport) else { continue }
        plan.encrypted += endpoints(port).map { EncryptedPort($0, transport, credentials) }
      }
    }
    plan.metrics = try corefile.metricsAddress.map { text throws(WeftError) in try page(text, path) }
    plan.health = try corefile.healthAddress.map { text throws(WeftError) in try page(text, path) }
    plan.ready = try corefile.readyAddress.map { text throws(WeftError) in try page(text, path) }
    plan.lameduckSeconds = corefile.lameduckSeconds
    plan.access = corefile.access
    func inFolder(_ name: String) -> String { name.hasPrefix("/") ? name : folder + name }
    plan.access.tls = corefile.access.tls.map(inFolder)
    plan.access.kubeconfig = corefile.access.kubeconfig.map(inFolder)
    plan.reloadSeconds = corefile.reloadSeconds
    plan.warnings = corefile.warnings.map { "\(path): \($0)" }
    plan.fileReloadSeconds = corefile.fileReloadSeconds
    plan.startupSeconds = corefile.startupSeconds
    plan.source = text + seen.text
    plan.text = text
    plan.files = seen.paths
    return plan
  }

  private final class SeenFiles {
    var text = ""
    var paths: [String] = []
  }

  /// A file, or all that a pattern with `*` names, one after the other; nil when there is none.
  private static func file(_ path: String) -> String? {
    guard path.contains("*") else {
      return access(path, R_OK) == 0 ? try? TextFile.read(path, code: "CLI0030") : nil
    }
    var found = glob_t()
    defer { globfree(&found) }
    // A pattern that names nothing is an empty file: clusters import folders that may be empty.
    guard glob(path, 0, nil, &found) == 0, let paths = found.gl_pathv else { return "" }
    return (0..<Int(found.gl_pathc)).compactMap { index in
      paths[index].flatMap { try? TextFile.read(String(cString: $0), code: "CLI0030") }
    }.joined(separator: "\n")
  }

  private static func environment() -> [String: String] {
    var values: [String: String] = [:]
    var at = environ
    while let entry = at.pointee {
      let text = String(cString: entry)
      if let equals = text.firstIndex(of: "=") {
        values[String(text[..<equals])] = String(text[text.index(after: equals)...])
      }
      at += 1
    }
    return values
  }

  /// An address as CoreDNS writes them: `:9153` means every address, `localhost:8080` loopback.
  private static func page(_ text: String, _ file: String) throws(WeftError) -> SocketEndpoint {
    if text.hasPrefix(":") { return try endpoint("0.0.0.0\(text)", file) }
    if text.hasPrefix("localhost:") { return try endpoint("127.0.0.1\(text.dropFirst(9))", file) }
    return try endpoint(text, file)
  }

  static func endpoint(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint {
    guard let endpoint = SocketEndpoint(text) else {
      throw WeftError(
        "CLI0004", object: "\(flag) \(text)", cause: "is no address and port",
        next: "write it as 127.0.0.1:53")
    }
    return endpoint
  }
}

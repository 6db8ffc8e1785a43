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
  var startupSeconds = Corefile.startupSecondsDefault
  var reloadSeconds: Double?
  var warnings: [String] = []
  /// Text of the file and of all it names: what is compared to see a change.
  var source = ""
}

enum CorefilePlan {
  /// Reads a Corefile. Relative paths begin at its folder.
  /// - Throws: `CLI0030` when it cannot be opened, `DNS0010` with file and line when it cannot be read, `CLI0031` when it
  ///   serves no cluster.
  static func read(_ path: String) throws(WeftError) -> DNSPlan {
    let text = try TextFile.read(path, code: "CLI0030")
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
    let seen = SeenFiles()
    let corefile = try Corefile.read(text, file: path, environment: environment()) { name in
      let content = Self.file(name.hasPrefix("/") ? name : folder + name)
      seen.text += content ?? ""
      return content
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
    plan.startupSeconds = corefile.startupSeconds
    plan.reloadSeconds = corefile.reloadSeconds
    plan.warnings = corefile.warnings.map { "\(path): \($0)" }
    plan.source = text + seen.text
    return plan
  }

  private final class SeenFiles { var text = "" }

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

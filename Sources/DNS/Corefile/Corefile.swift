// A CoreDNS configuration, read into our settings. What we do not have is named in a warning, never passed over in
// silence.

import Addresses
import Diagnostics

/// What a Corefile asks for.
public struct Corefile: Sendable {
  /// Something in the file that has no effect here.
  public struct Warning: Sendable, Hashable, CustomStringConvertible {
    public var line: Int
    public var subject: String
    public var text: String
    public var description: String { "line \(line): \(subject): \(text)" }
  }

  /// The cluster's zone; nil without a `kubernetes` plugin.
  public var zone: ZoneSettings?
  public var server = DNSServerSettings()
  /// Ports to listen on, each once, in order of appearance.
  public var ports: [UInt16] = []
  /// Addresses of `bind`; empty means all.
  public var bindAddresses: [IPAddress] = []
  /// Addresses to serve metrics, health and readiness on; nil when not asked for.
  public var metricsAddress: String?
  public var healthAddress: String?
  public var readyAddress: String?
  public var lameduckSeconds = 0.0
  public var isReloading = false
  public var isLoopChecked = false
  public var isLoggingQueries = false
  public var warnings: [Warning] = []

  /// Plugins that ask for nothing we would do differently.
  static let accepted: Set<String> = ["errors", "debug", "bufsize", "minimal", "cancel", "any"]
  static let forwardUpstreamsMax = 15

  /// Reads a Corefile.
  /// - Parameters:
  ///   - resolvConf: the text of the resolv.conf files `forward` names, by path.
  /// - Throws: `DNS0010` with file and line for text that cannot be read, and for values out of range.
  public static func read(
    _ text: String, file: String = "Corefile", environment: [String: String] = [:],
    resolvConf: @escaping (String) -> String? = { _ in nil }
  ) throws(WeftError) -> Corefile {
    let lines = try CorefileSyntax.read(text, file: file, environment: environment)
    var corefile = Corefile()
    corefile.server.cache.entriesMax = 0
    var snippets: [String: [CorefileDirective]] = [:]
    for block in lines {
      if block.words.count == 1, block.name.hasPrefix("("), block.name.hasSuffix(")") {
        snippets[String(block.name.dropFirst().dropLast())] = block.block
        continue
      }
      var reader = CorefileReader(file: file, resolvConf: resolvConf, snippets: snippets)
      try reader.readBlock(block, &corefile)
    }
    if corefile.ports.isEmpty { corefile.ports = [53] }
    return corefile
  }
}

/// Reads one server block.
struct CorefileReader {
  let file: String
  let resolvConf: (String) -> String?
  let snippets: [String: [CorefileDirective]]

  func fail(_ directive: CorefileDirective, _ cause: String) -> WeftError {
    corefileError(file, directive.line, "\(directive.name): \(cause)")
  }

  mutating func readBlock(_ block: CorefileDirective, _ corefile: inout Corefile) throws(WeftError) {
    var zones: [DomainName] = []
    for key in block.words.flatMap({ $0.split(separator: ",") }) {
      let (name, port) = try readKey(String(key), block)
      zones.append(name)
      if !corefile.ports.contains(port) { corefile.ports.append(port) }
    }
    for directive in block.block { try read(directive, zones, &corefile, depth: 0) }
  }

  private func readKey(_ key: String, _ block: CorefileDirective) throws(WeftError) -> (DomainName, UInt16) {
    var rest = key[...]
    if let scheme = rest.firstRange(of: "://") {
      guard rest[..<scheme.lowerBound] == "dns" else {
        throw corefileError(
          file, block.line, "\(key): only plain DNS is served, not \(rest[..<scheme.lowerBound])")
      }
      rest = rest[scheme.upperBound...]
    }
    var port: UInt16 = 53
    if let colon = rest.lastIndex(of: ":"), !rest.contains("/") || rest[colon...].count < 7 {
      guard let number = UInt16(rest[rest.index(after: colon)...]), number > 0 else {
        throw corefileError(file, block.line, "\(key): not a port")
      }
      port = number
      rest = rest[..<colon]
    }
    guard let name = zoneName(String(rest)) else {
      throw corefileError(file, block.line, "\(key): not a zone")
    }
    return (name, port)
  }

  /// A zone by name, or by address block as `10.43.0.0/16` (whole octets or nibbles).
  func zoneName(_ text: String) -> DomainName? {
    if text.contains("/"), let block = IPPrefix(text) {
      let step = block.family == .v4 ? 8 : 4
      let labels = DomainName.reverse(of: block.address).labels
      return DomainName(
        labels: labels.dropFirst((block.family.width - block.length + step - 1) / step).map(Array.init))
    }
    return DomainName(text)
  }

  private mutating func read(
    _ directive: CorefileDirective, _ zones: [DomainName], _ corefile: inout Corefile, depth: Int
  ) throws(WeftError) {
    let first = directive.arguments.first
    switch directive.name {
    case "kubernetes":
      if corefile.zone != nil { throw fail(directive, "the cluster's zone is configured twice") }
      corefile.zone = try readKubernetes(directive, zones, &corefile.warnings)
    case "forward":
      let route = try readForward(directive, &corefile.warnings)
      // A server block is only asked for its own zones: `forward .` in the block of acme.test means acme.test.
      for zone in zones.isEmpty ? [.root] : zones {
        var own = route
        if !route.zone.isWithin(zone) {
          guard zone.isWithin(route.zone) else { continue }
          own.zone = zone.lowercased
        }
        corefile.server.routes.append(own)
      }
      for option in directive.block where option.name == "max_concurrent" {
        guard let count = option.arguments.first.flatMap({ Int($0) }), count > 0 else {
          throw fail(option, "not a number")
        }
        corefile.server.forwardsMax = count
      }
    case "cache": try readCache(directive, &corefile)
    case "prometheus": corefile.metricsAddress = first ?? "localhost:9153"
    case "health":
      corefile.healthAddress = first ?? ":8080"
      for option in directive.block where option.name == "lameduck" {
        guard let seconds = option.arguments.first.flatMap(Self.seconds) else {
          throw fail(option, "not a duration")
        }
        corefile.lameduckSeconds = seconds
      }
    case "ready": corefile.readyAddress = first ?? ":8181"
    case "loadbalance": corefile.server.isRotating = true
    case "reload": corefile.isReloading = first != "0" && first != "off"
    case "loop": corefile.isLoopChecked = true
    case "log": corefile.isLoggingQueries = true
    case "bind":
      for text in directive.arguments {
        guard let address = IPAddress(text) else { throw fail(directive, "\(text) is not an address") }
        corefile.bindAddresses.append(address)
      }
    case "import":
      guard let first, let snippet = snippets[first], depth < 4 else {
        throw fail(directive, "no snippet of this name stands above; files are not imported")
      }
      for line in snippet { try read(line, zones, &corefile, depth: depth + 1) }
    case let name where Corefile.accepted.contains(name): break
    default:
      corefile.warnings.append(
        .init(
          line: directive.line, subject: directive.name,
          text: "this plugin is not supported; the line has no effect"))
    }
  }

  private func readCache(_ directive: CorefileDirective, _ corefile: inout Corefile) throws(WeftError) {
    corefile.server.cache.entriesMax = 9984
    for argument in directive.arguments.prefix(1) {
      if let seconds = UInt32(argument) {
        corefile.server.cache.positiveSecondsMax = seconds
        corefile.server.cache.negativeSecondsMax = min(seconds, 1800)
      }
    }
    for option in directive.block {
      let numbers = option.arguments.compactMap { UInt32($0) }
      switch option.name {
      case "success" where numbers.count >= 1:
        corefile.server.cache.entriesMax = Int(min(numbers[0], 1_000_000))
        if numbers.count > 1 { corefile.server.cache.positiveSecondsMax = numbers[1] }
      case "denial" where numbers.count >= 1:
        if numbers.count > 1 { corefile.server.cache.negativeSecondsMax = numbers[1] }
      default:
        corefile.warnings.append(
          .init(line: option.line, subject: "cache \(option.name)", text: "this option is not supported"))
      }
    }
  }

  /// `5s`, `250ms`, `1m`, `5`.
  static func seconds(_ text: String) -> Double? {
    for (unit, factor) in [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)] where text.hasSuffix(unit) {
      return Double(text.dropLast(unit.count)).map { $0 * factor }
    }
    return Double(text)
  }
}

// A CoreDNS configuration, read into server blocks. What cannot mean anything is an error with file and line, an unknown
// plugin too; what is known and has no effect here is named in a warning, never passed over in silence.

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

  /// How the kubernetes plugin says the API server is reached, files by their paths. What the command line says goes before it.
  public struct Access: Sendable, Hashable {
    public var kubeconfig: String?
    public var context: String?
    /// `endpoint`: a URL.
    public var server: String?
    /// Client certificate, its key and the server's authority, or nothing.
    public var tls: [String] = []
    /// Requests a second, how many at once after a pause, and how many at the same time; 0 for no bound.
    public var requestsPerSecond = 0.0
    public var requestBurst = 0
    public var requestsInFlightMax = 0
    public init() {}
    /// Whether a server is named.
    public var isEmpty: Bool { kubeconfig == nil && server == nil && tls.isEmpty }
  }

  /// The cluster's zone; nil without a `kubernetes` plugin.
  public var zone: ZoneSettings?
  /// Settings whose `blocks` are the file's server blocks.
  public var server = DNSServerSettings()
  /// Addresses to serve metrics, health and readiness on; nil when not asked for.
  public var metricsAddress: String?
  public var healthAddress: String?
  public var readyAddress: String?
  /// Seconds that a server that is told to end goes on answering, so that nobody asks it any more by then.
  public var lameduckSeconds = 0.0
  public var access = Access()
  /// Seconds between two looks at the file; nil when it is read once.
  public var reloadSeconds: Double?
  /// Seconds between two looks at files of `hosts`, `file` and weights; nil when there are none to look at.
  public var fileReloadSeconds: Double?
  /// How long a start waits for the cluster before it opens its ports; nil: it opens them at once.
  public var startupSeconds: Double?
  /// Where nothing is said, how long the API server is waited for before names known from an earlier run are served.
  public static let startupSecondsDefault = 5.0
  public var isLoopChecked = false
  public var warnings: [Warning] = []

  public var blocks: [ServerBlock] { server.blocks }
  /// Ports of plain DNS, each once, in order of appearance.
  public var ports: [UInt16] { ports(.dns) }

  public func ports(_ transport: ServerBlock.Transport) -> [UInt16] {
    var seen: [UInt16] = []
    for key in blocks.flatMap(\.keys) where key.transport == transport && !seen.contains(key.port) {
      seen.append(key.port)
    }
    return seen
  }

  /// The certificate of a port over TLS or HTTPS: that of the first block there that has one.
  public func credentials(_ port: UInt16, _ transport: ServerBlock.Transport) -> TLSCredentials? {
    let ours = blocks.filter { $0.keys.contains { $0.port == port && $0.transport == transport } }
    return ours.lazy.compactMap(\.credentials).first
  }

  /// Addresses of `bind` for a port; empty means all.
  public func bindAddresses(_ port: UInt16) -> [IPAddress] {
    let ours = blocks.filter { $0.keys.contains { $0.port == port } }
    if ours.contains(where: { $0.bind.isEmpty }) { return [] }
    return Array(Set(ours.flatMap(\.bind))).sorted()
  }

  /// Plugins that are read, for whoever mistypes one.
  static let read = [
    "acl", "any", "autopath", "bind", "bufsize", "cache", "dns64", "dnstap", "errors", "file", "forward",
    "health",
    "hosts", "k8s_external", "kubernetes", "loadbalance", "log", "loop", "minimal", "nsid", "prometheus",
    "ready",
    "reload", "rewrite", "rrl", "template", "tls", "transfer", "view",
  ]
  /// Plugins that ask for nothing we would do differently.
  static let accepted: Set<String> = ["cancel", "debug"]
  /// Plugins about the process of CoreDNS: they have no effect here, and that is said.
  static let withoutEffect: Set<String> = ["metadata", "multisocket", "pprof", "timeouts", "trace"]
  /// Plugins of CoreDNS that are not here: whoever asks for them would miss them.
  static let unsupported: Set<String> = [
    "auto", "azure", "clouddns", "dnssec", "erratic", "etcd", "geoip", "grpc", "grpc_server",
    "header", "https3",
    "local", "nomad", "on", "proxyproto", "quic", "route53", "secondary", "sign", "tsig",
    "whoami",
  ]
  static let forwardUpstreamsMax = 15

  /// Reads a Corefile.
  /// - Parameters:
  ///   - files: the text of a file by its path as it is written in the Corefile: what `import`, `hosts`, `file` and
  ///     `forward` name. Nil when there is none.
  ///   - interfaces: the addresses of a network interface, for `bind`; nil when there is none of the name.
  /// - Throws: `DNS0010` with file and line for text that cannot be read, for unknown plugins, and for values out of range.
  public static func read(
    _ text: String, file: String = "Corefile", environment: [String: String] = [:],
    files: @escaping (String) -> String? = { _ in nil },
    interfaces: @escaping (String) -> [IPAddress]? = { _ in nil }
  ) throws(WeftError) -> Corefile {
    var syntax = CorefileSyntax(environment: environment, files: files)
    let lines = try syntax.read(text, file: file)
    var corefile = Corefile()
    for line in lines {
      var reader = CorefileReader(files: files, interfaces: interfaces, corefile: corefile)
      try reader.readBlock(line)
      corefile = reader.corefile
    }
    try checkOverlaps(corefile.blocks, file)
    return corefile
  }

  /// Two blocks for the same zone and port are an error unless views tell them apart.
  private static func checkOverlaps(_ blocks: [ServerBlock], _ file: String) throws(WeftError) {
    for (index, block) in blocks.enumerated() {
      for other in blocks[..<index] where block.view == nil && other.view == nil {
        let binds =
          Set(block.bind).isDisjoint(with: other.bind) && !(block.bind.isEmpty || other.bind.isEmpty)
        guard !binds, let key = block.keys.first(where: { other.keys.contains($0) }) else { continue }
        throw corefileError(
          file, block.line,
          "\(key.zone) on port \(key.port) is served by the block of line \(other.line) already")
      }
    }
  }
}

/// Reads one server block.
struct CorefileReader {
  let files: (String) -> String?
  let interfaces: (String) -> [IPAddress]?
  var corefile: Corefile
  var block = ServerBlock(keys: [])
  /// `k8s_external`, which may stand before `kubernetes`.
  var external: (zones: ZoneSettings.ExternalZones, line: CorefileDirective)?
  /// Folder that relative paths begin at (`root`).
  var root = ""

  /// - Parameter index: the word that is wrong; nil for the one that the cause begins with.
  func fail(_ directive: CorefileDirective, _ cause: String, at index: Int? = nil) -> WeftError {
    corefileError(
      directive.file, directive.line, "\(directive.name): \(cause)",
      excerpt: directive.excerpt(index ?? directive.index(of: cause)))
  }

  /// For options that take no words.
  func nothing(_ option: CorefileDirective) throws(WeftError) {
    if option.words.count > 1 { throw fail(option, "\(option.words[1]) is one word too many") }
  }

  mutating func warn(_ directive: CorefileDirective, _ subject: String, _ text: String) {
    corefile.warnings.append(.init(line: directive.line, subject: subject, text: text))
  }

  mutating func readBlock(_ line: CorefileDirective) throws(WeftError) {
    block.line = line.line
    for word in line.words.flatMap({ $0.split(separator: ",") }) {
      block.keys += try readKeys(String(word), line)
    }
    for directive in line.block where directive.name == "root" { root = directive.arguments.first ?? "" }
    for directive in line.block { try read(directive) }
    block.plugins = Set(line.block.map(\.name)).sorted()
    if let external {
      guard block.isServingCluster else {
        throw fail(external.line, "a kubernetes line in the same block is needed")
      }
      corefile.zone?.external = external.zones
    }
    if block.credentials == nil, let key = block.keys.first(where: { $0.transport != .dns }) {
      throw corefileError(
        line.file, line.line,
        "\(key.transport.rawValue)://\(key.zone) needs a certificate: tls CERTIFICATE KEY")
    }
    // A block of one zone is asked for that zone alone: `forward .` in the block of acme.test means acme.test.
    corefile.server.blocks.append(block)
  }

  private func readKeys(_ word: String, _ line: CorefileDirective) throws(WeftError) -> [ServerBlock.Key] {
    var rest = word[...]
    var transport = ServerBlock.Transport.dns
    if let scheme = rest.firstRange(of: "://") {
      guard let known = ServerBlock.Transport(rawValue: String(rest[..<scheme.lowerBound])) else {
        throw corefileError(
          line.file, line.line, "\(word): \(rest[..<scheme.lowerBound]) is not served; dns, tls and https are"
        )
      }
      transport = known
      rest = rest[scheme.upperBound...]
    }
    var port: UInt16 = transport == .tls ? 853 : transport == .https ? 443 : 53
    if let colon = rest.lastIndex(of: ":"), !rest.contains("/") || rest[colon...].count < 7,
      IPPrefix(String(rest)) == nil
    {
      guard let number = UInt16(rest[rest.index(after: colon)...]), number > 0 else {
        throw corefileError(line.file, line.line, "\(word): not a port")
      }
      port = number
      rest = rest[..<colon]
    }
    guard let names = zoneNames(String(rest)) else {
      throw corefileError(line.file, line.line, "\(word): not a zone")
    }
    return names.map { ServerBlock.Key(zone: $0, transport: transport, port: port) }
  }

  /// A zone by name, or the reverse zones of an address block as `10.43.0.0/16`. A block that does not end with an octet (a
  /// nibble for IPv6) is several zones.
  func zoneNames(_ text: String) -> [DomainName]? {
    guard text.contains("/") else { return DomainName(text).map { [$0.lowercased] } }
    guard let block = IPPrefix(text) else { return nil }
    let step = block.family == .v4 ? 8 : 4
    let whole = (block.length + step - 1) / step * step
    let width = block.family.width
    guard whole - block.length < 8 else { return nil }
    var names: [DomainName] = []
    for part in 0..<(1 << (whole - block.length)) {
      let address: IPAddress
      switch block.address {
      case .v4(let four):
        address = .v4(IPv4Address(bits: four.bits | (whole == 0 ? 0 : UInt32(part) << UInt32(width - whole))))
      case .v6(let six):
        address = .v6(
          IPv6Address(bits: six.bits | (whole == 0 ? 0 : UInt128(part) << UInt128(width - whole))))
      }
      let labels = DomainName.reverse(of: address).labels
      guard let name = DomainName(labels: labels.dropFirst((width - whole) / step).map(Array.init)) else {
        return nil
      }
      names.append(name)
    }
    return names
  }

  /// Zones as arguments; none means those of the block.
  func zones(_ words: some Sequence<String>, _ directive: CorefileDirective) throws(WeftError) -> [DomainName]
  {
    var names: [DomainName] = []
    for word in words {
      guard let more = zoneNames(word) else { throw fail(directive, "\(word) is not a zone") }
      names += more
    }
    return names.isEmpty ? block.keys.map(\.zone) : names
  }

  /// A path as it is to be opened.
  func path(_ text: String) -> String { text.hasPrefix("/") || root.isEmpty ? text : root + "/" + text }

  /// `5s`, `250ms`, `1m30s`, `5`.
  static func seconds(_ text: some StringProtocol) -> Double? {
    let isNumber = text.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
    return isNumber ? Double(text) : GoDuration.seconds(text)
  }
}

// `rewrite edns0`: options that go upstream with a question, and back to the client.
//
//   the client's options -> rules, one after another -> upstream
//                                                    -> reply, without what a rule reverts

import Addresses

/// What one `rewrite edns0` line does.
struct OptionRule: Sendable {
  enum Action: String, Sendable {
    /// Changes the option, or adds it.
    case set
    /// Adds it where there is none.
    case append
    /// Changes it where there is one.
    case replace
    /// Takes it out.
    case unset
  }
  /// What is known of a query.
  enum Variable: String, Sendable, CaseIterable {
    case name = "{qname}"
    case type = "{qtype}"
    case clientAddress = "{client_ip}"
    case clientPort = "{client_port}"
    case transport = "{protocol}"
    case serverAddress = "{server_ip}"
    case serverPort = "{server_port}"
  }
  enum Value: Sendable {
    case octets([UInt8])
    case variable(Variable)
    /// The client's network of so many bits (RFC 7871 section 6).
    case subnet(four: Int, six: Int)
  }

  var action: Action
  var code: UInt16
  var value: Value
  /// The reply does not show what was done.
  var isReverted = false

  /// Octets of one option's value.
  static let octetsMax = 256

  /// Whether the value tells one client from another: such answers are not kept for others.
  var isPersonal: Bool {
    switch value {
    case .octets: false
    case .variable(let variable): ![.name, .type].contains(variable)
    case .subnet: true
    }
  }

  func octets(_ question: Message.Question, _ client: Client) -> [UInt8]? {
    switch value {
    case .octets(let octets): octets
    case .subnet(let four, let six): Self.subnet(client.endpoint.address, four, six)
    case .variable(.name): Array(question.name.description.lowercased().utf8)
    case .variable(.type): Self.octets(question.type.rawValue)
    case .variable(.clientAddress): Self.octets(client.endpoint.address)
    case .variable(.clientPort): Self.octets(client.endpoint.port)
    case .variable(.transport): Array((client.isTCP ? "tcp" : "udp").utf8)
    case .variable(.serverAddress): client.local.map { Self.octets($0.address) }
    case .variable(.serverPort): client.local.map { Self.octets($0.port) }
    }
  }

  private static func octets(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 255)] }

  private static func octets(_ address: IPAddress) -> [UInt8] {
    switch address {
    case .v4(let four): (0..<4).map { UInt8(truncatingIfNeeded: four.bits >> UInt32(24 - 8 * $0)) }
    case .v6(let six): (0..<16).map { UInt8(truncatingIfNeeded: six.bits >> UInt128(120 - 8 * $0)) }
    }
  }

  /// Family, length, scope, and as many octets as the length needs, the bits after it zero.
  private static func subnet(_ address: IPAddress, _ four: Int, _ six: Int) -> [UInt8] {
    let length = address.family == .v4 ? four : six
    var octets = octets(address).prefix((length + 7) / 8)
    if length % 8 != 0, let last = octets.indices.last { octets[last] &= 0xff << UInt8(8 - length % 8) }
    return [0, address.family == .v4 ? 1 : 2, UInt8(length), 0] + octets
  }
}

/// The options of one query while rules change them.
struct QueryOptions: Sendable {
  /// What goes upstream.
  private(set) var asked: [EDNSValue] = []
  private(set) var isPersonal = false
  /// What to do to the reply, the last first; nil takes the option out.
  private var undone: [(code: UInt16, octets: [UInt8]?)] = []
  private var localCodes: Set<UInt16> = []

  init() {}

  /// - Parameter client: the client's options. Those that no rule names stay where they are: at us.
  init(_ client: [EDNSValue], _ rules: [RewriteRule]) {
    var codes: Set<UInt16> = []
    for case .option(let rule) in rules.map(\.field) {
      codes.insert(rule.code)
      if rule.code != EDNSOption.nsid, rule.code != EDNSOption.subnet { localCodes.insert(rule.code) }
    }
    asked = client.filter { codes.contains($0.code) }
    // A client may name its network, or send whatever it likes: its answer is not for others.
    isPersonal = !asked.isEmpty
  }

  /// What the client is shown: local options, as CoreDNS does; who answers and whose network it is are the upstream server's to say.
  var replied: [EDNSValue] {
    var values = asked.filter { localCodes.contains($0.code) }
    for (code, octets) in undone.reversed() {
      guard let index = values.firstIndex(where: { $0.code == code }) else { continue }
      if let octets { values[index].octets = octets } else { values.remove(at: index) }
    }
    return values
  }

  /// False: the rule does not fit.
  mutating func apply(_ rule: OptionRule, _ question: Message.Question, _ client: Client) -> Bool {
    if rule.action == .unset {
      asked.removeAll { $0.code == rule.code }
      return true
    }
    guard let octets = rule.octets(question, client) else { return false }
    if let index = asked.firstIndex(where: { $0.code == rule.code }) {
      guard rule.action != .append else { return false }
      if rule.isReverted { undone.append((rule.code, asked[index].octets)) }
      asked[index].octets = octets
    } else {
      guard rule.action != .replace else { return false }
      if rule.isReverted { undone.append((rule.code, nil)) }
      asked.append(EDNSValue(code: rule.code, octets: octets))
    }
    if rule.isPersonal { isPersonal = true }
    return true
  }
}

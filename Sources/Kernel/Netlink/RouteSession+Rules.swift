// Routing rules: which table a packet is looked up in, by where it comes from, its mark and its ports.
import Addresses
import Glibc

/// A routing rule. What is nil is not asked for.
public struct RoutingRule: Sendable, Hashable {
  public var family: IPFamily
  public var priority: UInt32
  public var table: UInt32
  public var mark: UInt32?
  public var markMask: UInt32?
  public var source: IPPrefix?
  public var transport: TransportProtocol?
  public var sourcePorts: ClosedRange<UInt16>?
  public var destinationPorts: ClosedRange<UInt16>?
  /// Who made it (`FRA_PROTOCOL`); 0 says nothing.
  public var origin: UInt8

  public init(
    family: IPFamily = .v4, priority: UInt32, table: UInt32, mark: UInt32? = nil, markMask: UInt32? = nil,
    source: IPPrefix? = nil, transport: TransportProtocol? = nil, sourcePorts: ClosedRange<UInt16>? = nil,
    destinationPorts: ClosedRange<UInt16>? = nil, origin: UInt8 = 0
  ) {
    self.family = family
    self.priority = priority
    self.table = table
    self.mark = mark
    self.markMask = markMask
    self.source = source
    self.transport = transport
    self.sourcePorts = sourcePorts
    self.destinationPorts = destinationPorts
    self.origin = origin
  }

  init?(_ answer: NetlinkAnswer) {
    guard answer.type == Wire.newRule, let family = answer.body.integer(at: 0, as: UInt8.self),
      let length = answer.body.integer(at: 2, as: UInt8.self),
      let shortTable = answer.body.integer(at: 4, as: UInt8.self),
      let own: IPFamily = family == Wire.familyInet ? .v4 : family == Wire.familyInet6 ? .v6 : nil
    else { return nil }
    let attributes = answer.body.dropping(12).attributes()
    func ports(_ type: UInt16) -> ClosedRange<UInt16>? {
      guard let range = attributes[type], let first = range.integer(at: 0, as: UInt16.self),
        let last = range.integer(at: 2, as: UInt16.self), first <= last
      else { return nil }
      return first...last
    }
    self.init(
      family: own, priority: attributes[Wire.Rule.priority]?.integer() ?? 0,
      table: attributes[Wire.Rule.table]?.integer() ?? UInt32(shortTable),
      mark: attributes[Wire.Rule.mark]?.integer(), markMask: attributes[Wire.Rule.markMask]?.integer(),
      source: attributes[Wire.Rule.source].flatMap { IPAddress(bytes: $0.payload) }
        .flatMap { IPPrefix($0, length: Int(length)) },
      transport: attributes[Wire.Rule.transport]?.integer(as: UInt8.self)
        .flatMap { TransportProtocol(number: $0) },
      sourcePorts: ports(Wire.Rule.sourcePorts), destinationPorts: ports(Wire.Rule.destinationPorts),
      origin: attributes[Wire.Rule.origin]?.integer(as: UInt8.self) ?? 0)
  }
}

extension RouteSession {
  /// `ip rule add …`; one that is there already is success.
  public mutating func addRule(_ rule: RoutingRule) throws(NetlinkError) {
    do throws(NetlinkError) {
      try perform(
        Self.message(Wire.newRule, flags: Wire.create | Wire.exclusive, rule),
        command: "ip rule add priority \(rule.priority) table \(rule.table)")
    } catch  where error.isExisting {
      return
    }
  }

  /// `ip rule del …`
  /// - Returns: false when there was none.
  @discardableResult
  public mutating func deleteRule(_ rule: RoutingRule) throws(NetlinkError) -> Bool {
    do throws(NetlinkError) {
      try perform(
        Self.message(Wire.deleteRule, flags: 0, rule),
        command: "ip rule del priority \(rule.priority) table \(rule.table)")
      return true
    } catch  where error.isMissing {
      return false
    }
  }

  /// `ip rule show`, of one family. Rules with conditions that are not read here look as if they had none.
  public mutating func rules(family: IPFamily) throws(NetlinkError) -> [RoutingRule] {
    var message = NetlinkMessage(type: Wire.getRule, flags: 0)
    message.append(family.wire)
    message.append(bytes: [UInt8](repeating: 0, count: 11))
    return try dump(message, command: "ip rule show").compactMap { RoutingRule($0) }
  }

  static func message(_ type: UInt16, flags: UInt16, _ rule: RoutingRule) -> NetlinkMessage {
    var message = NetlinkMessage(type: type, flags: flags)
    message.append(rule.family.wire)
    message.append(UInt8(0))
    message.append(UInt8(rule.source?.length ?? 0))
    message.append(UInt8(0))
    message.append(UInt8(rule.table < 256 ? rule.table : 0))
    message.append(bytes: [0, 0, Wire.Rule.actionTable])
    message.append(UInt32(0))
    message.attribute(Wire.Rule.priority, rule.priority)
    message.attribute(Wire.Rule.table, rule.table)
    if let mark = rule.mark { message.attribute(Wire.Rule.mark, mark) }
    if let mask = rule.markMask { message.attribute(Wire.Rule.markMask, mask) }
    if let source = rule.source { message.attribute(Wire.Rule.source, bytes: source.address.bytes) }
    if rule.origin != 0 { message.attribute(Wire.Rule.origin, rule.origin) }
    if let transport = rule.transport { message.attribute(Wire.Rule.transport, transport.number) }
    for (type, ports) in [
      (Wire.Rule.sourcePorts, rule.sourcePorts), (Wire.Rule.destinationPorts, rule.destinationPorts),
    ] {
      guard let ports else { continue }
      let bytes = [ports.lowerBound, ports.upperBound].flatMap { port in
        withUnsafeBytes(of: port) { Array($0) }
      }
      message.attribute(type, bytes: bytes)
    }
    return message
  }
}

// The success result: read from `prevResult` in any version, kept as one value, written in the version that was asked
// for.
//
//   0.1.0, 0.2.0   ip4 {ip, gateway, routes}, ip6 …, dns
//   0.3.0 – 0.4.0  interfaces, ips with "version": "4", routes {dst, gw}, dns
//   1.0.0          the same without ips[].version
//   1.1.0          + interfaces[].mtu, socketPath, pciID; routes[].mtu, advmss, priority, table, scope
import Addresses
import KernelNetlink

/// What ADD made, with what the plugins before it made.
public struct CNIResult: Sendable, Hashable {
  public struct Interface: Sendable, Hashable {
    public var name: String
    public var mac: String?
    public var mtu: UInt32 = 0
    /// Path of the namespace it is in; nil for the host's.
    public var sandbox: String?
    var socketPath: String?
    var pciID: String?

    init(name: String, mac: String? = nil, mtu: UInt32 = 0, sandbox: String? = nil) {
      self.name = name
      self.mac = mac
      self.mtu = mtu
      self.sandbox = sandbox
    }
  }

  public struct Assignment: Sendable, Hashable {
    public var address: InterfaceAddress
    public var gateway: IPAddress?
    /// Index in `interfaces`; nil for an IPAM plugin's abbreviated result.
    public var interface: Int?
  }

  public struct Path: Sendable, Hashable {
    public var destination: IPPrefix
    public var gateway: IPAddress?
    public var mtu: UInt32?
    public var advertisedSegment: UInt32?
    public var priority: UInt32?
    public var table: UInt32?
    public var scope: Int64?

    init(_ destination: IPPrefix, gateway: IPAddress? = nil) {
      self.destination = destination
      self.gateway = gateway
    }
  }

  public var interfaces: [Interface] = []
  public var assignments: [Assignment] = []
  public var paths: [Path] = []
  public var dns: JSONValue?
  /// An IPAM plugin's result says nothing of interfaces.
  var isAbbreviated = false
  /// For people, on standard error; no part of the result.
  var notes: [String] = []

  init() {}

  init(addresses: [InterfaceAddress], gateways: [IPAddress], interface: Int? = nil) {
    for (index, address) in addresses.enumerated() {
      assignments.append(
        Assignment(
          address: address, gateway: index < gateways.count ? gateways[index] : nil, interface: interface))
    }
  }

  /// Interfaces and addresses of `own` behind those that are here already.
  func adding(_ own: CNIResult) -> CNIResult {
    var all = self
    all.interfaces += own.interfaces
    for var assignment in own.assignments {
      assignment.interface = assignment.interface.map { $0 + interfaces.count }
      all.assignments.append(assignment)
    }
    all.paths += own.paths.filter { !paths.contains($0) }
    all.dns = own.dns ?? dns
    all.isAbbreviated = false
    return all
  }

  /// The pod's own interface: the one of that name in a sandbox, else the first in any.
  func podInterface(_ name: String) -> (index: Int, interface: Interface)? {
    let inside = interfaces.enumerated().filter { $0.element.sandbox?.isEmpty == false }
    return (inside.first { $0.element.name == name } ?? inside.first).map { ($0.offset, $0.element) }
  }

  /// The pod's address of each family: the first that belongs to an interface in a sandbox, or to none.
  func podAddress(_ family: IPFamily) -> InterfaceAddress? {
    assignments.first { assignment in
      guard assignment.address.address.family == family else { return false }
      guard let index = assignment.interface, interfaces.indices.contains(index) else { return true }
      return interfaces[index].sandbox?.isEmpty == false
    }?.address
  }

  // MARK: - Reading

  /// Reads a result of any version; what does not fit is error 6 naming it.
  init(_ json: JSONValue, version: String) throws(CNIError) {
    let version = json["cniVersion"]?.string ?? version
    dns = json["dns"]
    if version.isEmpty || version.hasPrefix("0.1") || version.hasPrefix("0.2") {
      for key in ["ip4", "ip6"] {
        guard let block = json[key] else { continue }
        assignments.append(try Self.assignment(block, key: "ip"))
        for route in block["routes"]?.array ?? [] { paths.append(try Self.path(route)) }
      }
      return
    }
    for link in json["interfaces"]?.array ?? [] {
      guard let name = link["name"]?.string else { throw Self.malformed("interfaces", link) }
      var interface = Interface(
        name: name, mac: link["mac"]?.string,
        mtu: link["mtu"]?.integer.flatMap { UInt32(exactly: $0) } ?? 0, sandbox: link["sandbox"]?.string)
      interface.socketPath = link["socketPath"]?.string
      interface.pciID = link["pciID"]?.string
      interfaces.append(interface)
    }
    for block in json["ips"]?.array ?? [] { assignments.append(try Self.assignment(block, key: "address")) }
    for route in json["routes"]?.array ?? [] { paths.append(try Self.path(route)) }
  }

  private static func assignment(_ json: JSONValue, key: String) throws(CNIError) -> Assignment {
    guard let text = json[key]?.string, let address = InterfaceAddress(text) else {
      throw malformed("ips", json)
    }
    let interface = json["interface"]?.integer.flatMap { Int(exactly: $0) }
    return Assignment(
      address: address, gateway: json["gateway"]?.string.flatMap { IPAddress($0) },
      interface: interface.flatMap { $0 >= 0 ? $0 : nil })
  }

  private static func path(_ json: JSONValue) throws(CNIError) -> Path {
    guard let path = Path(json) else { throw malformed("routes", json) }
    return path
  }

  private static func malformed(_ key: String, _ json: JSONValue) -> CNIError {
    CNIError(.undecodable, "`prevResult` has a malformed entry of `\(key)`", details: json.text)
  }

  // MARK: - Writing

  func json(version: String) -> JSONValue {
    if version.hasPrefix("0.1") || version.hasPrefix("0.2") { return oldest(version) }
    let isNewest = version == "1.1.0"
    let hasFamily = version.hasPrefix("0.")
    let ips = assignments.map { assignment in
      JSONValue.object([
        "version": hasFamily ? .string(assignment.address.address.family == .v4 ? "4" : "6") : nil,
        "interface": isAbbreviated ? nil : assignment.interface.map { .integer(Int64($0)) },
        "address": .string("\(assignment.address)"),
        "gateway": assignment.gateway.map { .string("\($0)") },
      ])
    }
    let links = interfaces.map { link in
      JSONValue.object([
        "name": .string(link.name), "mac": link.mac.map { .string($0) },
        "mtu": isNewest && link.mtu > 0 ? .integer(Int64(link.mtu)) : nil,
        "sandbox": link.sandbox.map { .string($0) },
        "socketPath": isNewest ? link.socketPath.map { .string($0) } : nil,
        "pciID": isNewest ? link.pciID.map { .string($0) } : nil,
      ])
    }
    return .object([
      "cniVersion": .string(version), "interfaces": isAbbreviated || links.isEmpty ? nil : .array(links),
      "ips": ips.isEmpty ? nil : .array(ips),
      "routes": paths.isEmpty ? nil : .array(paths.map { $0.json(isNewest: isNewest) }),
      "dns": dns ?? .object([JSONValue.Member]()),
    ])
  }

  private func oldest(_ version: String) -> JSONValue {
    func block(_ family: IPFamily) -> JSONValue? {
      guard let first = assignments.first(where: { $0.address.address.family == family }) else { return nil }
      let routes = paths.filter { $0.destination.family == family }.map { $0.json(isNewest: false) }
      return .object([
        "ip": .string("\(first.address)"), "gateway": first.gateway.map { .string("\($0)") },
        "routes": routes.isEmpty ? nil : .array(routes),
      ])
    }
    return .object([
      "cniVersion": .string(version), "ip4": block(.v4), "ip6": block(.v6),
      "dns": dns ?? .object([JSONValue.Member]()),
    ])
  }
}

extension CNIResult.Path {
  /// A route of a result or of `ipam.routes`; nil for a malformed one.
  init?(_ json: JSONValue) {
    guard let text = json["dst"]?.string, let destination = IPPrefix(text) else { return nil }
    self.init(destination, gateway: json["gw"]?.string.flatMap { IPAddress($0) })
    if let given = json["gw"]?.string, !given.isEmpty, gateway == nil { return nil }
    func number(_ key: String) -> UInt32? { json[key]?.integer.flatMap { UInt32(exactly: $0) } }
    mtu = number("mtu")
    advertisedSegment = number("advmss")
    priority = number("priority")
    table = number("table")
    scope = json["scope"]?.integer
  }

  func json(isNewest: Bool) -> JSONValue {
    func number(_ value: UInt32?) -> JSONValue? { isNewest ? value.map { .integer(Int64($0)) } : nil }
    return .object([
      "dst": .string("\(destination)"), "gw": gateway.map { .string("\($0)") }, "mtu": number(mtu),
      "advmss": number(advertisedSegment), "priority": number(priority), "table": number(table),
      "scope": isNewest ? scope.map { .integer($0) } : nil,
    ])
  }
}

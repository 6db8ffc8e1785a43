// Numbers that must stay the same from one plan to the next, and across restarts: service-port ids, classes,
// slots, endpoint numbers. They are read back from the kernel's own maps, so no file is needed.

import Addresses
import ClusterObjects
import KernelNftables
import Ruleset

/// What the next plan keeps of the last one, for one address family.
public struct ProxyAllocation: Sendable, Hashable {
  /// `demo/web:http TCP`, with ` local` for the local slots of a Local-policy frontend.
  public struct PortKey: Hashable, Sendable {
    /// `namespace/name:port`, as it stands in element comments.
    public var name: String
    public var transport: TransportProtocol
    public var isLocal: Bool
    public init(_ name: String, _ transport: TransportProtocol, isLocal: Bool = false) {
      self.name = name
      self.transport = transport
      self.isLocal = isLocal
    }

    /// The name of a service port: `demo/web:http`. Names that are too long for a comment, or that no API server lets through (a
    /// folder of manifests may hold anything), end in a number of the whole name: no two are alike, a restart recognises
    /// them, and nothing in them means anything to who reads the table.
    static func name(of service: ObjectKey, port: String) -> String {
      if let plain = plainName(of: service, port) { return plain }
      let name = (service.namespace.isEmpty ? "" : service.namespace + "/") + service.name + ":" + port
      let parts = [service.namespace, service.name, port]
      var hash: UInt64 = 0xcbf2_9ce4_8422_2325
      for part in parts {
        for byte in part.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        hash = (hash ^ UInt64(part.utf8.count)) &* 0x100_0000_01b3
      }
      let kept = name.utf8.prefix(nameMax - 17).map { isPlain($0) || $0 == 47 || $0 == 58 ? $0 : 39 }
      return String(decoding: kept, as: UTF8.self) + "~" + String(hash, radix: 16)
    }

    /// Nearly all names: written and looked at in one go. Nil for others.
    private static func plainName(of service: ObjectKey, _ port: String) -> String? {
      let hasNamespace = !service.namespace.isEmpty
      let count =
        service.namespace.utf8.count + (hasNamespace ? 1 : 0) + service.name.utf8.count + 1 + port.utf8.count
      guard count <= nameMax else { return nil }
      var isPlain = true
      let name = String(unsafeUninitializedCapacity: count) { buffer in
        var at = 0
        func put(_ part: String) {
          func copy(_ bytes: some Sequence<UInt8>) {
            for byte in bytes {
              isPlain = Self.isPlain(byte) && isPlain
              buffer[at] = byte
              at += 1
            }
          }
          // Native text lies in one piece; other text comes byte by byte.
          if part.utf8.withContiguousStorageIfAvailable({ copy($0) }) == nil { copy(part.utf8) }
        }
        func put(_ byte: UInt8) {
          buffer[at] = byte
          at += 1
        }
        if hasNamespace {
          put(service.namespace)
          put(UInt8(ascii: "/"))
        }
        put(service.name)
        put(UInt8(ascii: ":"))
        put(port)
        return at
      }
      return isPlain ? name : nil
    }

    /// Letters, digits, `-`, `.` and `_`.
    private static func isPlain(_ byte: UInt8) -> Bool {
      switch byte {
      case 45, 46, 48...57, 65...90, 95, 97...122: true
      default: false
      }
    }

    /// Leaves room for ` local` and for a protocol in the 127 bytes of a comment.
    static let nameMax = 116
  }

  public private(set) var ids: [PortKey: UInt32] = [:]
  public var classes: [BalancingClass: UInt32] = [:]
  /// Endpoints by slot, by service-port id.
  public var slots: [UInt32: [SocketEndpoint]] = [:]
  /// Numbers of endpoints of services with affinity, by service-port id: they are stored in packet-path
  /// entries.
  public var affinityNumbers: [UInt32: [SocketEndpoint: UInt32]] = [:]
  /// Connections to each endpoint at the last count; nil before the first. What slots are shared out by must stay from plan to
  /// plan as well.
  var openConnections: OpenConnections?
  private var nextID: UInt32 = 1
  private var usedIDs = IDSet()

  public init() {}

  /// Makes room for as many service ports.
  mutating func reserve(_ count: Int) {
    ids.reserveCapacity(count)
    slots.reserveCapacity(count)
  }

  /// The id of a service port: the one it had, else a new one; nil when all 262,143 are taken.
  mutating func id(of key: PortKey) -> UInt32? {
    guard usedIDs.count < Int(ProxyMark.idMax) else { return ids[key] }
    while usedIDs.contains(nextID) { nextID = nextID >= ProxyMark.idMax ? 1 : nextID + 1 }
    // The name is hashed once, whether it is known or not.
    let id = Self.take(&ids[key, default: 0], nextID)
    usedIDs.insert(id)
    return id
  }

  private static func take(_ id: inout UInt32, _ new: UInt32) -> UInt32 {
    if id == 0 { id = new }
    return id
  }

  /// The number of a class; nil when all 1,023 (of least connections 1,024) are taken.
  mutating func number(of balancing: BalancingClass) -> UInt32? {
    if let number = classes[balancing] { return number }
    guard let number = balancing.numbers.first(where: { !usedClasses.contains($0) }) else { return nil }
    classes[balancing] = number
    usedClasses.insert(number)
    return number
  }
  private var usedClasses: Set<UInt32> = []

  /// Puts endpoints into slots so that as few slots as possible change: who stays keeps its slots, who comes
  /// takes a free one, and the last ones move into what is still free. An endpoint may stand in several.
  mutating func arrange(_ endpoints: [SocketEndpoint], id: UInt32) -> [SocketEndpoint] {
    // The number is looked up once for what is new or stays.
    if Self.isSettled(endpoints, &slots[id, default: []]) { return endpoints }
    let previous = slots[id] ?? []
    var wanted: [SocketEndpoint: Int] = [:]
    for endpoint in endpoints { wanted[endpoint, default: 0] += 1 }
    var result: [SocketEndpoint?] = previous.map { endpoint in
      guard let count = wanted[endpoint], count > 0 else { return nil }
      wanted[endpoint] = count - 1
      return endpoint
    }
    var arrivals = ArraySlice<SocketEndpoint>()
    for endpoint in endpoints {
      guard let count = wanted[endpoint], count > 0 else { continue }
      wanted[endpoint] = count - 1
      arrivals.append(endpoint)
    }
    for index in result.indices where result[index] == nil { result[index] = arrivals.popFirst() }
    result += arrivals.map { $0 }
    var hole = 0
    while true {
      while result.last == .some(nil) { result.removeLast() }
      while hole < result.count, result[hole] != nil { hole += 1 }
      guard hole < result.count else { break }
      result[hole] = result.removeLast()
    }
    let arranged = result.compactMap(\.self)
    slots[id] = arranged
    return arranged
  }

  /// Fills slots that are empty. False when there are others in them.
  private static func isSettled(_ endpoints: [SocketEndpoint], _ slots: inout [SocketEndpoint]) -> Bool {
    if slots.isEmpty { slots = endpoints }
    return slots == endpoints
  }

  /// The number of an endpoint of a service with affinity, 1 to 2,047; nil when there are more.
  mutating func affinityNumber(of endpoint: SocketEndpoint, id: UInt32) -> UInt32? {
    if let number = affinityNumbers[id]?[endpoint] { return number }
    let used = Set((affinityNumbers[id] ?? [:]).values)
    guard let number = (1...ProxyMark.classMax).first(where: { !used.contains($0) }) else { return nil }
    affinityNumbers[id, default: [:]][endpoint] = number
    return number
  }

  /// Gives an id back.
  mutating func release(_ key: PortKey) {
    guard let id = ids.removeValue(forKey: key) else { return }
    usedIDs.remove(id)
    slots[id] = nil
    affinityNumbers[id] = nil
  }

  /// Gives the number of a class back.
  mutating func release(_ balancing: BalancingClass) {
    if let number = classes.removeValue(forKey: balancing) { usedClasses.remove(number) }
  }

  /// Forgets ids that no plan uses.
  mutating func keepOnly(_ used: Set<UInt32>) {
    for (key, id) in ids where !used.contains(id) { release(key) }
  }

  /// Forgets numbers of endpoints that are gone.
  mutating func keepAffinityNumbers(of endpoints: [SocketEndpoint], id: UInt32) {
    guard let numbers = affinityNumbers[id], numbers.count > endpoints.count else { return }
    let wanted = Set(endpoints)
    affinityNumbers[id] = numbers.filter { wanted.contains($0.key) }
  }
}

extension ProxyAllocation {
  /// The allocation behind a table that is in force.
  public init(recovering table: InForce.TableInForce, family: IPFamily) {
    self.init()
    reserve(table.sets["svc-id"]?.elements.count ?? 0)
    for (key, element) in table.sets["class"]?.elements ?? [:] {
      guard case .verdict(let verdict) = element.value,
        let balancing = verdict.chain.flatMap(BalancingClass.init(chain:))
      else { continue }
      let number = ProxyMark.classNumber(of: key.asNumber)
      classes[balancing] = number
      usedClasses.insert(number)
    }
    func takeAll(_ set: String, transport position: Int) {
      for (key, element) in table.sets[set]?.elements ?? [:] {
        guard case .data(let data) = element.value, let comment = element.comment,
          position < Int(key.count), let transport = TransportProtocol(number: key[position])
        else { continue }
        let mark = data.asNumber
        // ClusterIPs with internalTrafficPolicy Local point at the local slots.
        let isLocal = comment.hasSuffix(" local")
        let name = isLocal ? String(comment.dropLast(6)) : comment
        take(PortKey(name, transport, isLocal: isLocal), ProxyMark.id(of: mark))
      }
    }
    takeAll("svc-id", transport: family == .v4 ? 4 : 16)
    takeAll("np-id", transport: 0)
    for (_, element) in table.sets["local-of"]?.elements ?? [:] {
      guard case .data(let data) = element.value, let comment = element.comment,
        let space = comment.lastIndex(of: " "),
        let transport = TransportProtocol(rawValue: String(comment[comment.index(after: space)...]))
      else { continue }
      take(
        PortKey(String(comment[..<space]), transport, isLocal: true), ProxyMark.id(of: data.asNumber))
    }
    recoverSlots(table, family)
  }

  private mutating func take(_ key: PortKey, _ id: UInt32) {
    guard id != 0, id <= ProxyMark.idMax, !usedIDs.contains(id) else { return }
    if Self.take(&ids[key, default: 0], id) == id { usedIDs.insert(id) }
  }

  private mutating func recoverSlots(_ table: InForce.TableInForce, _ family: IPFamily) {
    func endpoint(_ element: Element) -> SocketEndpoint? {
      guard case .data(let data) = element.value, let address = data.asAddress(family) else { return nil }
      let width = family.width / 8
      guard Int(data.count) >= width + 2 else { return nil }
      return SocketEndpoint(address, UInt16(data[width]) << 8 | UInt16(data[width + 1]))
    }
    var filled: [FilledSlot] = []
    let backends = table.sets["backends"]?.elements ?? [:]
    filled.reserveCapacity(backends.count)
    for (key, element) in backends where key.count == 8 {
      guard let target = endpoint(element) else { continue }
      filled.append(FilledSlot(id: key.asNumber, slot: key.secondNumber, endpoint: target))
    }
    var byFlow: [UInt32: SocketEndpoint] = [:]
    for (key, element) in table.sets["aff-ep"]?.elements ?? [:] {
      guard let target = endpoint(element) else { continue }
      byFlow[key.asNumber] = target
      affinityNumbers[ProxyMark.id(of: key.asNumber), default: [:]][target] = ProxyMark.classNumber(
        of: key.asNumber)
    }
    for (key, element) in table.sets["aff-pick"]?.elements ?? [:] where key.count == 8 {
      guard case .data(let flow) = element.value, let target = byFlow[flow.asNumber] else { continue }
      filled.append(FilledSlot(id: key.asNumber, slot: key.secondNumber, endpoint: target))
    }
    filled.sort { $0.order < $1.order }
    var start = 0
    while start < filled.count {
      let id = filled[start].id
      var end = start + 1
      while end < filled.count, filled[end].id == id { end += 1 }
      slots[id] = filled[start..<end].map(\.endpoint)
      start = end
    }
  }

  private struct FilledSlot {
    var id: UInt32
    var slot: UInt32
    var endpoint: SocketEndpoint
    var order: UInt64 { UInt64(id) << 32 | UInt64(slot) }
  }
}

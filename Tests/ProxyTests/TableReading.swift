// What a table in force comes to, read from its elements alone.

import Addresses
import Proxy
import Ruleset

struct TableReading {
  let table: InForce.TableInForce
  private let names: ChainNames
  private let backends: [Datum: Element]
  private let affinityPicks: [Datum: Element]
  private let affinityEndpoints: [Datum: Element]

  init(table: InForce.TableInForce, names: ChainNames = ChainNames()) {
    self.table = table
    self.names = names
    backends = table.sets["backends"]?.elements ?? [:]
    affinityPicks = table.sets["aff-pick"]?.elements ?? [:]
    affinityEndpoints = table.sets["aff-ep"]?.elements ?? [:]
  }

  /// Names of chains that have been read.
  final class ChainNames {
    private var known: [String: BalancingClass?] = [:]

    func balancing(_ chain: String) -> BalancingClass? {
      if let seen = known[chain] { return seen }
      let read = BalancingClass(chain: chain)
      known[chain] = .some(read)
      return read
    }
  }

  private func elements(_ set: String) -> [Datum: Element] { table.sets[set]?.elements ?? [:] }

  /// By `ADDRESS TRANSPORT PORT`, or `node TRANSPORT PORT`; faults in the table are expectations that nothing equals.
  var expectations: [String: Expectation] {
    var result: [String: Expectation] = [:]
    for (key, element) in elements("svc-id") {
      let address = IPAddress(bytes: key.slice(0..<4).bytes)?.description ?? "?"
      result["\(address) \(name(key[4])) \(UInt16(key[8]) << 8 | UInt16(key[9]))"] = expectation(
        mark(element))
    }
    for (key, element) in elements("np-id") {
      result["node \(name(key[0])) \(UInt16(key[4]) << 8 | UInt16(key[5]))"] = expectation(mark(element))
    }
    return result
  }

  private func name(_ transport: UInt8) -> String { TransportProtocol(number: transport)?.rawValue ?? "?" }

  private func mark(_ element: Element) -> UInt32 {
    if case .data(let data) = element.value { data.asNumber } else { 0 }
  }

  private func expectation(_ mark: UInt32) -> Expectation {
    let kind = ProxyMark.kind(of: mark)
    if kind == .reject { return .init(kind: "reject") }
    if kind == .cluster, ProxyMark.classNumber(of: mark) == 0 { return .init(kind: "drop") }
    var result = Expectation(kind: "\(kind)", targets: targets(mark))
    if kind == .externalLocal {
      result.local = elements("local-of")[.number(mark)].map { targets(self.mark($0)) }
    }
    return result
  }

  /// Endpoints with the number of their slots.
  private func targets(_ mark: UInt32) -> [String: Int] {
    let id = ProxyMark.id(of: mark)
    guard case .verdict(.jump(let chain))? = elements("class")[.number(mark & ProxyMark.classMask)]?.value,
      let balancing = names.balancing(chain), table.chains[chain] != nil
    else { return ["no class": 1] }
    // A Maglev table has hundreds of slots and a few endpoints: those are put into words once.
    var counts: [Datum: Int] = [:]
    for slot in 0..<balancing.slots {
      let key = Datum(.number(id), .number(UInt32(slot)))
      var found = backends[key]
      if case .affinity = balancing.method {
        found = affinityPicks[key].flatMap { affinityEndpoints[.number(self.mark($0))] }
      }
      guard case .data(let data)? = found?.value else { return ["slot \(slot) of \(chain) is empty": 1] }
      counts[data, default: 0] += 1
    }
    var texts: [String: Int] = [:]
    for (data, count) in counts {
      guard let address = IPAddress(bytes: data.slice(0..<4).bytes) else { return ["\(data.bytes)": 1] }
      let text = "\(address):\(UInt16(data[4]) << 8 | UInt16(data[5]))"
      texts[text] = balancing.method == .maglev ? 1 : count
    }
    return texts
  }
}

// From what is in force to what is wanted: the fewest operations, in an order the kernel takes.

import Addresses
import Ruleset
import Testing

private func table(_ elements: [UInt16: UInt32], rules: [Rule] = [Rule(.goto("B"))], chains: [String] = ["B"])
  -> Table
{
  var map = NamedSet("m", key: [.port], data: .values([.mark]))
  for (port, mark) in elements { map.insert(.port(port), .number(mark)) }
  return Table(
    .ip, "T", sets: [map],
    chains: [Chain("A", .init(.filter, .forward, priority: 0), rules: rules)] + chains.map { Chain($0) })
}

private func operations(_ from: [Table], _ to: [Table]) -> [String] {
  Ruleset(to).operations(from: InForce(Ruleset(from))).map(\.description)
}

@Test func `equal rulesets need no operation`() {
  #expect(operations([table([1: 1])], [table([1: 1])]).isEmpty)
}

@Test func `a new table is made from its parts, rules after the chains they name`() {
  #expect(
    operations([], [table([80: 1])]) == [
      "add table ip T", "add map ip T m", "add chain ip T A", "add chain ip T B",
      "add element ip T m { 80 : 0x00000001 }", "replace chain ip T A (1 rules)",
    ])
}

@Test func `a changed element is replaced and one that is gone goes last`() {
  #expect(
    operations([table([1: 1, 2: 2, 3: 3])], [table([1: 1, 2: 9, 4: 4])]) == [
      "delete element ip T m { 2 : 0x00000002 }",
      "add element ip T m { 2 : 0x00000009, 4 : 0x00000004 }",
      "delete element ip T m { 3 : 0x00000003 }",
    ])
}

@Test func `a chain goes after the rules that name it`() {
  #expect(
    operations([table([:])], [table([:], rules: [Rule(.drop)], chains: [])]) == [
      "replace chain ip T A (1 rules)", "delete chain ip T B",
    ])
}

@Test func `a table that is not wanted goes and a hook that moved makes the table anew`() {
  #expect(operations([table([:])], []) == ["delete table ip T"])
  var moved = table([:])
  moved.chains[0].base?.priority = 7
  #expect(operations([table([:])], [moved]).prefix(2) == ["delete table ip T", "add table ip T"])
}

@Test func `elements of a dynamic set belong to the packet path`() {
  let own = NamedSet("d", key: [.mark], isDynamic: true, timeoutSeconds: 3)
  var seen = own
  seen.insert(.number(1))
  #expect(operations([Table(.ip, "T", sets: [seen])], [Table(.ip, "T", sets: [own])]).isEmpty)
}

@Test(arguments: [1, 2, 3] as [UInt64])
func `a random walk of diffs arrives where it is meant to`(seed: UInt64) {
  var random = Splitmix(state: seed)
  var inForce: [UInt16: UInt32] = [:]
  for _ in 0..<200 {
    var wanted = inForce
    for _ in 0..<Int.random(in: 0...8, using: &random) {
      let port = UInt16.random(in: 0..<32, using: &random)
      wanted[port] = Bool.random(using: &random) ? nil : UInt32.random(in: 0..<4, using: &random)
    }
    // Apply the operations as the kernel would: adding over other data and deleting what is not there are
    // refused.
    for operation in Ruleset([table(wanted)]).operations(from: InForce(Ruleset([table(inForce)]))) {
      switch operation {
      case .addElements(_, _, let changes):
        for change in changes {
          guard case .data(let data) = change.element.value else { continue }
          let port = UInt16(change.key[0]) << 8 | UInt16(change.key[1])
          #expect(inForce[port] == nil, "seed \(seed)")
          inForce[port] = data.asNumber
        }
      case .deleteElements(_, _, let changes):
        for change in changes {
          let port = UInt16(change.key[0]) << 8 | UInt16(change.key[1])
          #expect(inForce.removeValue(forKey: port) != nil, "seed \(seed)")
        }
      default: Issue.record("unexpected \(operation), seed \(seed)")
      }
    }
    #expect(inForce == wanted, "seed \(seed)")
  }
}

private struct Splitmix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}

// What the evaluator says of packets. ProxyTests hold the same evaluator against real connections.

import Addresses
import Ruleset
import Testing

private let a = IPAddress("10.0.0.1")!
private let b = IPAddress("10.0.0.2")!
private let saddr = Expression.sourceAddress(.ip)
private let daddr = Expression.destinationAddress(.ip)

private func forward(
  _ rules: [Rule], _ more: [Chain] = [], policy: BaseChain.Policy = .accept, sets: [NamedSet] = []
)
  -> Ruleset
{
  Ruleset([
    Table(
      .ip, "T", sets: sets,
      chains: [Chain("F", .init(.filter, .forward, priority: 0, policy: policy), rules: rules)] + more)
  ])
}

@Test func `a chain that is jumped to returns and one that is gone to does not`() {
  let deny = Rule(.drop)
  let other = Chain("O", rules: [Rule(.match(.metaTransport, .equal, .byte(17)), .accept)])
  #expect(forward([Rule(.jump("O")), deny], [other]).evaluateArriving(Packet(a, b)).outcome == .drop)
  #expect(forward([Rule(.goto("O")), deny], [other]).evaluateArriving(Packet(a, b)).outcome == .accept)
}

@Test func `a log and a limit let every packet go on to what follows`() {
  let told = Rule(.limit(perSecond: 1, burst: 1), .log(group: 5, prefix: "x", snapLength: 96))
  for _ in 0..<3 {
    let walk = forward([told, Rule(.drop)]).evaluateArriving(Packet(a, b))
    #expect(walk.outcome == .drop)
    #expect(walk.steps.map(\.rule) == [0, 1])
  }
  #expect(forward([told]).evaluateArriving(Packet(a, b)).outcome == .accept)
}

@Test func `accept ends one table only and drop ends all`() {
  let ruleset = Ruleset([
    Table(
      .ip, "FIRST",
      chains: [Chain("F", .init(.filter, .forward, priority: -5), rules: [Rule(.accept), Rule(.drop)])]),
    Table(.ip, "LATER", chains: [Chain("F", .init(.filter, .forward, priority: 5), rules: [Rule(.drop)])]),
  ])
  let walk = ruleset.evaluateArriving(Packet(a, b))
  #expect(walk.outcome == .drop)
  #expect(walk.steps.map(\.table.name) == ["FIRST", "LATER"])
  #expect(walk.decisive?.text == "drop")
}

@Test func `chains of one hook run by priority whatever order tables stand in`() {
  func table(_ name: String, _ priority: Int32) -> Table {
    Table(
      .ip, name,
      chains: [Chain("F", .init(.filter, .forward, priority: priority), rules: [Rule(.counter)])])
  }
  let walk = Ruleset([table("B", 10), table("A", -10)]).evaluateArriving(Packet(a, b))
  #expect(walk.steps.map(\.table.name) == ["A", "B"])
}

@Test func `a policy of drop decides when no rule does and says so`() {
  let walk = forward([], policy: .drop).evaluateArriving(Packet(a, b))
  #expect(walk.outcome == .drop)
  #expect(walk.steps.last?.text == "policy drop")
}

@Test func `a packet for the machine itself meets input and not forward`() {
  let context = EvaluationContext(localAddresses: [b])
  let walk = forward([Rule(.drop)]).evaluateArriving(Packet(a, b), context)
  #expect(walk.outcome == .accept)
  #expect(walk.hooks == [.prerouting, .input])
}

@Test func `only the first packet of a connection meets nat chains`() {
  let target = Datum(.ipv4(IPv4Address(10, 0, 0, 9)), .port(8080))
  let ruleset = Ruleset([
    Table(
      .ip, "T",
      sets: [
        NamedSet(
          "m", key: [.port], data: .values([.ipv4Address, .port]), elements: [.port(80): .init(.data(target))]
        )
      ],
      chains: [
        Chain(
          "P", .init(.nat, .prerouting, priority: -100),
          rules: [
            Rule(.transport(6), .dnat(.mapped(.destinationPort, map: "m", [.ipv4Address, .port]))),
            Rule(.drop),
          ])
      ])
  ])
  let first = ruleset.evaluateArriving(Packet(a, b, destinationPort: 80))
  #expect(first.destinationNAT == SocketEndpoint("10.0.0.9:8080"))
  #expect(first.packet.destinationPort == 8080)
  // A look-up that misses ends the rule, not the chain.
  #expect(ruleset.evaluateArriving(Packet(a, b, destinationPort: 81)).outcome == .drop)
  let later = ruleset.evaluateArriving(Packet(a, b, destinationPort: 81, state: .established))
  #expect(later.outcome == .accept)
}

@Test(arguments: [("10.0.0.0", true), ("10.0.0.63", true), ("10.0.0.64", false), ("10.0.0.70", true)])
func `an interval set covers its ranges`(address: String, isCovered: Bool) {
  var set = NamedSet("s", key: [.ipv4Address], isInterval: true)
  set.insert(.ipv4(IPv4Address(10, 0, 0, 0)), through: .ipv4(IPv4Address(10, 0, 0, 63)))
  set.insert(.ipv4(IPv4Address(10, 0, 0, 70)), through: .ipv4(IPv4Address(10, 0, 0, 70)))
  let ruleset = forward([Rule(.lookup(saddr, set: "s", negated: false), .drop)], sets: [set])
  #expect((ruleset.evaluateArriving(Packet(IPAddress(address)!, b)).outcome == .drop) == isCovered)
}

@Test func `a ruleset that loops ends in drop and not in a hang`() {
  let loop = Chain("L", rules: [Rule(.jump("L"))])
  #expect(forward([Rule(.jump("L"))], [loop]).evaluateArriving(Packet(a, b)).outcome == .drop)
}

@Test func `a packet of the other family passes a table by`() {
  let six = Packet(IPAddress("fd00::1")!, IPAddress("fd00::2")!)
  #expect(forward([Rule(.drop)]).evaluateArriving(six).outcome == .accept)
}

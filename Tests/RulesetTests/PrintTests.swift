// A ruleset prints as nft reads it. KernelNftablesTests holds the same text against nft and the kernel.

import Addresses
import Ruleset
import Testing

private let daddr = Expression.destinationAddress(.ip)
private let saddr = Expression.sourceAddress(.ip)

@Test(arguments: [
  (Rule(.match(.ctDirection, .equal, .byte(1)), .returning), "ct direction reply return"),
  (Rule(.setCtMark(.constant(.number(0), .mark))), "ct mark set 0x00000000"),
  (
    Rule(
      .setCtMark(.mapped(.concatenation([daddr, .metaTransport, .destinationPort]), map: "svc-id", [.mark]))),
    "ct mark set ip daddr . meta l4proto . th dport map @svc-id"
  ),
  (Rule(.vmap(.ctMark.masked(0xe000_0000), map: "entry")), "ct mark & 0xe0000000 vmap @entry"),
  (
    Rule(
      .transport(6),
      .dnat(
        .mapped(
          .concatenation([.ctMark.masked(0x3ffff), .random(modulus: 3)]), map: "backends",
          [.ipv4Address, .port]))),
    "meta l4proto tcp dnat ip to ct mark & 0x0003ffff . numgen random mod 3 map @backends"
  ),
  (
    Rule(.match(.metaMark.masked(0x4000), .notEqual, .number(0)), .masquerade(fullyRandom: true)),
    "meta mark & 0x00004000 != 0x00000000 masquerade fully-random"
  ),
  (
    Rule(
      .transport(6),
      .lookupAny(.destinationPort, [.init(.port(8080)), .init(first: .port(9000), last: .port(9100))]),
      .counter, .accept, comment: "ns/allow#0"),
    "meta l4proto tcp th dport { 8080, 9000-9100 } counter accept comment \"ns/allow#0\""
  ),
  (Rule(.lookup(saddr, set: "pods", negated: true), .drop), "ip saddr != @pods drop"),
  (Rule(.ctState([.established, .related]), .accept), "ct state established,related accept"),
  (
    Rule(.match(.inputInterface, .equal, .interfacePrefix("vp")!), .goto("PORT")),
    "iifname \"vp*\" goto PORT"
  ),
  (Rule(.reject(.tcpReset)), "reject with tcp reset"),
  (
    Rule(.counterNamed("denied"), .limit(perSecond: 20, burst: 5), .log(group: 5, prefix: "kp:in:"), .drop),
    "counter name \"denied\" limit rate 20/second burst 5 packets log prefix \"kp:in:\" group 5 drop"
  ),
  (
    Rule(.log(group: 5, prefix: "a", snapLength: 128, queueThreshold: 10)),
    "log prefix \"a\" group 5 snaplen 128 queue-threshold 10"
  ),
])
func `a rule prints as nft writes it`(rule: Rule, text: String) {
  #expect(rule.description == text)
}

@Test func `a comment keeps no quote that would end it and is cut to what the kernel holds`() {
  #expect(Rule(.accept, comment: "a \"b\"\nc").description == "accept comment \"a 'b''c\"")
  #expect(Rule.quotable(String(repeating: "é", count: 200)).utf8.count == 126)
}

@Test func `elements print sorted, with comments, prefixes and verdicts`() {
  var services = NamedSet("svc", key: [.ipv4Address, .transport, .port], data: .values([.mark]))
  services.insert(Datum(.ipv4(IPv4Address(10, 0, 0, 2)), .byte(17), .port(53)), .number(2))
  services.insert(Datum(.ipv4(IPv4Address(10, 0, 0, 1)), .byte(6), .port(80)), .number(1), comment: "a/b:c")
  #expect(
    services.elementTexts() == [
      "10.0.0.1 . tcp . 80 comment \"a/b:c\" : 0x00000001", "10.0.0.2 . udp . 53 : 0x00000002",
    ])
  var blocks = NamedSet("blocks", key: [.ipv4Address], isInterval: true)
  blocks.insert(.ipv4(IPv4Address(10, 0, 0, 0)), through: .ipv4(IPv4Address(10, 0, 0, 255)))
  blocks.insert(.ipv4(IPv4Address(10, 0, 1, 1)), through: .ipv4(IPv4Address(10, 0, 1, 9)))
  #expect(blocks.elementTexts() == ["10.0.0.0/24", "10.0.1.1-10.0.1.9"])
  var entry = NamedSet("entry", key: [.mark], data: .verdict)
  entry.insert(.number(1), .goto("A"))
  #expect(entry.elementTexts() == ["0x00000001 : goto A"])
}

@Test func `equal rulesets print equal text whatever order their elements came in`() {
  func table(_ ports: [UInt16]) -> Table {
    Table(.ip, "T", sets: [NamedSet("p", key: [.port], values: ports.map { .port($0) })])
  }
  #expect(table([3, 1, 2]).description == table([2, 3, 1]).description)
  #expect(
    table([1]).description == "table ip T {\n\tset p {\n\t\ttype inet_service\n\t\telements = { 1 }\n\t}\n}\n"
  )
}

@Test func `a value of forty-one bytes is refused and members of a concatenation are padded`() {
  #expect(Datum(bytes: [UInt8](repeating: 1, count: 41)) == nil)
  #expect(Datum(.byte(6), .port(80)).bytes == [6, 0, 0, 0, 0, 80, 0, 0])
  #expect(Datum(joining: [.port(80)]).bytes == [0, 80])
  #expect(Datum.interface("a-name-of-16-byte") == nil)
}

// One ruleset with every statement, expression and kind of set, in two families.

import Addresses
import Ruleset

func sampleTable(_ family: TableFamily.Addressed) -> Table {
  let isFour = family == .ip
  let address = family.addressType
  func ip(_ last: UInt8) -> Datum {
    isFour ? .ipv4(IPv4Address(10, 42, 0, last)) : .ipv6(IPv6Address(bits: 0xfd42 << 112 | UInt128(last)))
  }
  var services = NamedSet("svc-id", key: [address, .transport, .port], data: .values([.mark]))
  services.insert(Datum(ip(10), .byte(6), .port(80)), .number(0x2004_0001), comment: "demo/web:http")
  services.insert(Datum(ip(11), .byte(17), .port(53)), .number(0x2008_0002))
  var backends = NamedSet("backends", key: [.mark, .slot], data: .values([address, .port]))
  backends.insert(Datum(.number(1), .number(0)), Datum(ip(21), .port(8080)))
  backends.insert(Datum(.number(1), .number(1)), Datum(ip(22), .port(8080)))
  var picks = NamedSet("aff-pick", key: [.mark, .slot], data: .values([.mark]))
  picks.insert(Datum(.number(1), .number(0)), .number(0xe004_0001))
  let affinity = NamedSet(
    "affinity", key: [.mark, address], data: .values([.mark]), isDynamic: true, timeoutSeconds: 10800,
    size: 262_144)
  var entry = NamedSet("entry", key: [.mark], data: .verdict)
  entry.insert(.number(0x2000_0000), .goto("BALANCE"))
  entry.insert(.number(0xc000_0000), .drop)
  let members = NamedSet("members", key: [address], values: [ip(1), ip(2)])
  var blocks = NamedSet("blocks", key: [address], isInterval: true)
  blocks.insert(ip(0), through: ip(63))
  blocks.insert(ip(64), through: ip(64))
  blocks.insert(ip(70), through: ip(90))
  var ranges = NamedSet("ranges", key: [.networkMark, address], isInterval: true)
  ranges.insert(Datum(.networkNumber(7), ip(0)), through: Datum(.networkNumber(7), ip(127)))
  let ports = NamedSet("ports", key: [.interfaceName], values: [.interface("veth0")!])
  let mark = Expression.ctMark.masked(0x3ffff)
  let source = Expression.source(family)
  let destination = Expression.destination(family)
  return Table(
    family.table, "SAMPLE",
    sets: [services, backends, picks, affinity, entry, members, blocks, ranges, ports],
    counters: ["denied"],
    chains: [
      Chain(
        "PRE", BaseChain(.nat, .prerouting, priority: -100),
        rules: [
          Rule(.match(.ctDirection, .equal, .byte(1)), .returning),
          Rule(.setCtMark(.constant(.number(0), .mark))),
          Rule(
            .setCtMark(
              .mapped(
                .concatenation([destination, .metaTransport, .destinationPort]), map: "svc-id", [.mark]))),
          Rule(.vmap(.ctMark.masked(0xe000_0000), map: "entry"), comment: "dispatch \"it\""),
        ]),
      Chain(
        "BALANCE",
        rules: [
          Rule(
            .transport(6),
            .dnat(
              .mapped(
                .concatenation([mark, .random(modulus: 2)]), map: "backends", [address, .port]))),
          Rule(.setCtMark(.mapped(.concatenation([mark, source]), map: "affinity", [.mark]))),
          Rule(
            .match(.ctMark.masked(0xe000_0000), .equal, .number(0xe000_0000)),
            .update(
              set: "affinity", key: .concatenation([mark, source]), data: .ctMark, timeoutSeconds: 3)),
          Rule(.remove(set: "affinity", key: .concatenation([mark, source]), data: .ctMark)),
          Rule(
            .setCtMark(
              .mapped(.concatenation([mark, .random(modulus: 3)]), map: "aff-pick", [.mark]))),
          Rule(.jump("DENY")),
        ]),
      Chain(
        "DENY",
        rules: [
          Rule(.counterNamed("denied"), .limit(perSecond: 20, burst: 5), .log(group: 5, prefix: "kp:in:")),
          Rule(
            .limit(perSecond: 100, burst: 200),
            .log(group: 5, prefix: "kp:eg:", snapLength: 128, queueThreshold: 10)),
          Rule(.log(group: 6, prefix: "kp:", snapLength: 96)),
          Rule(.log(group: 6, prefix: "kp:", queueThreshold: 1)),
          Rule(.transport(6), .reject(.tcpReset)),
          Rule(.reject(.portUnreachable)),
        ]),
      Chain(
        "FORWARD", BaseChain(.filter, .forward, priority: -5),
        rules: [
          Rule(.ctState([.established, .related]), .accept),
          Rule(
            .transport(6), .ctState(.new),
            .match(
              .masked(.tcpFlags, .byte(TCPFlag.fin | TCPFlag.syn | TCPFlag.rst | TCPFlag.ack)), .notEqual,
              .byte(TCPFlag.syn)), .drop),
          Rule(
            .lookup(source, set: "members", negated: true), .lookup(source, set: "blocks", negated: false),
            .drop),
          Rule(
            .lookup(.concatenation([.networkOrder(mark), source]), set: "ranges", negated: false),
            .goto("DENY")),
          Rule(
            .transport(6),
            .lookupAny(
              .destinationPort, [.init(.port(8080)), .init(first: .port(9000), last: .port(9100))]),
            .counter, .accept, comment: "ns1/allow#0"),
          Rule(
            .transport(17), .lookupAny(.destinationPort, [.init(.port(53)), .init(.port(5353))]), .accept),
          Rule(.transport(6), .matchRange(.destinationPort, first: .port(30000), last: .port(32767)), .drop),
          Rule(.lookup(.inputInterface, set: "ports", negated: false), .accept),
          Rule(.match(.inputInterface, .equal, .interfacePrefix("vp")!), .goto("DENY")),
          Rule(.match(source, .equal, ip(9)), .match(.masked(destination, ip(255)), .equal, ip(8)), .drop),
          Rule(.match(.sourceAddressKind, .equal, .number(Expression.kindLocal)), .accept),
        ]),
      Chain(
        "POST", BaseChain(.nat, .postrouting, priority: 100),
        rules: [
          Rule(.setMetaMark(.or(.metaMark, .number(0x4000)))),
          Rule(
            .match(.metaMark.masked(0x4000), .notEqual, .number(0)),
            .setMetaMark(.xor(.metaMark, .number(0x4000))), .masquerade(fullyRandom: true)),
        ]),
      Chain(
        "RAW", BaseChain(.filter, .prerouting, priority: -300),
        rules: [
          Rule(.transport(17), .match(.destinationPort, .equal, .port(53)), .notrack),
          Rule(.transport(17), .trace),
        ]),
    ])
}

func guardTable() -> Table {
  let mac = MACAddress(text: "0a:58:0a:2a:00:0b")!
  var known = NamedSet("known", key: [.interfaceName, .etherAddress, .ipv4Address])
  known.insert(Datum(.interface("vp1")!, .mac(mac), .ipv4(IPv4Address(10, 42, 0, 11))))
  let ip = Datum(bytes: [0x08, 0x00])!
  let arp = Datum(bytes: [0x08, 0x06])!
  return Table(
    .bridge, "GUARD", sets: [known], counters: ["spoofed"],
    chains: [
      Chain(
        "PREROUTING", BaseChain(.filter, .prerouting, priority: -300),
        rules: [Rule(.match(.inputInterface, .equal, .interfacePrefix("vp")!), .goto("PORT"))]),
      Chain(
        "PORT",
        rules: [
          Rule(
            .match(.metaProtocol, .equal, ip),
            .lookup(
              .concatenation([.inputInterface, .etherSource, .sourceAddress(.ip)]), set: "known",
              negated: false), .accept),
          Rule(
            .match(.metaProtocol, .equal, arp),
            .lookup(
              .concatenation([.inputInterface, .etherSource, .arpSourceAddress]), set: "known",
              negated: false), .accept),
          Rule(.counterNamed("spoofed"), .drop),
        ]),
    ])
}

let sampleRuleset = Ruleset([sampleTable(.ip), sampleTable(.ip6), guardTable()])

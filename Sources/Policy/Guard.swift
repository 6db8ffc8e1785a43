// The guard on the bridge: a pod may only speak with the hardware and IP address it was given. Without it a quarantined pod
// could take a neighbour's address, since the address families below see the bridge, not the port.

import Addresses
import ClusterObjects
import Ruleset

func guardTable(attachments: [PodAttachment], settings: PolicySettings) -> Table {
  var known = NamedSet("known", key: [.interfaceName, .etherAddress, .ipv4Address])
  var interfaces = NamedSet("podif", key: [.interfaceName])
  for attachment in attachments {
    guard let name = Datum.interface(attachment.hostInterface) else { continue }
    interfaces.insert(name, comment: attachment.pod.description)
    guard let hardware = attachment.hardwareAddress else { continue }
    for address in attachment.addresses {
      guard case .v4(let four) = address else { continue }
      known.insert(Datum(name, .mac(hardware), .ipv4(four)), comment: attachment.pod.description)
    }
  }
  // EtherTypes are in network order on the wire.
  func type(_ bytes: [UInt8]) -> Statement { .match(.metaProtocol, .equal, Datum(bytes: bytes) ?? Datum()) }
  let ipKey = Expression.concatenation([.inputInterface, .etherSource, .sourceAddress(.ip)])
  let arpKey = Expression.concatenation([.inputInterface, .etherSource, .arpSourceAddress])
  var entry: [Rule] = []
  if let prefix = Datum.interfacePrefix(settings.interfacePrefix) {
    entry = [Rule(.match(.inputInterface, .equal, prefix), .goto("KUBE-PORT"))]
  }
  return Table(
    .bridge, PolicyNames.guardTable, sets: [known, interfaces], counters: ["spoofed"],
    chains: [
      Chain("PREROUTING", BaseChain(.filter, .prerouting, priority: -300), rules: entry),
      Chain(
        "KUBE-PORT",
        rules: [
          Rule(type([0x08, 0x00]), .lookup(ipKey, set: "known", negated: false), .accept),
          Rule(type([0x08, 0x06]), .lookup(arpKey, set: "known", negated: false), .accept),
          Rule(type([0x86, 0xdd]), .lookup(.inputInterface, set: "podif", negated: false), .accept),
          Rule(.counterNamed("spoofed"), .drop),
        ]),
    ])
}

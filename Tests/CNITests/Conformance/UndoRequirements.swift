// What a plugin must do on DEL, CHECK, VERSION, GC and STATUS.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

let undoRequirements: [Requirement] = [
  Requirement(id: "DEL-1", text: "the interface and the address are released, and nothing is printed") {
    subject in
    let stand = try Stand(subject, "del1")
    let pod = try stand.lab.pod("a")
    let narrow = stand.configuration(subnet: "10.99.0.0/30")
    _ = try stand.add("a", pod, input: narrow)
    let reply = try stand.call("DEL", "a", pod, input: narrow)
    try meet(reply.code == 0 && reply.text.isEmpty, "answered \(reply.text)")
    try meet(try stand.links(pod).map(\.name) == ["lo"], "the interface stays")
    _ = try stand.add("b", try stand.lab.pod("b"), input: narrow)
  },
  Requirement(id: "DEL-2", text: "a second DEL, and a DEL without ADD, succeed") { subject in
    let stand = try Stand(subject, "del2")
    let pod = try stand.lab.pod("a")
    _ = try stand.add("a", pod, input: stand.configuration())
    for id in ["a", "a", "never"] {
      let reply = try stand.call("DEL", id, pod, input: stand.configuration())
      try meet(reply.code == 0, "DEL of \(id): \(reply.text)")
    }
  },
  Requirement(id: "DEL-3", text: "a DEL without namespace and previous result succeeds and frees the address")
  { subject in
    let stand = try Stand(subject, "del3")
    let narrow = stand.configuration(subnet: "10.99.0.0/30")
    _ = try stand.add("a", try stand.lab.pod("a"), input: narrow)
    try stand.lab.removePod("a")
    let reply = try stand.call("DEL", "a", "", input: narrow)
    try meet(reply.code == 0, reply.text)
    _ = try stand.add("b", try stand.lab.pod("b"), input: narrow)
  },
  Requirement(id: "DEL-4", text: "a DEL whose namespace path is gone succeeds") { subject in
    let stand = try Stand(subject, "del4")
    let pod = try stand.lab.pod("a")
    _ = try stand.add("a", pod, input: stand.configuration())
    try stand.lab.removePod("a")
    let reply = try stand.call("DEL", "a", pod, input: stand.configuration())
    try meet(reply.code == 0, reply.text)
  },
  Requirement(id: "DEL-5", text: "a DEL of one container leaves the others alone") { subject in
    let stand = try Stand(subject, "del5")
    let (one, other) = (try stand.lab.pod("a"), try stand.lab.pod("b"))
    _ = try stand.add("a", one, input: stand.configuration())
    let result = try stand.add("b", other, input: stand.configuration())
    _ = try stand.call("DEL", "a", one, input: stand.configuration())
    let address = result["ips"]?.array?.first?["address"]?.string ?? ""
    var session = try RouteSession(inNamespace: other)
    try meet(try session.addresses().contains { "\($0.value)" == address }, "the other lost \(address)")
  },
  Requirement(id: "CHK-1", text: "CHECK right after ADD succeeds and prints nothing") { subject in
    let stand = try Stand(subject, "chk1")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration())
    let reply = try stand.call(
      "CHECK", "a", pod, input: stand.configuration(more: ",\"prevResult\":\(result.text)"))
    try meet(reply.code == 0 && reply.text.isEmpty, "answered \(reply.text)")
  },
  Requirement(id: "CHK-2", text: "CHECK finds a lost address and a lost interface") { subject in
    let stand = try Stand(subject, "chk2")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration())
    let input = stand.configuration(more: ",\"prevResult\":\(result.text)")
    var session = try RouteSession(inNamespace: pod)
    guard let link = try session.link(named: "eth0") else { throw Unmet("no eth0") }
    for address in try session.addresses(of: link.index, family: .v4) {
      try session.deleteAddress(address.value, from: link.index)
    }
    try meet(try stand.call("CHECK", "a", pod, input: input).code != 0, "did not miss the address")
    try session.deleteLink(named: "eth0")
    try meet(try stand.call("CHECK", "a", pod, input: input).code != 0, "did not miss the interface")
  },
  Requirement(id: "CHK-3", text: "CHECK allows what a later plugin added: a route, an address") { subject in
    let stand = try Stand(subject, "chk3")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration())
    var session = try RouteSession(inNamespace: pod)
    guard let link = try session.link(named: "eth0") else { throw Unmet("no eth0") }
    try session.addAddress(try #require(InterfaceAddress("172.31.0.1/24")), to: link.index)
    let reply = try stand.call(
      "CHECK", "a", pod, input: stand.configuration(more: ",\"prevResult\":\(result.text)"))
    try meet(reply.code == 0, reply.text)
  },
  Requirement(id: "CHK-4", text: "CHECK is an error before version 0.4.0") { subject in
    let stand = try Stand(subject, "chk4")
    let pod = try stand.lab.pod("a")
    _ = try stand.add("a", pod, input: stand.configuration(version: "0.3.1"))
    let reply = try stand.call("CHECK", "a", pod, input: stand.configuration(version: "0.3.1"))
    try meet(reply.code != 0, "succeeded")
  },
]

let otherVerbRequirements: [Requirement] = [
  Requirement(id: "VER-1", text: "VERSION answers its version and all that it supports, 1.1.0 among them") {
    subject in
    let stand = try Stand(subject, "ver1")
    let reply = try stand.call("VERSION", "", input: #"{"cniVersion":"1.0.0"}"#)
    try meet(reply.code == 0, reply.text)
    let versions = reply.json["supportedVersions"]?.array?.compactMap(\.string) ?? []
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
      try meet(versions.contains(version), "does not support \(version)")
    }
    try meet(reply.json["cniVersion"]?.string != nil, "has no cniVersion")
  },
  Requirement(id: "GC-1", text: "GC frees what no valid attachment names and keeps the rest") { subject in
    let stand = try Stand(subject, "gc1")
    let input = stand.configuration(version: "1.1.0", subnet: "10.99.0.0/29")
    for id in ["a", "b"] { _ = try stand.add(id, try stand.lab.pod(id), input: input) }
    let valid = #","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]"#
    let reply = try stand.call(
      "GC", "", input: stand.configuration(version: "1.1.0", subnet: "10.99.0.0/29", more: valid),
      without: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"])
    try meet(reply.code == 0, reply.text)
    // Of five addresses one is held: four can be given.
    for id in 0..<4 { _ = try stand.add("n\(id)", try stand.lab.pod("n\(id)"), input: input) }
    try meet(try stand.links(stand.lab.node).contains { $0.kind == "veth" }, "took the valid one too")
  },
  Requirement(id: "GC-2", text: "GC of a network leaves other networks alone") { subject in
    let stand = try Stand(subject, "gc2")
    let pod = try stand.lab.pod("a")
    let input = stand.configuration(version: "1.1.0")
    _ = try stand.add("a", pod, input: input.replacing("\"name\":\"t\"", with: "\"name\":\"u\""))
    let reply = try stand.call(
      "GC", "", input: stand.configuration(version: "1.1.0", more: #","cni.dev/valid-attachments":[]"#))
    try meet(reply.code == 0, reply.text)
    try meet(try stand.links(pod).contains { $0.name == "eth0" }, "took another network's interface")
  },
  Requirement(id: "ST-1", text: "STATUS succeeds where an ADD would") { subject in
    let stand = try Stand(subject, "st1")
    let reply = try stand.call("STATUS", "", input: stand.configuration(version: "1.1.0"))
    try meet(reply.code == 0, reply.text)
  },
  Requirement(id: "ST-2", text: "STATUS is error 50 or 51 where an ADD cannot work") { subject in
    let stand = try Stand(subject, "st2")
    let narrow = stand.configuration(version: "1.1.0", subnet: "10.99.0.0/30")
    _ = try stand.add("a", try stand.lab.pod("a"), input: narrow)
    let reply = try stand.call("STATUS", "", input: narrow)
    try meet(reply.code != 0 && [50, 51].contains(reply.error), "answered \(reply.code) \(reply.text)")
  },
]

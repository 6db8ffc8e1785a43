// What a plugin must do and answer on ADD, and with the result of plugins before it.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

let addRequirements: [Requirement] = [
  Requirement(id: "ADD-1", text: "the interface exists in the namespace, is up and has the address answered")
  {
    subject in
    let stand = try Stand(subject, "add1")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration())
    var session = try RouteSession(inNamespace: pod)
    guard let link = try session.link(named: "eth0"), link.isUp else {
      throw Unmet("eth0 is missing or down")
    }
    let present = try session.addresses(of: link.index).map { "\($0.value)" }
    let answered = result["ips"]?.array?.first?["address"]?.string ?? ""
    try meet(present.contains(answered), "answered \(answered), the kernel has \(present)")
  },
  Requirement(id: "ADD-2", text: "an interface of that name that exists is an error, and stays") { subject in
    let stand = try Stand(subject, "add2")
    let pod = try stand.lab.pod("a")
    var session = try RouteSession(inNamespace: pod)
    try session.createBridge("eth0")
    let reply = try stand.call("ADD", "a", pod, input: stand.configuration())
    try meet(reply.code != 0, "succeeded although eth0 was there")
    try meet(try session.link(named: "eth0")?.kind == "bridge", "changed a foreign interface")
  },
  Requirement(
    id: "ADD-3", text: "the result names the interfaces with MAC and sandbox, and each address its interface"
  ) {
    subject in
    let stand = try Stand(subject, "add3")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration())
    let interfaces = result["interfaces"]?.array ?? []
    guard let index = interfaces.firstIndex(where: { $0["name"]?.string == "eth0" }) else {
      throw Unmet("eth0 is not among the interfaces: \(result.text)")
    }
    try meet(interfaces[index]["sandbox"]?.string == pod, "the sandbox is not \(pod)")
    let mac = try stand.links(pod).first { $0.name == "eth0" }?.mac?.description
    try meet(interfaces[index]["mac"]?.string == mac, "the MAC is not \(mac ?? "")")
    try meet(
      result["ips"]?.array?.first?["interface"]?.integer == Int64(index), "the address has no interface")
    for host in interfaces where host["name"]?.string != "eth0" {
      try meet(host["sandbox"]?.string ?? "" == "", "a link of the node has a sandbox")
    }
  },
  Requirement(id: "ADD-4", text: "the result is of the version that was asked for") { subject in
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
      let stand = try Stand(subject, "add4")
      let pod = try stand.lab.pod("a")
      let result = try stand.add("a", pod, input: stand.configuration(version: version))
      try meet(result["cniVersion"]?.string == version, "asked for \(version): \(result.text)")
      let hasVersion = result["ips"]?.array?.first?["version"] != nil
      try meet(hasVersion == (version < "1"), "ips[].version in \(version): \(hasVersion)")
    }
  },
  Requirement(id: "ADD-5", text: "version 1.1.0 is spoken, with the MTU of the interfaces") { subject in
    let stand = try Stand(subject, "add5")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration(version: "1.1.0"))
    let link = result["interfaces"]?.array?.first { $0["name"]?.string == "eth0" }
    try meet(link?["mtu"]?.integer == 1500, "eth0 has no mtu: \(result.text)")
  },
  Requirement(id: "ADD-6", text: "an ADD that fails leaves no address behind (the IPAM's DEL is called)") {
    subject in
    let stand = try Stand(subject, "add6")
    let taken = try stand.lab.pod("a")
    var session = try RouteSession(inNamespace: taken)
    try session.createBridge("eth0")
    let narrow = stand.configuration(subnet: "10.99.0.0/30")
    for id in ["x", "y"] {
      let reply = try stand.call("ADD", id, taken, input: narrow)
      try meet(reply.code != 0, "succeeded although eth0 was there")
    }
    let reply = try stand.call("ADD", "b", try stand.lab.pod("b"), input: narrow)
    try meet(reply.code == 0, "the only address is lost: \(reply.text)")
  },
  Requirement(id: "ADD-7", text: "an ADD without a free address fails and leaves no interface in the pod") {
    subject in
    let stand = try Stand(subject, "add7")
    let narrow = stand.configuration(subnet: "10.99.0.0/30")
    _ = try stand.add("a", try stand.lab.pod("a"), input: narrow)
    let pod = try stand.lab.pod("b")
    let reply = try stand.call("ADD", "b", pod, input: narrow)
    try meet(reply.code != 0 && reply.error != nil, "answered \(reply.text)")
    try meet(
      try stand.links(pod).map(\.name) == ["lo"], "left \(try stand.links(pod).map(\.name)) in the pod")
  },
  Requirement(
    id: "ADD-8", text: "a chained plugin answers the result before it, unchanged where it changes nothing"
  ) {
    subject in
    let stand = try Stand(subject, "add8")
    let pod = try stand.lab.pod("a")
    let before = try stand.add("a", pod, input: stand.configuration())
    let input = """
      {"cniVersion":"1.0.0","name":"t","type":"portmap","prevResult":\(before.text)}
      """
    let reply = try stand.call("ADD", "a", pod, input: input, program: "portmap")
    try meet(reply.code == 0, reply.text)
    for key in ["interfaces", "ips"] {
      let (one, other) = (before[key]?.array ?? [], reply.json[key]?.array ?? [])
      try meet(one.count == other.count && !one.isEmpty, "\(key) changed: \(reply.text)")
      for (left, right) in zip(one, other) {
        for member in left.members ?? [] {
          try meet(right[member.name] == member.value, "\(key).\(member.name) changed: \(reply.text)")
        }
      }
    }
  },
  Requirement(id: "ADD-9", text: "an IPAM plugin answers an abbreviated result: addresses without interfaces")
  { subject in
    let stand = try Stand(subject, "add9")
    let pod = try stand.lab.pod("a")
    let reply = try stand.call("ADD", "a", pod, input: stand.configuration(), program: "host-local")
    try meet(reply.code == 0, reply.text)
    try meet(reply.json["interfaces"] == nil, "names interfaces")
    let address = reply.json["ips"]?.array?.first
    try meet(address?["address"] != nil && address?["interface"] == nil, "answered \(reply.text)")
    try meet(try stand.links(pod).map(\.name) == ["lo"], "an IPAM plugin made a link")
  },
  Requirement(id: "ADD-10", text: "two containers have two addresses") {
    subject in
    let stand = try Stand(subject, "add10")
    let one = try stand.add("a", try stand.lab.pod("a"), input: stand.configuration())
    let other = try stand.add("b", try stand.lab.pod("b"), input: stand.configuration())
    try meet(
      one["ips"]?.array?.first?["address"] != other["ips"]?.array?.first?["address"], "one address for two")
  },
  Requirement(id: "ADD-11", text: "one container may have two interfaces on one network") { subject in
    let stand = try Stand(subject, "add11")
    let pod = try stand.lab.pod("a")
    _ = try stand.add("a", pod, input: stand.configuration())
    let reply = try stand.call(
      "ADD", "a", pod, input: stand.configuration(), variables: ["CNI_IFNAME": "eth1"])
    try meet(reply.code == 0, reply.text)
    let remaining = try stand.call(
      "DEL", "a", pod, input: stand.configuration(), variables: ["CNI_IFNAME": "eth1"])
    try meet(remaining.code == 0, remaining.text)
    try meet(try stand.links(pod).contains { $0.name == "eth0" }, "DEL of eth1 took eth0")
  },
]

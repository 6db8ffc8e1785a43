// What the specification asks of configurations, versions, errors, delegation and calls side by side.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

let configurationRequirements: [Requirement] = [
  Requirement(
    id: "CFG-1", text: "a network name starts alphanumeric, has only . _ - besides, and names no path"
  ) {
    subject in
    let stand = try Stand(subject, "cfg1")
    let pod = try stand.lab.pod("a")
    for name in ["../x", "-a", "a b", "a/b", ""] {
      let input = stand.configuration().replacing("\"name\":\"t\"", with: "\"name\":\"\(name)\"")
      let reply = try stand.call("ADD", "a", pod, input: input)
      try meet(reply.code != 0, "accepted the network name \(name)")
    }
    try meet(try stand.links(pod).map(\.name) == ["lo"], "made an interface for a malformed name")
  },
  Requirement(id: "CFG-2", text: "the type of an IPAM plugin is the name of a program and not a path") {
    subject in
    let stand = try Stand(subject, "cfg2")
    let pod = try stand.lab.pod("a")
    for type in ["../../bin/sh", "/bin/true", "a/b"] {
      let input = stand.configuration().replacing("\"host-local\"", with: "\"\(type)\"")
      let reply = try stand.call("ADD", "a", pod, input: input)
      try meet(reply.code != 0 && reply.error != nil, "took \(type): \(reply.text)")
    }
  },
  Requirement(id: "VER-2", text: "every version that VERSION lists is answered in that version") { subject in
    let stand = try Stand(subject, "ver2")
    let list = try stand.call("VERSION", "", input: #"{"cniVersion":"1.0.0"}"#)
    let versions = list.json["supportedVersions"]?.array?.compactMap(\.string) ?? []
    try meet(versions.count >= 5, "supports \(versions)")
    for (index, version) in versions.enumerated() {
      let pod = try stand.lab.pod("v\(index)")
      let input = stand.configuration(version: version)
      let result = try stand.add("v\(index)", pod, input: input)
      try meet(result["cniVersion"]?.string ?? "0.1.0" == version, "asked for \(version): \(result.text)")
      let address = result["ip4"]?["ip"] ?? result["ips"]?.array?.first?["address"]
      try meet(address?.string?.hasPrefix("10.99.0.") == true, "no address in \(version): \(result.text)")
      let reply = try stand.call("DEL", "v\(index)", pod, input: input)
      try meet(reply.code == 0, "DEL in \(version): \(reply.text)")
    }
  },
  Requirement(id: "VER-3", text: "VERSION answers the cniVersion it was given") { subject in
    let stand = try Stand(subject, "ver3")
    for version in ["0.4.0", "1.0.0"] {
      let reply = try stand.call("VERSION", "", input: #"{"cniVersion":"\#(version)"}"#)
      try meet(reply.json["cniVersion"]?.string == version, "asked with \(version): \(reply.text)")
    }
  },
  Requirement(id: "PAR-10", text: "DEL and CHECK without a variable that they require are error 4, named") {
    subject in
    let stand = try Stand(subject, "par10")
    let pod = try stand.lab.pod("a")
    let needed = [
      ("DEL", ["CNI_CONTAINERID", "CNI_IFNAME"]), ("CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
    ]
    for (verb, names) in needed {
      for name in names {
        let reply = try stand.call(verb, "a", pod, input: stand.configuration(), without: [name])
        try reply.isError(4)
        try meet(reply.text.contains(name), "\(verb) does not name \(name): \(reply.text)")
      }
    }
  },
  Requirement(id: "PAR-11", text: "variables that are optional may be absent: CNI_ARGS and CNI_PATH") {
    subject in
    let stand = try Stand(subject, "par11")
    let pod = try stand.lab.pod("a")
    for verb in ["ADD", "DEL"] {
      let reply = try stand.call(
        verb, "a", pod, input: stand.configuration(), without: ["CNI_ARGS", "CNI_PATH"])
      try meet(reply.code == 0, "\(verb): \(reply.text)")
    }
  },
  Requirement(id: "PAR-12", text: "VERSION needs no variable but CNI_COMMAND") { subject in
    let stand = try Stand(subject, "par12")
    let reply = try stand.call(
      "VERSION", "", input: #"{"cniVersion":"1.0.0"}"#,
      without: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"])
    try meet(reply.code == 0, reply.text)
  },
  Requirement(
    id: "ERR-1", text: "what is not supported is named in the error, by key and value where it is error 2"
  ) { subject in
    let stand = try Stand(subject, "err1")
    let input = stand.configuration().replacing("\"host-local\"", with: "\"no-such-ipam\"")
    let reply = try stand.call("ADD", "a", try stand.lab.pod("a"), input: input)
    try meet(reply.code != 0 && reply.text.contains("no-such-ipam"), "answered \(reply.text)")
    try meet(reply.error != 2 || reply.text.contains("ipam.type"), "does not name the key: \(reply.text)")
  },
  Requirement(id: "ERR-2", text: "codes below 100 are the specification's own") { subject in
    let stand = try Stand(subject, "err2")
    let pod = try stand.lab.pod("a")
    let narrow = stand.configuration(subnet: "10.99.0.0/30")
    _ = try stand.add("a", pod, input: narrow)
    let replies = [
      try stand.call("ADD", "b", pod, input: narrow),
      try stand.call("ADD", "c", try stand.lab.pod("c"), input: narrow),
      try stand.call("ADD", "d", "/run/netns/none-such", input: stand.configuration()),
      try stand.call("ADD", "e", pod, input: "[]"), try stand.call("CHECK", "f", pod, input: narrow),
    ]
    for reply in replies {
      guard let code = reply.error else { throw Unmet("no code: \(reply.text)") }
      try meet([1, 2, 3, 4, 5, 6, 7, 11, 50, 51].contains(code) || code >= 100, "answered \(code)")
    }
  },
]

let delegationRequirements: [Requirement] = [
  Requirement(id: "ADD-12", text: "an interface plugin that is given a result answers it with its own added")
  {
    subject in
    let stand = try Stand(subject, "add12")
    let pod = try stand.lab.pod("a")
    let before = #"""
      {"cniVersion":"1.0.0","interfaces":[{"name":"first0","sandbox":"\#(pod)"}],
       "ips":[{"address":"192.0.2.7/24","interface":0}],"dns":{}}
      """#
    let reply = try stand.call(
      "ADD", "a", pod, input: stand.configuration(more: ",\"prevResult\":\(before)"))
    try meet(reply.code == 0, reply.text)
    let names = reply.json["interfaces"]?.array?.compactMap { $0["name"]?.string } ?? []
    try meet(names.contains("first0") && names.contains("eth0"), "answered \(reply.text)")
    let addresses = reply.json["ips"]?.array?.compactMap { $0["address"]?.string } ?? []
    try meet(addresses.contains("192.0.2.7/24") && addresses.count == 2, "answered \(reply.text)")
  },
  Requirement(
    id: "IPAM-1",
    text: "the IPAM plugin determines address, gateway and routes, and the main one applies them"
  ) { subject in
    let stand = try Stand(subject, "ipam1")
    let pod = try stand.lab.pod("a")
    let input = stand.configuration().replacing(
      "\"type\":\"host-local\"", with: #""type":"host-local","routes":[{"dst":"192.0.2.0/24"}]"#)
    let own = try stand.call("ADD", "x", pod, input: input, program: "host-local").json
    try meet(own["ips"]?.array?.first?["gateway"]?.string == "10.99.0.1", "no gateway: \(own.text)")
    try meet(own["routes"]?.array?.first?["dst"]?.string == "192.0.2.0/24", "no route: \(own.text)")
    let result = try stand.add("a", pod, input: input)
    try meet(result["routes"]?.array?.first?["dst"]?.string == "192.0.2.0/24", "answered \(result.text)")
    var session = try RouteSession(inNamespace: pod)
    try meet(
      try session.routes(family: .v4).contains {
        $0.destination.description == "192.0.2.0/24" && $0.gateway?.description == "10.99.0.1"
      }, "the route is not in the pod")
  },
  Requirement(id: "CHK-5", text: "CHECK expects what the previous result says") { subject in
    let stand = try Stand(subject, "chk5")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration())
    let other = result.text.replacing("10.99.0.2/", with: "10.99.0.77/")
    try meet(other != result.text, "has another address than the first: \(result.text)")
    let reply = try stand.call(
      "CHECK", "a", pod, input: stand.configuration(more: ",\"prevResult\":\(other)"))
    try meet(reply.code != 0, "did not look at the previous result")
  },
  Requirement(id: "CHK-6", text: "CHECK asks the IPAM plugin too: a lost reservation is an error") {
    subject in
    let stand = try Stand(subject, "chk6")
    let pod = try stand.lab.pod("a")
    let result = try stand.add("a", pod, input: stand.configuration())
    let freed = try stand.call("DEL", "a", pod, input: stand.configuration(), program: "host-local")
    try meet(freed.code == 0, freed.text)
    let reply = try stand.call(
      "CHECK", "a", pod, input: stand.configuration(more: ",\"prevResult\":\(result.text)"))
    try meet(reply.code != 0, "did not miss the reservation")
  },
  Requirement(id: "DEL-6", text: "a chained plugin's DEL without a previous result succeeds, again and again")
  {
    subject in
    let stand = try Stand(subject, "del6")
    let pod = try stand.lab.pod("a")
    for _ in 0..<2 {
      let reply = try stand.call(
        "DEL", "a", pod, input: #"{"cniVersion":"1.0.0","name":"t","type":"portmap"}"#, program: "portmap")
      try meet(reply.code == 0, reply.text)
    }
  },
  Requirement(id: "GC-3", text: "GC is forwarded to the IPAM plugin, and prints nothing") { subject in
    let stand = try Stand(subject, "gc3")
    let input = stand.configuration(version: "1.1.0", subnet: "10.99.0.0/30")
    // An address without an interface: what a main plugin killed after its IPAM plugin's ADD leaves.
    let held = try stand.call("ADD", "lost", try stand.lab.pod("l"), input: input, program: "host-local")
    try meet(held.code == 0, "ADD failed: \(held.text)")
    let valid = #","cni.dev/valid-attachments":[]"#
    let reply = try stand.call(
      "GC", "", input: stand.configuration(version: "1.1.0", subnet: "10.99.0.0/30", more: valid))
    try meet(reply.code == 0 && reply.text.isEmpty, reply.text)
    _ = try stand.add("a", try stand.lab.pod("a"), input: input)
  },
  Requirement(id: "ST-3", text: "the IPAM plugin answers STATUS for itself") { subject in
    let stand = try Stand(subject, "st3")
    let narrow = stand.configuration(version: "1.1.0", subnet: "10.99.0.0/30")
    let before = try stand.call("STATUS", "", input: narrow, program: "host-local")
    try meet(before.code == 0, before.text)
    _ = try stand.add("a", try stand.lab.pod("a"), input: narrow)
    let after = try stand.call("STATUS", "", input: narrow, program: "host-local")
    try meet(after.code != 0 && [50, 51].contains(after.error), "answered \(after.code) \(after.text)")
  },
  Requirement(id: "ST-4", text: "nothing relies on STATUS: after an error of it DEL works, and then ADD") {
    subject in
    let stand = try Stand(subject, "st4")
    let narrow = stand.configuration(version: "1.1.0", subnet: "10.99.0.0/30")
    let pod = try stand.lab.pod("a")
    _ = try stand.add("a", pod, input: narrow)
    try meet(try stand.call("STATUS", "", input: narrow).code != 0, "STATUS with no address left succeeded")
    let reply = try stand.call("DEL", "a", pod, input: narrow)
    try meet(reply.code == 0, reply.text)
    _ = try stand.add("b", try stand.lab.pod("b"), input: narrow)
  },
  Requirement(
    id: "CON-1", text: "calls for different containers may run at once: twelve ADDs, twelve addresses"
  ) {
    subject in
    let stand = try Stand(subject, "con1")
    let pods = try (0..<12).map { try stand.lab.pod("p\($0)") }
    let running = try pods.enumerated().map {
      try stand.start("ADD", "c\($0)", $1, input: stand.configuration())
    }
    let replies = try running.map { try $0.reply() }
    for reply in replies { try meet(reply.code == 0, reply.text) }
    let addresses = replies.compactMap { $0.json["ips"]?.array?.first?["address"]?.string }
    try meet(Set(addresses).count == 12, "gave \(addresses.sorted())")
  },
]

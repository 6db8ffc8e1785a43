// `weft cni install` and `weft cni check`: what is written, and what is found on a node that others have touched.
import Addresses
import Glibc
import KernelNetlink
import Testing

@testable import CNI

/// A node with our network installed, and one pod.
private final class Inspected {
  let lab: Laboratory
  let pod: String
  var places: InspectionPlaces

  init(_ label: String, subnet: String = "10.99.0.0/24") throws {
    lab = try Laboratory(label, subnet: subnet)
    pod = try lab.pod("a")
    _ = try lab.outside()
    try lab.route("0.0.0.0/0", via: "198.51.100.2", in: lab.node)
    try #require(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    let folder = lab.scratch.path
    places = InspectionPlaces(binaryFolder: "\(folder)/bin", configurationFolder: "\(folder)/net.d")
    try install(
      binary: try Laboratory.plugin(), into: places.binaryFolder, names: [], absentNames: ["loopback"])
    var settings = NetworkSettings(
      name: "t", podBlocks: [try #require(IPPrefix(subnet))], dataDirectory: folder)
    settings.mtu = 1500
    try installConflist(renderConflist(settings), at: "\(places.configurationFolder)/10-weft.conflist")
  }

  func codes() throws -> [String] {
    try runInNamespace(lab.node) { inspect(try NodeFacts.observe(places)).map { "\($0.code) \($0.object)" } }
  }

  func session() throws -> RouteSession { try RouteSession(inNamespace: lab.node) }
}

@Suite(.timeLimit(.minutes(3))) struct Inspections {
  @Test(
    arguments: [
      ([1450, 1280, 1450], 1280, ["b"], "and with it the bridge: 2 other ports have more"),
      ([1450, 1400, 1400], 1400, ["a"], "its bridge 1400"),
      ([1450, 1450], 1400, ["a", "b"], "its bridge 1400"),
      ([1450, 1450], 1450, [], ""),
    ] as [([UInt32], UInt32, [String], String)])
  func `of ports that differ in length those are told that are fewer`(
    lengths: [UInt32], bridge: UInt32, names: [String], says: String
  ) {
    let ports = zip(["a", "b", "c"], lengths).map { (name: $0, mtu: $1) }
    let found = portLengths(ports, bridge: bridge)
    #expect(found.map(\.object) == names)
    #expect(found.allSatisfy { $0.code == "CNI0121" && $0.cause.contains(says) }, "\(found)")
  }

  @Test func `a node as the plugin leaves it has no finding`() throws {
    let node = try Inspected("well")
    #expect(try node.codes() == [])
  }

  @Test func `each thing that others do to a node is found and has a mend`() throws {
    let node = try Inspected("ill")
    func breaks(
      _ code: String, _ object: String, sourceLocation: SourceLocation = #_sourceLocation,
      _ change: (inout RouteSession) throws -> Void, undo: (inout RouteSession) throws -> Void
    ) throws {
      var session = try node.session()
      try change(&session)
      #expect(try node.codes() == ["\(code) \(object)"], sourceLocation: sourceLocation)
      try undo(&session)
      #expect(try node.codes() == [], sourceLocation: sourceLocation)
    }
    func sysctl(_ code: String, _ name: String, _ value: String, _ good: String) throws {
      let dotted = name.split(separator: "/").joined(separator: ".")
      try breaks(
        code, dotted, { _ in try Sysctl.write(name, value, inNamespace: node.lab.node) },
        undo: { _ in try Sysctl.write(name, good, inNamespace: node.lab.node) })
    }
    try sysctl("CNI0110", "net/ipv4/ip_forward", "0", "1")
    try sysctl("CNI0112", "net/bridge/bridge-nf-call-iptables", "0", "1")
    let before = try Sysctl.read("net/ipv4/conf/cni0/rp_filter", inNamespace: node.lab.node)
    try sysctl("CNI0113", "net/ipv4/conf/cni0/rp_filter", "1", before)
    var session = try node.session()
    let bridge = try #require(try session.link(named: "cni0")).index
    let uplink = try #require(try session.link(named: "up0")).index
    try breaks(
      "CNI0120", "cni0", { try $0.setLink(uplink, mtu: 1400) }, undo: { try $0.setLink(uplink, mtu: 1500) })
    try breaks(
      "CNI0131", "cni0", { try $0.setLink(bridge, isUp: false) }, undo: { try $0.setLink(bridge, isUp: true) }
    )
    let foreign = try #require(InterfaceAddress("172.17.0.1/16"))
    try breaks(
      "CNI0132", "cni0", { try $0.addAddress(foreign, to: bridge) },
      undo: { try $0.deleteAddress(foreign, from: bridge) })
    try breaks(
      "CNI0133", "stray",
      {
        try $0.createVeth(VethEnd(name: "stray", master: bridge), peer: VethEnd(name: "stray1"))
      }, undo: { try $0.deleteLink(named: "stray") })
    let part = Route(try #require(IPPrefix("10.99.0.128/25")), interface: uplink)
    try breaks("CNI0134", "up0", { try $0.addRoute(part) }, undo: { try $0.deleteRoute(part) })
  }

  @Test func `what a crash or a stranger left of pods is found`() throws {
    let node = try Inspected("left", subnet: "10.99.0.0/29")
    let leases = "\(node.lab.scratch.path)/t/leases"
    let kept = Scratch.read("\(leases)/a:eth0")
    let link = hostInterfaceName(containerID: "a", ifname: "eth0")
    #expect(unlink("\(leases)/a:eth0") == 0)
    #expect(try node.codes() == ["CNI0142 \(link)"])
    try Files.replace("\(leases)/a:eth0", temporary: "\(leases)/../x.tmp", with: kept)
    #expect(try node.codes() == [])
    var session = try node.session()
    try session.deleteLink(named: link)
    #expect(try node.codes() == ["CNI0141 lease a:eth0"])
    let old = String(decoding: kept, as: UTF8.self).replacing(LeaseStore.bootID, with: "another")
    try Files.replace("\(leases)/a:eth0", temporary: "\(leases)/../x.tmp", with: Array(old.utf8))
    #expect(try node.codes() == ["CNI0140 \(leases)"])
    #expect(try node.lab.invoke("DEL", "a").code == 0)
    for id in 0..<5 {
      #expect(try node.lab.invoke("ADD", "n\(id)", namespace: try node.lab.pod("n\(id)")).code == 0)
    }
    #expect(try node.codes() == ["CNI0150 10.99.0.1-10.99.0.6"])
  }

  @Test func `files that a runtime would not find or not read are named`() throws {
    let node = try Inspected("files")
    let (bin, conf) = (node.places.binaryFolder, node.places.configurationFolder)
    try installConflist(#"{"name":"other","plugins":[{"type":"bridge"}]}"#, at: "\(conf)/05-other.conflist")
    #expect(try node.codes() == ["CNI0103 \(conf)/05-other.conflist", "CNI0104 \(bin)/bridge"])
    try installConflist("{", at: "\(conf)/05-other.conflist")
    #expect(try node.codes() == ["CNI0102 \(conf)/05-other.conflist"])
    unlink("\(conf)/05-other.conflist")
    unlink("\(bin)/loopback")
    #expect(try node.codes() == ["CNI0105 \(bin)/loopback"])
    unlink("\(bin)/weft-cni")
    #expect(try node.codes() == ["CNI0104 \(bin)/weft-cni", "CNI0105 \(bin)/loopback"])
    unlink("\(conf)/10-weft.conflist")
    #expect(try node.codes() == ["CNI0101 \(conf)"])
  }

  @Test func `br_netfilter that is not loaded is found without a kernel that lacks it`() throws {
    var facts = NodeFacts(places: InspectionPlaces())
    facts.configurationFile = "/etc/cni/net.d/10-weft.conflist"
    let settings = NetworkSettings(podBlocks: [try #require(IPPrefix("10.42.0.0/24"))])
    facts.configuration = try JSONValue(parsing: Array(renderConflist(settings).utf8))
    facts.settings = ["net/ipv4/ip_forward": "1"]
    #expect(inspect(facts).map(\.code) == ["CNI0111"])
    #expect(inspect(facts).first?.mend == "modprobe br_netfilter")
  }

  @Test func `neighbour tables and a backlog too small for the node's pods are found`() throws {
    var facts = NodeFacts(places: InspectionPlaces())
    facts.configurationFile = "/etc/cni/net.d/10-weft.conflist"
    let settings = NetworkSettings(podBlocks: [try #require(IPPrefix("10.42.0.0/22"))])
    facts.configuration = try JSONValue(parsing: Array(renderConflist(settings).utf8))
    facts.settings = [
      "net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1",
      "net/ipv4/neigh/default/gc_thresh3": "1024",
      "net/ipv6/neigh/default/gc_thresh3": "1024", "net/core/netdev_max_backlog": "1000",
    ]
    for index in 0..<300 {
      var lease = Lease(network: "weft", containerID: "c\(index)", interfaceName: "eth0")
      lease.addresses = [try #require(InterfaceAddress("10.42.\(1 + index / 250).\(1 + index % 250)/22"))]
      lease.bridge = "cni0"
      facts.leases.append(lease)
    }
    #expect(
      inspect(facts).map { "\($0.code) \($0.object)" } == [
        "CNI0114 net.ipv4.neigh.default.gc_thresh3", "CNI0115 net.core.netdev_max_backlog",
      ])
    #expect(inspect(facts).first?.mend == "sysctl -w net.ipv4.neigh.default.gc_thresh3=16384")
    facts.leases.removeLast(100)
    #expect(inspect(facts).isEmpty)
    // In a namespace of its own there is no such setting, and nothing is changed.
    let lab = try Laboratory("room")
    try runInNamespace(lab.node) { #expect(KernelRoom.make().isEmpty) }
  }

  @Test func `install replaces whole files, links names only when asked, and leaves strangers alone`() throws
  {
    let folder = try Scratch()
    let (bin, source) = ("\(folder.path)/bin", "\(folder.path)/source")
    try Files.replace(source, temporary: source + ".t", with: Array("one".utf8), mode: 0o644)
    #expect(try install(binary: source, into: bin, names: []) == ["\(bin)/weft-cni"])
    try Files.replace("\(bin)/loopback", temporary: "\(bin)/x", with: Array("theirs".utf8), mode: 0o755)
    let running = open("\(bin)/weft-cni", O_RDONLY)
    defer { close(running) }
    try Files.replace(source, temporary: source + ".t", with: Array("two".utf8), mode: 0o644)
    try install(binary: source, into: bin, names: [], absentNames: ["loopback", "bridge"])
    #expect(Scratch.names(in: bin).sorted() == ["bridge", "loopback", "weft-cni"])
    #expect(String(decoding: Scratch.read("\(bin)/loopback"), as: UTF8.self) == "theirs")
    #expect(String(decoding: Scratch.read("\(bin)/bridge"), as: UTF8.self) == "two")
    #expect(access("\(bin)/weft-cni", X_OK) == 0)
    // Who has the old file open goes on reading the old one.
    #expect(String(decoding: try Files.readAll(running, bytesMax: 100, name: "old"), as: UTF8.self) == "one")
    try install(binary: source, into: bin)
    #expect(Scratch.names(in: bin).sorted() == (pluginNames + ["weft-cni"]).sorted())
    #expect(String(decoding: Scratch.read("\(bin)/loopback"), as: UTF8.self) == "two")
  }

  @Test func `the rendered list offers its capabilities and versions`() throws {
    let text = renderConflist(NetworkSettings(podBlocks: [try #require(IPPrefix("10.42.0.0/24"))]))
    let list = try JSONValue(parsing: Array(text.utf8))
    let plugin = try #require(list["plugins"]?.array?.first)
    for name in ["portMappings", "bandwidth", "ips", "mac"] {
      #expect(plugin["capabilities"]?[name]?.bool == true)
    }
    #expect(list["cniVersions"]?.array?.compactMap(\.string) == ["1.0.0", "1.1.0"])
  }
}

// Options of the bridge, each by what it does to traffic or to the kernel's settings.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

@Suite(.timeLimit(.minutes(2))) struct BridgeOptions {
  private func lab(_ label: String, _ keys: String) throws -> Laboratory {
    try Laboratory(label, keys: "," + keys)
  }

  @Test func `isolated ports reach the gateway and not each other`() throws {
    let lab = try lab("isolated", #""portIsolation":true,"hairpinMode":false"#)
    let (a, b) = (try lab.pod("a"), try lab.pod("b"))
    #expect(try lab.invoke("ADD", "a", namespace: a).code == 0)
    #expect(try lab.invoke("ADD", "b", namespace: b).code == 0)
    #expect(try lab.ping(from: a, to: "10.99.0.1"))
    #expect(try !lab.ping(from: a, to: "10.99.0.3", seconds: 1))
  }

  @Test func `a routed pod has a link of its own and reaches its neighbours by the node, in both families`()
    throws
  {
    let lab = try lab("routed", #""mode":"routed""#)
    lab.configuration = lab.configuration.replacing("]]", with: "],[{\"subnet\":\"fd00:99::/64\"}]]")
    let (a, b) = (try lab.pod("a"), try lab.pod("b"))
    let added = try lab.invoke("ADD", "a", namespace: a)
    #expect(added.code == 0, "\(added.json)")
    #expect(added.json["interfaces"]?.array?.count == 2)
    #expect(added.json["ips"]?.array?.first?["interface"]?.integer == 1)
    #expect(try lab.invoke("ADD", "b", namespace: b).code == 0)
    for address in ["10.99.0.3", "10.99.0.1", "fd00:99::3", "fd00:99::1"] {
      #expect(try lab.ping(from: a, to: address), "\(address)")
    }
    #expect(try lab.ping(from: lab.node, to: "10.99.0.2"))
    #expect(try lab.invoke("CHECK", "a", namespace: a).code == 0)
    var node = try RouteSession(inNamespace: lab.node)
    #expect(try node.links().allSatisfy { $0.kind != "bridge" })
    #expect(try lab.invoke("DEL", "a").code == 0)
    #expect(try node.routes(table: 254).allSatisfy { $0.destination.description != "10.99.0.2/32" })
    #expect(try lab.invoke("DEL", "b").code == 0)
    #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty)
  }

  @Test(arguments: [#""isGateway":true"#, #""mode":"routed""#])
  func `nodes believe no router advertisement of a pod and pods no redirect`(keys: String) throws {
    let lab = try lab("advice", keys)
    let pod = try lab.pod("a")
    // As the kernel has them, or the test proves nothing.
    #expect(try Sysctl.read("net/ipv6/conf/default/accept_ra", inNamespace: lab.node) == "1")
    #expect(try Sysctl.read("net/ipv4/conf/default/accept_redirects", inNamespace: pod) == "1")
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    let door = keys.contains("routed") ? hostInterfaceName(containerID: "a", ifname: "eth0") : "cni0"
    #expect(try Sysctl.read("net/ipv6/conf/\(door)/accept_ra", inNamespace: lab.node) == "0")
    for name in ["all", "eth0"] {
      #expect(try Sysctl.read("net/ipv4/conf/\(name)/accept_redirects", inNamespace: pod) == "0", "\(name)")
    }
  }

  @Test(arguments: [("", "0"), (#","enabledad":true"#, "1")])
  func `an address is looked for twice in the network only with enabledad`(keys: String, asks: String) throws
  {
    let lab = try lab("dad", #""isGateway":true"# + keys)
    lab.configuration = lab.configuration.replacing("]]", with: "],[{\"subnet\":\"fd00:99::/64\"}]]")
    let pod = try lab.pod("a")
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    #expect(try Sysctl.read("net/ipv6/conf/cni0/accept_dad", inNamespace: lab.node) == asks)
    #expect(try Sysctl.read("net/ipv6/conf/eth0/accept_dad", inNamespace: pod) == asks)
    let addresses = try lab.output(["/usr/sbin/ip", "-6", "addr", "show", "dev", "eth0"], in: pod)
    #expect(
      addresses.contains("fd00:99::2/64") && addresses.contains("nodad") == (asks == "0"), "\(addresses)")
  }

  @Test func `a bridge with another address of the subnet ends the ADD, or loses it when told to`() throws {
    let lab = try lab("force", #""isGateway":true"#)
    var node = try RouteSession(inNamespace: lab.node)
    try node.createBridge("cni0")
    let bridge = try #require(try node.link(named: "cni0"))
    try node.addAddress(try #require(InterfaceAddress("10.99.0.254/24")), to: bridge.index)
    let pod = try lab.pod("a")
    let refused = try lab.invoke("ADD", "a", namespace: pod)
    #expect(refused.json["code"]?.integer == 103)
    #expect(refused.json["msg"]?.string?.contains("10.99.0.254/24") == true)
    #expect(try node.addresses(of: bridge.index, family: .v4).map(\.value.description) == ["10.99.0.254/24"])
    #expect(lab.leaseNames().isEmpty)
    lab.configuration = lab.configuration.replacing(
      "\"isGateway\"", with: "\"forceAddress\":true,\"isGateway\"")
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    #expect(try node.addresses(of: bridge.index, family: .v4).map(\.value.description) == ["10.99.0.1/24"])
  }

  @Test func `macspoofchk drops what a pod sends under another's MAC address`() throws {
    let lab = try lab("spoof", #""macspoofchk":true"#)
    let pod = try lab.pod("a")
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    #expect(try lab.ping(from: pod, to: "10.99.0.1"))
    var inside = try RouteSession(inNamespace: pod)
    let link = try #require(try inside.link(named: "eth0"))
    let mac = try #require(MACAddress(text: "c2:00:00:00:00:01"))
    try inside.setLink(link.index, mac: mac)
    #expect(try !lab.ping(from: pod, to: "10.99.0.1", seconds: 1))
    #expect(try lab.invoke("DEL", "a").code == 0)
    #expect(try !lab.rules().contains("vp"))
  }

  @Test func `promiscMode, MTU of the uplink, requested MAC and address, DNS of the runtime`() throws {
    let lab = try lab(
      "requests",
      #"""
      "promiscMode":true,"args":{"cni":{"labels":[]}},
      "runtimeConfig":{"ips":["10.99.0.77/24"],"mac":"c2:00:00:00:00:77","aliases":["db"],
        "dns":{"Servers":["10.43.0.10"],"Searches":["demo.svc"],"Options":["ndots:5"]}}
      """#)
    var node = try RouteSession(inNamespace: lab.node)
    try node.createBridge("up0", mtu: 9000)
    let uplink = try #require(try node.link(named: "up0"))
    try node.addAddress(try #require(InterfaceAddress("198.51.100.1/24")), to: uplink.index)
    try lab.route("0.0.0.0/0", via: "198.51.100.2", in: lab.node)
    let pod = try lab.pod("a")
    let added = try lab.invoke("ADD", "a", namespace: pod)
    #expect(added.code == 0 && added.address == "10.99.0.77/24", "\(added.json)")
    #expect(added.json["interfaces"]?.array?.last?["mac"]?.string == "c2:00:00:00:00:77")
    #expect(added.json["dns"]?["nameservers"]?.array == [.string("10.43.0.10")])
    #expect(added.json["dns"]?["search"]?.array == [.string("demo.svc")])
    let bridge = try #require(try node.link(named: "cni0"))
    #expect(bridge.isPromiscuous && bridge.mtu == 9000)
    var inside = try RouteSession(inNamespace: pod)
    #expect(try inside.link(named: "eth0")?.mtu == 9000)
  }

  @Test func `an address outside of every range is refused, ranges of the runtime come first`() throws {
    let lab = try lab("ranges", #""runtimeConfig":{"ipRanges":[[{"subnet":"10.98.0.0/24"}]]}"#)
    let pod = try lab.pod("a")
    let added = try lab.invoke("ADD", "a", namespace: pod)
    #expect(
      added.json["ips"]?.array?.compactMap { $0["address"]?.string } == ["10.98.0.2/24", "10.99.0.2/24"])
    let refused = try lab.invoke("ADD", "b", namespace: try lab.pod("b"), arguments: "IP=10.1.1.1")
    #expect(refused.json["code"]?.integer == 7)
    #expect(lab.leaseNames() == ["a:eth0"])
  }

  @Test func `disableContainerInterface leaves the pod's end down and needs no addresses`() throws {
    let lab = try lab("down", #""disableContainerInterface":true"#)
    let keys = try #require(lab.configuration.firstRange(of: "\"ipam\""))
    lab.configuration = lab.configuration[..<keys.lowerBound] + "\"dataDir\":\"\(lab.scratch.path)\"}"
    let pod = try lab.pod("a")
    let added = try lab.invoke("ADD", "a", namespace: pod)
    #expect(added.code == 0 && added.address == nil, "\(added.json)")
    var inside = try RouteSession(inNamespace: pod)
    #expect(try inside.link(named: "eth0")?.isUp == false)
    #expect(try lab.invoke("CHECK", "a", namespace: pod).code == 0)
    #expect(try lab.invoke("DEL", "a").code == 0 && lab.ports().isEmpty)
  }

  @Test func `options that exclude each other are error 7 before anything is made`() throws {
    for keys in [
      #""hairpinMode":true,"promiscMode":true"#, #""disableContainerInterface":true"#,
      #""vlan":5,"vlanTrunk":[{"id":7}]"#, #""vlanTrunk":[{"minID":9,"maxID":7}]"#,
    ] {
      let lab = try lab("excluded", keys)
      #expect(try lab.invoke("ADD", "a", namespace: try lab.pod("a")).json["code"]?.integer == 7)
      #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty)
    }
  }

  @Test func `a VLAN is set up, or the kernel that lacks it is named and nothing stays`() throws {
    let lab = try lab("vlan", #""vlan":100"#)
    let pod = try lab.pod("a")
    let added = try lab.invoke("ADD", "a", namespace: pod)
    if added.code == 0 {
      #expect(try lab.ping(from: pod, to: "10.99.0.1"))
    } else {
      #expect(added.json["code"]?.integer == 2)
      #expect(added.json["msg"]?.string?.contains("VLAN") == true)
      #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty)
    }
  }
}

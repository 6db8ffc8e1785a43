// Chained plugins: configuration lists of the reference plugins, run as libcni runs them, against the real kernel.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

/// Runs a list of plugins in a laboratory: forwards on ADD and CHECK, backwards on DEL.
struct Chain {
  let lab: Laboratory
  var version = "1.0.0"
  var name = "t"
  /// Each a plugin's object without the keys that libcni adds.
  var plugins: [String]
  /// What the runtime hands to plugins that declare the capability.
  var runtime: [String: String] = [:]
  /// Where the plugins are; nil for the built one, called by each name.
  var folder: String?

  private func input(_ plugin: String, _ previous: JSONValue?, extra: [(String, JSONValue)] = []) throws
    -> (program: String, text: String)
  {
    let json = try JSONValue(parsing: Array(plugin.utf8))
    var members = (json.members ?? []).filter { $0.name != "capabilities" }
    members.append(.init("cniVersion", .string(version)))
    members.append(.init("name", .string(name)))
    let given = try (json["capabilities"]?.members ?? []).filter { $0.value == .bool(true) }.compactMap {
      capability in
      try runtime[capability.name].map {
        JSONValue.Member(capability.name, try JSONValue(parsing: Array($0.utf8)))
      }
    }
    if !given.isEmpty { members.append(.init("runtimeConfig", .object(given))) }
    if let previous { members.append(.init("prevResult", previous)) }
    for (key, value) in extra { members.append(.init(key, value)) }
    return (json["type"]?.string ?? "", JSONValue.object(members).text)
  }

  private func call(
    _ verb: String, _ id: String, _ namespace: String, _ program: String, _ text: String, _ arguments: String
  ) throws -> Answer {
    let environment = [
      "CNI_COMMAND=\(verb)", "CNI_CONTAINERID=\(id)", "CNI_NETNS=\(namespace)", "CNI_IFNAME=eth0",
      "CNI_ARGS=\(arguments)", "CNI_PATH=\(folder ?? "/opt/cni/bin")", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    return try Running.start(
      [program], executable: folder.map { "\($0)/\(program)" } ?? Laboratory.plugin(),
      environment: environment, input: text, in: lab.node
    ).wait()
  }

  /// The last plugin's answer, or the first failure.
  func add(_ id: String, _ namespace: String, arguments: String = "") throws -> Answer {
    var previous: JSONValue?
    var answer = Answer(code: 0, json: .null)
    for plugin in plugins {
      let (program, text) = try input(plugin, previous)
      answer = try call("ADD", id, namespace, program, text, arguments)
      guard answer.code == 0 else { return answer }
      previous = answer.json
    }
    return answer
  }

  func check(_ id: String, _ namespace: String, previous: JSONValue) throws -> Answer {
    var answer = Answer(code: 0, json: .null)
    for plugin in plugins {
      let (program, text) = try input(plugin, previous)
      answer = try call("CHECK", id, namespace, program, text, "")
      guard answer.code == 0 else { return answer }
    }
    return answer
  }

  /// - Parameter isBare: as containerd calls it again: without namespace, `prevResult` and `runtimeConfig`.
  func del(_ id: String, _ namespace: String = "", previous: JSONValue? = nil, isBare: Bool = false) throws
    -> Answer
  {
    var answer = Answer(code: 0, json: .null)
    for plugin in plugins.reversed() {
      var bare = self
      if isBare { bare.runtime = [:] }
      let (program, text) = try bare.input(plugin, isBare ? nil : previous)
      answer = try call("DEL", id, isBare ? "" : namespace, program, text, "")
      guard answer.code == 0 else { return answer }
    }
    return answer
  }

  func collectGarbage(valid ids: [String]) throws -> Answer {
    let attachments = JSONValue.array(
      ids.map { .object(["containerID": .string($0), "ifname": .string("eth0")]) })
    var answer = Answer(code: 0, json: .null)
    for plugin in plugins {
      let (program, text) = try input(plugin, nil, extra: [("cni.dev/valid-attachments", attachments)])
      answer = try call("GC", "", "", program, text, "")
      guard answer.code == 0 else { return answer }
    }
    return answer
  }
}

extension Laboratory {
  var bridge: String {
    """
    {"type":"bridge","bridge":"cni0","isGateway":true,"isDefaultGateway":true,"hairpinMode":true,
     "ipam":{"type":"host-local","dataDir":"\(scratch.path)","ranges":[[{"subnet":"10.99.0.0/24"}]]}}
    """
  }
  static let portmap = #"{"type":"portmap","capabilities":{"portMappings":true},"snat":true}"#

  /// What a program prints when it is run in the namespace.
  func output(_ arguments: [String], in namespace: String) throws -> String {
    let running = try Running.start(
      arguments, executable: arguments[0], environment: ["PATH=/usr/sbin:/usr/bin"], input: "", in: namespace)
    return try running.text()
  }

  func rules() throws -> String { try output(["/usr/sbin/nft", "list", "ruleset"], in: node) }

  /// Answers each TCP connection, or datagram, to `port` in the namespace with `words`, until the test ends.
  func serve(_ words: String, port: UInt16, isDatagram: Bool = false, in namespace: String) throws -> Server {
    try Server(words: words, port: port, isDatagram: isDatagram, in: namespace)
  }

  /// What a server answers to the namespace; empty when nothing does in time: silence is waited for two seconds where it is expected.
  func ask(
    _ address: String, _ port: UInt16, isDatagram: Bool = false, from namespace: String, source: UInt16 = 0,
    seconds: Int = 20
  ) throws -> String {
    try runInNamespace(namespace) {
      try Server.ask(
        try #require(IPAddress(address)), port, isDatagram: isDatagram, source: source, seconds: seconds)
    }
  }
}

@Suite(.timeLimit(.minutes(3))) struct Chains {
  private func chain(_ lab: Laboratory, _ more: String..., ports: String? = nil) -> Chain {
    var chain = Chain(lab: lab, plugins: [lab.bridge] + more)
    if let ports { chain.runtime["portMappings"] = ports }
    return chain
  }

  @Test
  func `a host port leads to the pod from outside, from the node, from 127.0.0.1 and from the pod itself`()
    throws
  {
    let lab = try Laboratory("hostport")
    let outside = try lab.outside()
    let pod = try lab.pod("a")
    let ports = #"[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]"#
    let chain = chain(lab, Laboratory.portmap, ports: ports)
    let added = try chain.add("a", pod)
    #expect(added.code == 0, "\(added.json)")
    let server = try lab.serve("pod a", port: 80, in: pod)
    defer { server.stop() }
    #expect(try lab.ask("198.51.100.1", 8080, from: outside) == "pod a")
    #expect(try lab.ask("198.51.100.1", 8080, from: lab.node) == "pod a")
    #expect(try lab.ask("127.0.0.1", 8080, from: lab.node) == "pod a")
    #expect(try lab.ask("198.51.100.1", 8080, from: pod) == "pod a")
    #expect(try chain.check("a", pod, previous: added.json).code == 0)
    #expect(try chain.del("a", pod, previous: added.json).code == 0)
    #expect(try lab.ask("198.51.100.1", 8080, from: outside, seconds: 2) == "")
    #expect(try !lab.rules().contains("10.99.0.2"))
  }

  @Test func `a host port takes nothing that is not for this node`() throws {
    let lab = try Laboratory("guarded")
    let outside = try lab.outside()
    let pod = try lab.pod("a")
    let chain = chain(lab, Laboratory.portmap, ports: #"[{"hostPort":80,"containerPort":80}]"#)
    #expect(try chain.add("a", pod).code == 0)
    let (own, far) = (try lab.serve("pod", port: 80, in: pod), try lab.serve("far", port: 80, in: outside))
    defer { own.stop(); far.stop() }
    // CVE-2025-67499: through the node to port 80 of somebody else.
    #expect(try lab.ask("198.51.100.2", 80, from: pod) == "far")
    #expect(try lab.ask("198.51.100.1", 80, from: outside) == "pod")
    // Nor does route_localnet open the node's 127.0.0.1 to pods.
    let local = try lab.serve("node", port: 9000, in: lab.node)
    defer { local.stop() }
    try lab.route("127.0.0.1/32", via: "10.99.0.1", in: pod)
    #expect(try lab.ask("127.0.0.1", 9000, from: pod, seconds: 2) == "")
  }

  @Test func `a mapping of one address leaves the others alone, and IPv6, UDP and SCTP have theirs`() throws {
    let lab = try Laboratory("families")
    let outside = try lab.outside()
    let pod = try lab.pod("a")
    var chain = chain(lab, Laboratory.portmap)
    chain.plugins[0] = chain.plugins[0].replacing("]]", with: "],[{\"subnet\":\"fd00:99::/64\"}]]")
    chain.runtime["portMappings"] = """
      [{"HostPort":8081,"ContainerPort":80,"Protocol":"TCP","HostIP":"198.51.100.1"},
       {"HostPort":8082,"ContainerPort":80,"Protocol":"tcp","HostIP":"127.0.0.1"},
       {"HostPort":8083,"ContainerPort":80,"Protocol":"tcp","HostIP":"2001:db8::1"},
       {"HostPort":53,"ContainerPort":5353,"Protocol":"udp","HostIP":""},
       {"HostPort":132,"ContainerPort":132,"Protocol":"sctp","HostIP":"0.0.0.0"}]
      """
    let added = try chain.add("a", pod)
    #expect(added.code == 0, "\(added.json)")
    let (web, name) = (
      try lab.serve("web", port: 80, in: pod), try lab.serve("name", port: 5353, isDatagram: true, in: pod)
    )
    defer { web.stop(); name.stop() }
    #expect(try lab.ask("198.51.100.1", 8081, from: outside) == "web")
    #expect(try lab.ask("198.51.100.1", 8082, from: outside, seconds: 2) == "")
    #expect(try lab.ask("127.0.0.1", 8082, from: lab.node) == "web")
    #expect(try lab.ask("2001:db8::1", 8083, from: outside) == "web")
    #expect(try lab.ask("2001:db8::1", 8081, from: outside, seconds: 2) == "")
    #expect(try lab.ask("198.51.100.1", 53, isDatagram: true, from: outside) == "name")
    #expect(try lab.ask("2001:db8::1", 53, isDatagram: true, from: outside) == "name")
    let rules = try lab.rules()
    #expect(rules.contains("sctp . 132 comment"))
    #expect(try chain.del("a", isBare: true).code == 0)
    #expect(try !lab.rules().contains("hp-"))
  }

  @Test func `UDP that flowed to the port's former owner flows to the new one`() throws {
    let lab = try Laboratory("udp")
    let outside = try lab.outside()
    let ports = #"[{"hostPort":53,"containerPort":53,"protocol":"udp"}]"#
    let chain = chain(lab, Laboratory.portmap, ports: ports)
    for id in ["a", "b"] {
      let pod = try lab.pod(id)
      #expect(try chain.add(id, pod).code == 0)
      let server = try lab.serve("pod \(id)", port: 53, isDatagram: true, in: pod)
      defer { server.stop() }
      #expect(
        try lab.ask("198.51.100.1", 53, isDatagram: true, from: outside, source: 4000) == "pod \(id)")
      #expect(try chain.del(id, isBare: true).code == 0)
    }
  }

  @Test func `a port that another pod has is refused by name, and nothing of the call stays`() throws {
    let lab = try Laboratory("taken")
    let chain = chain(
      lab, Laboratory.portmap,
      ports: #"[{"hostPort":81,"containerPort":81},{"hostPort":80,"containerPort":80}]"#)
    var first = chain
    first.runtime["portMappings"] = #"[{"hostPort":80,"containerPort":80}]"#
    let one = try lab.pod("a")
    #expect(try first.add("a", one, arguments: "K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web").code == 0)
    let refused = try chain.add("b", try lab.pod("b"))
    #expect(refused.json["code"]?.integer == 104)
    #expect(refused.json["msg"]?.string?.contains("80/TCP") == true)
    #expect(refused.json["details"]?.string?.contains("demo/web") == true)
    #expect(try !lab.rules().contains(". 81 "))
    #expect(try chain.del("b", isBare: true).code == 0)
    #expect(try lab.rules().contains("tcp . 80 comment"))
  }

  @Test func `GC closes the ports of attachments that are gone`() throws {
    let lab = try Laboratory("portgc")
    var chain = chain(lab, Laboratory.portmap)
    chain.version = "1.1.0"
    for (id, port) in [("a", 8001), ("b", 8002)] {
      chain.runtime["portMappings"] = "[{\"hostPort\":\(port),\"containerPort\":80}]"
      #expect(try chain.add(id, try lab.pod(id)).code == 0)
    }
    chain.runtime = [:]
    #expect(try chain.collectGarbage(valid: ["a"]).code == 0)
    let rules = try lab.rules()
    #expect(rules.contains("8001") && !rules.contains("8002"))
    #expect(lab.leaseNames() == ["a:eth0"])
  }

  @Test func `ipMasq gives what leaves the subnet the node's address, and only that`() throws {
    let lab = try Laboratory("masq")
    let outside = try lab.outside(routesBack: false)
    var chain = chain(lab)
    chain.plugins[0] = chain.plugins[0].replacing("\"hairpinMode\"", with: "\"ipMasq\":true,\"hairpinMode\"")
    let (first, second) = (try lab.pod("a"), try lab.pod("b"))
    let added = try chain.add("a", first)
    #expect(added.code == 0, "\(added.json)")
    #expect(try chain.add("b", second).code == 0)
    let (far, near) = (
      try lab.serve("far", port: 80, in: outside), try lab.serve("near", port: 80, in: second)
    )
    defer { far.stop(); near.stop() }
    #expect(try lab.ask("198.51.100.2", 80, from: first) == "far")
    #expect(far.peers() == ["198.51.100.1"])
    #expect(try lab.ask("10.99.0.3", 80, from: first) == "near")
    #expect(near.peers() == ["10.99.0.2"])
    #expect(try chain.check("a", first, previous: added.json).code == 0)
    #expect(try chain.del("a", isBare: true).code == 0)
    #expect(try lab.rules().contains("mq-10.99.0.0-24"))
    #expect(try chain.del("b", isBare: true).code == 0)
    #expect(try !lab.rules().contains("mq-10.99.0.0-24"))
  }

  @Test func `bandwidth puts a bucket on each way, and DEL leaves no link`() throws {
    let lab = try Laboratory("rates")
    let pod = try lab.pod("a")
    var chain = chain(lab, #"{"type":"bandwidth","capabilities":{"bandwidth":true}}"#)
    chain.runtime["bandwidth"] =
      #"{"IngressRate":8000000,"IngressBurst":80000,"EgressRate":4000000,"EgressBurst":4294967295}"#
    let added = try chain.add("a", pod)
    #expect(added.code == 0, "\(added.json)")
    let names = added.json["interfaces"]?.array?.compactMap { $0["name"]?.string } ?? []
    #expect(names.count == 4 && names.last?.hasPrefix("vi") == true)
    let port = hostInterfaceName(containerID: "a", ifname: "eth0")
    let shown = try lab.output(["/usr/sbin/tc", "qdisc", "show", "dev", port], in: lab.node)
    #expect(shown.contains("tbf") && shown.contains("rate 8Mbit") && shown.contains("burst 10000b"))
    #expect(shown.contains("ingress"))
    let twin = try lab.output(["/usr/sbin/tc", "qdisc", "show", "dev", names[3]], in: lab.node)
    #expect(twin.contains("tbf") && twin.contains("rate 4Mbit"))
    #expect(try lab.ping(from: pod, to: "10.99.0.1"))
    #expect(try chain.check("a", pod, previous: added.json).code == 0)
    #expect(try chain.del("a", isBare: true).code == 0)
    var session = try RouteSession(inNamespace: lab.node)
    #expect(try session.links().map(\.name).filter { $0.hasPrefix("v") }.isEmpty)
  }

  @Test func `tuning changes the pod's interface and settings, says so, and puts them back`() throws {
    let lab = try Laboratory("tuning")
    let pod = try lab.pod("a")
    let tuning = """
      {"type":"tuning","dataDir":"\(lab.scratch.path)/tuning","mtu":1300,"promisc":true,"allmulti":true,
       "mac":"c2:11:22:33:44:55","txQLen":500,
       "sysctl":{"net.core.somaxconn":"512","net.ipv4.conf.IFNAME.arp_filter":"1"}}
      """
    let chain = chain(lab, tuning)
    let added = try chain.add("a", pod)
    #expect(added.code == 0, "\(added.json)")
    #expect(added.json["interfaces"]?.array?.last?["mac"]?.string == "c2:11:22:33:44:55")
    var session = try RouteSession(inNamespace: pod)
    let link = try #require(try session.link(named: "eth0"))
    #expect(link.mtu == 1300 && link.isPromiscuous && link.receivesAllMulticast)
    #expect(try session.transmitQueueLength(of: link.index) == 500)
    #expect(try Sysctl.read("net/core/somaxconn", inNamespace: pod) == "512")
    #expect(try Sysctl.read("net/ipv4/conf/eth0/arp_filter", inNamespace: pod) == "1")
    #expect(try chain.check("a", pod, previous: added.json).code == 0)
    var only = chain
    only.plugins = [tuning]
    #expect(try only.del("a", pod).code == 0)
    let restored = try #require(try session.link(named: "eth0"))
    #expect(restored.mtu == 1500 && !restored.receivesAllMulticast)
    #expect(restored.mac?.description == "0a:58:0a:63:00:02")
    #expect(try only.del("a", isBare: true).code == 0)
  }

  @Test func `firewall lets the pod through a node that drops what it forwards`() throws {
    let lab = try Laboratory("firewall")
    let outside = try lab.outside()
    let pod = try lab.pod("a")
    _ = try lab.output(["/usr/sbin/nft", "add table ip filter"], in: lab.node)
    let drop = "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    _ = try lab.output(["/usr/sbin/nft", drop], in: lab.node)
    var chain = chain(lab)
    let far = try lab.serve("far", port: 80, in: outside)
    defer { far.stop() }
    #expect(try chain.add("a", pod).code == 0)
    #expect(try lab.ask("198.51.100.2", 80, from: pod, seconds: 2) == "")
    #expect(try chain.del("a", isBare: true).code == 0)
    chain.plugins.append(#"{"type":"firewall"}"#)
    let added = try chain.add("a", pod)
    #expect(added.code == 0, "\(added.json)")
    #expect(try lab.ask("198.51.100.2", 80, from: pod) == "far")
    #expect(try lab.rules().contains("policy drop"))
    #expect(try chain.check("a", pod, previous: added.json).code == 0)
    #expect(try chain.del("a", isBare: true).code == 0)
    let rules = try lab.rules()
    #expect(!rules.contains("10.99.0") && rules.contains("jump CNI-FORWARD"))
  }

  @Test(arguments: [("open", true, true), ("same-bridge", true, false), ("isolated", false, false)])
  func `ingressPolicy keeps apart the pods of two bridges, isolated also those of one`(
    policy: String, reachesNeighbour: Bool, reachesOther: Bool
  ) throws {
    let lab = try Laboratory("isolate")
    let one = chain(lab, #"{"type":"firewall","ingressPolicy":"\#(policy)"}"#)
    var other = one
    other.name = "u"
    other.plugins[0] = other.plugins[0].replacing("cni0", with: "cni1").replacing("10.99.0", with: "10.98.0")
    let (a, b, c) = (try lab.pod("a"), try lab.pod("b"), try lab.pod("c"))
    #expect(try one.add("a", a).code == 0)
    #expect(try one.add("b", b).code == 0)
    let added = try other.add("c", c)
    #expect(added.code == 0, "\(added.json)")
    let servers = [try lab.serve("pod b", port: 80, in: b), try lab.serve("pod c", port: 80, in: c)]
    defer { for server in servers { server.stop() } }
    // The node reaches both, and each its gateway, whatever the policy.
    #expect(try lab.ask("10.99.0.3", 80, from: lab.node) == "pod b")
    #expect(try lab.ask("10.98.0.2", 80, from: lab.node) == "pod c")
    #expect(try lab.ping(from: a, to: "10.99.0.1"))
    #expect(try lab.ping(from: c, to: "10.98.0.1"))
    #expect(
      try lab.ask("10.99.0.3", 80, from: a, seconds: reachesNeighbour ? 20 : 2)
        == (reachesNeighbour ? "pod b" : ""))
    #expect(
      try lab.ask("10.98.0.2", 80, from: a, seconds: reachesOther ? 20 : 2) == (reachesOther ? "pod c" : ""))
  }

  @Test(arguments: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
  func `a chain answers in the version that is asked, whatever came before`(version: String) throws {
    let lab = try Laboratory("version")
    let pod = try lab.pod("a")
    var chain = chain(
      lab, Laboratory.portmap, #"{"type":"tuning","mtu":1400}"#, #"{"type":"firewall"}"#,
      #"{"type":"bandwidth"}"#)
    chain.version = version
    let added = try chain.add("a", pod)
    #expect(added.code == 0 && added.json["cniVersion"]?.string == version)
    #expect(added.address == "10.99.0.2/24")
    #expect((added.json["ips"]?.array?.first?["version"] != nil) == version.hasPrefix("0."))
    #expect((added.json["interfaces"]?.array?.last?["mtu"]?.integer == 1400) == (version == "1.1.0"))
    if version != "0.3.1" { #expect(try chain.check("a", pod, previous: added.json).code == 0) }
    #expect(try chain.del("a", pod, previous: added.json).code == 0)
  }

  @Test func `a bridge that comes second adds to what came first`() throws {
    let lab = try Laboratory("second")
    let pod = try lab.pod("a")
    let chain = Chain(lab: lab, plugins: [#"{"type":"loopback"}"#, lab.bridge])
    let added = try chain.add("a", pod)
    #expect(added.code == 0, "\(added.json)")
    let names = added.json["interfaces"]?.array?.compactMap { $0["name"]?.string } ?? []
    #expect(names.first == "lo" && names.last == "eth0" && names.count == 4)
    let ips = added.json["ips"]?.array ?? []
    #expect(ips.compactMap { $0["address"]?.string } == ["127.0.0.1/8", "::1/128", "10.99.0.2/24"])
    #expect(ips.last?["interface"]?.integer == 3)
  }
}

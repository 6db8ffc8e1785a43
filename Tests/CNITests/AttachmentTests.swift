// The built plugin against the real kernel, called as a container runtime calls it.
import Addresses
import CNI
import Glibc
import KernelNetlink
import SoakLab
import StoreLab
import Testing

@Suite struct Attachments {
  @Test func `two pods reach each other, the gateway and themselves`() throws {
    let lab = try Laboratory("pods")
    let (first, second) = (try lab.pod("a"), try lab.pod("b"))
    let a = try lab.invoke("ADD", "a", namespace: first)
    let b = try lab.invoke("ADD", "b", namespace: second)
    #expect(a.code == 0 && a.address == "10.99.0.2/24")
    #expect(b.code == 0 && b.address == "10.99.0.3/24")
    let links = try #require(a.json["interfaces"]?.array)
    let hostEnd = hostInterfaceName(containerID: "a", ifname: "eth0")
    #expect(links.compactMap { $0["name"]?.string } == ["cni0", hostEnd, "eth0"])
    #expect(try lab.ports().contains(hostEnd))
    #expect(links.last?["mac"]?.string == "0a:58:0a:63:00:02" && links.last?["sandbox"]?.string == first)
    #expect(try lab.ping(from: first, to: "10.99.0.3"))
    #expect(try lab.ping(from: second, to: "10.99.0.2"))
    #expect(try lab.ping(from: first, to: "10.99.0.1"))
    #expect(try lab.invoke("CHECK", "a", namespace: first).code == 0)
    var pod = try RouteSession(inNamespace: first)
    #expect(
      try pod.routes(family: .v4).contains {
        $0.destination.length == 0 && $0.gateway?.description == "10.99.0.1"
      })
    #expect(try Sysctl.read("net/ipv4/ip_forward", inNamespace: lab.node) == "1")
  }

  @Test func `DEL needs no namespace and no previous result, and may come any number of times`() throws {
    let lab = try Laboratory("del")
    let pod = try lab.pod("a")
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    #expect(try lab.ports().count == 1 && lab.leaseNames() == ["a:eth0"])
    try lab.removePod("a")
    for _ in 0..<3 { #expect(try lab.invoke("DEL", "a").code == 0) }
    #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty)
    #expect(try lab.invoke("DEL", "never").code == 0)
  }

  @Test func `a second ADD is refused and changes nothing`() throws {
    let lab = try Laboratory("twice")
    let pod = try lab.pod("a")
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    #expect(try lab.invoke("ADD", "a", namespace: pod).json["code"]?.integer == 100)
    #expect(try lab.ports().count == 1 && lab.ping(from: pod, to: "10.99.0.1"))
  }

  @Test func `an exhausted range leaves nothing behind`() throws {
    let lab = try Laboratory("full", subnet: "10.99.0.0/30")
    let (first, second) = (try lab.pod("a"), try lab.pod("b"))
    #expect(try lab.invoke("ADD", "a", namespace: first).code == 0)
    let refused = try lab.invoke("ADD", "b", namespace: second)
    #expect(refused.code == 1 && refused.json["code"]?.integer == 11)
    #expect(try lab.ports().count == 1 && lab.leaseNames() == ["a:eth0"])
    var pod = try RouteSession(inNamespace: second)
    #expect(try pod.link(named: "eth0") == nil)
    #expect(try lab.invoke("DEL", "a").code == 0)
    #expect(try lab.invoke("ADD", "b", namespace: second).code == 0)
  }

  @Test func `an interface that is not ours is left alone`() throws {
    let lab = try Laboratory("foreign")
    let pod = try lab.pod("a")
    var session = try RouteSession(inNamespace: pod)
    try session.createBridge("eth0")
    let refused = try lab.invoke("ADD", "a", namespace: pod)
    #expect(refused.json["code"]?.integer == 101)
    #expect(try session.link(named: "eth0")?.kind == "bridge")
    #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty)
  }

  @Test func `the node's own namespace is never touched`() throws {
    let lab = try Laboratory("guard")
    let refused = try lab.invoke("ADD", "a", namespace: lab.node)
    #expect(refused.json["code"]?.integer == 4)
    var session = try RouteSession(inNamespace: lab.node)
    #expect(try session.links().map(\.name) == ["lo"])
    #expect(lab.leaseNames().isEmpty)
  }

  @Test func `twenty ADDs at once have twenty addresses`() throws {
    let lab = try Laboratory("parallel")
    let pods = try (0..<20).map { try lab.pod("p\($0)") }
    let running = try pods.enumerated().map { try lab.start("ADD", "c\($0)", namespace: $1) }
    let answers = try running.map { try $0.wait() }
    #expect(answers.allSatisfy { $0.code == 0 }, "\(answers.filter { $0.code != 0 })")
    #expect(Set(answers.compactMap(\.address)).count == 20)
    #expect(try lab.ports().count == 20)
    let ends = try (0..<20).map { try lab.start("DEL", "c\($0)") }
    for end in ends { #expect(try end.wait().code == 0) }
    #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty)
  }

  @Test func `a call killed at any moment leaves nothing after DEL, and no address is given twice`() throws {
    let lab = try Laboratory("kill", subnet: "10.99.0.0/28")
    let steady = try lab.pod("steady")
    let held = try #require(try lab.invoke("ADD", "steady", namespace: steady).address)
    let pod = try lab.pod("p")
    var random = SeededGenerator(seed: 42)
    var cut = 0
    for round in 0..<60 {
      let verb = round % 3 == 2 ? "DEL" : "ADD"
      let running = try lab.start(verb, "c\(round / 3)", namespace: pod)
      usleep(UInt32.random(in: 0...(verb == "ADD" ? 6000 : 20_000), using: &random))
      kill(running.process, SIGKILL)
      let answer = try running.wait()
      if answer.code != 0 { cut += 1 }
      if let given = answer.address { #expect(given != held) }
      if round % 3 == 2 || answer.code != 0 { #expect(try lab.invoke("DEL", "c\(round / 3)").code == 0) }
    }
    #expect(cut > 0)
    for id in 0..<20 { #expect(try lab.invoke("DEL", "c\(id)").code == 0) }
    #expect(lab.leaseNames() == ["steady:eth0"])
    #expect(try lab.ports() == [hostInterfaceName(containerID: "steady", ifname: "eth0")])
    // All twelve addresses that remain can be given: none leaked.
    for id in 0..<12 {
      let fresh = try lab.pod("f\(id)")
      let answer = try lab.invoke("ADD", "f\(id)", namespace: fresh)
      #expect(answer.code == 0 && answer.address != held)
    }
    #expect(try lab.invoke("STATUS", "x").json["code"]?.integer == 1)
  }

  /// Who remembers another owner and asks anew takes seconds, and the echo is lost; a loaded machine takes its time as well.
  private static let atOnce = Soak.isLong ? 1 : 3

  @Test func `an address that is given again works within a second`() throws {
    let lab = try Laboratory("reuse", subnet: "10.99.0.0/29")
    let other = try lab.pod("other")
    #expect(try lab.invoke("ADD", "other", namespace: other).code == 0)
    let arguments = "IgnoreUnknown=1;IP=10.99.0.5"
    for round in 0..<3 {
      let pod = try lab.pod("r\(round)")
      #expect(
        try lab.invoke("ADD", "r\(round)", namespace: pod, arguments: arguments).address == "10.99.0.5/29")
      #expect(try lab.ping(from: other, to: "10.99.0.5", seconds: Self.atOnce))
      #expect(try lab.ping(from: lab.node, to: "10.99.0.5", seconds: Self.atOnce))
      #expect(try lab.invoke("DEL", "r\(round)", namespace: pod).code == 0)
    }
  }

  @Test func `addresses of both families that are given again under another MAC work within a second`() throws
  {
    let lab = try Laboratory("moved", keys: #","runtimeConfig":{"mac":"c2:00:00:00:00:00"}"#)
    let plain = lab.configuration.replacing("]]", with: "],[{\"subnet\":\"fd00:99::/64\"}]]")
    // Who remembers the former owner: a neighbour on the bridge, and the node.
    let other = try lab.pod("other")
    lab.configuration = plain.replacing("00:00:00:00\"", with: "00:00:00:99\"")
    #expect(try lab.invoke("ADD", "other", namespace: other).code == 0)
    for round in 1...3 {
      let pod = try lab.pod("m\(round)")
      let mac = "c2:00:00:00:00:0\(round)"
      lab.configuration = plain.replacing("c2:00:00:00:00:00", with: mac)
      let added = try lab.invoke(
        "ADD", "m\(round)", namespace: pod, arguments: "IgnoreUnknown=1;IP=10.99.0.5,fd00:99::5")
      #expect(added.json["interfaces"]?.array?.last?["mac"]?.string == mac, "\(added.json.text)")
      for address in ["10.99.0.5", "fd00:99::5"] {
        #expect(try lab.ping(from: other, to: address, seconds: Self.atOnce), "\(address), round \(round)")
        #expect(
          try lab.ping(from: lab.node, to: address, seconds: Self.atOnce),
          "\(address) from the node, round \(round)")
      }
      #expect(try lab.invoke("DEL", "m\(round)", namespace: pod).code == 0)
    }
  }

  @Test func `two families give two addresses that both work at once`() throws {
    let lab = try Laboratory("dual")
    lab.configuration = lab.configuration.replacing("]]", with: "],[{\"subnet\":\"fd00:99::/64\"}]]")
    let (first, second) = (try lab.pod("a"), try lab.pod("b"))
    let a = try lab.invoke("ADD", "a", namespace: first)
    #expect(a.code == 0)
    #expect(a.json["ips"]?.array?.compactMap { $0["address"]?.string } == ["10.99.0.2/24", "fd00:99::2/64"])
    #expect(a.json["routes"]?.array?.compactMap { $0["dst"]?.string } == ["0.0.0.0/0", "::/0"])
    #expect(try lab.invoke("ADD", "b", namespace: second).code == 0)
    #expect(try lab.ping(from: second, to: "10.99.0.2"))
    #expect(try lab.ping(from: second, to: "fd00:99::2"))
    #expect(try lab.ping(from: second, to: "fd00:99::1"))
    #expect(try lab.invoke("DEL", "a").code == 0 && lab.leaseNames() == ["b:eth0"])
  }

  @Test func `loopback raises lo, host-local gives an address without links`() throws {
    let lab = try Laboratory("names")
    let pod = try lab.pod("a")
    var session = try RouteSession(inNamespace: pod)
    let lo = try #require(try session.link(named: "lo"))
    try session.setLink(lo.index, isUp: false)
    #expect(try lab.invoke("ADD", "a", namespace: pod, program: "/opt/cni/bin/loopback").code == 0)
    #expect(try session.link(named: "lo")?.isUp == true)
    #expect(try lab.invoke("DEL", "a", program: "loopback").code == 0)
    let given = try lab.invoke("ADD", "a", namespace: pod, program: "host-local")
    #expect(given.address == "10.99.0.2/24" && given.json["interfaces"] == nil)
    #expect(try lab.ports().isEmpty && lab.leaseNames() == ["a:eth0"])
    #expect(try lab.invoke("DEL", "a", program: "host-local").code == 0)
    #expect(lab.leaseNames().isEmpty)
  }

  @Test(arguments: ["host-local", "bridge"])
  func `resolvConf is the result's DNS, and a file that is not there is error 7`(program: String) throws {
    let lab = try Laboratory("resolv")
    let pod = try lab.pod("a")
    let path = "\(lab.scratch.path)/resolv.conf"
    let plain = lab.configuration
    lab.configuration = plain.replacing("\"dataDir\"", with: "\"resolvConf\":\"\(path)\",\"dataDir\"")
    let refused = try lab.invoke("ADD", "a", namespace: pod, program: program)
    #expect(refused.json["code"]?.integer == 7 && refused.json["msg"]?.string?.contains(path) == true)
    #expect(try lab.leaseNames().isEmpty && lab.ports().isEmpty)
    try installConflist(
      """
      # by hand
      nameserver 192.0.2.53
      nameserver\t2001:db8::53 # the second
      domain example.com
      search nobody.example.com
      search a.example.com b.example.com
      options ndots:5 timeout:1
      sortlist 10.0.0.0
      """, at: path)
    let added = try lab.invoke("ADD", "a", namespace: pod, program: program)
    #expect(added.code == 0, "\(added.json)")
    let wanted = #"""
      {"nameservers":["192.0.2.53","2001:db8::53"],"domain":"example.com",
       "search":["a.example.com","b.example.com"],"options":["ndots:5","timeout:1"]}
      """#
    #expect(added.json["dns"] == (try JSONValue(parsing: Array(wanted.utf8))))
    // DEL needs the file no more.
    #expect(unlink(path) == 0)
    #expect(try lab.invoke("DEL", "a", program: program).code == 0 && lab.leaseNames().isEmpty)
    lab.configuration = plain
    #expect(try lab.invoke("ADD", "a", namespace: pod, program: program).json["dns"]?["nameservers"] == nil)
  }

  @Test func `DEL ends when the link is gone, and another process waits until the kernel has freed it`()
    throws
  {
    let lab = try Laboratory("early")
    let pod = try lab.pod("a")
    for _ in 0..<10 {
      #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
      #expect(try lab.invoke("DEL", "a", namespace: pod).code == 0)
      #expect(try lab.ports().isEmpty && lab.links(in: pod) == ["lo"] && lab.leaseNames().isEmpty)
    }
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    let trace = "\(lab.scratch.path)/trace"
    let environment = [
      "CNI_COMMAND=DEL", "CNI_CONTAINERID=a", "CNI_NETNS=\(pod)", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
    ]
    let answer = try Running.start(
      ["strace", "-qq", "-f", "-e", "trace=execve,close,sendto", "-o", trace, try Laboratory.plugin()],
      executable: "/usr/bin/strace", environment: environment, input: lab.configuration, in: lab.node
    ).wait()
    #expect(answer.code == 0, "\(answer)")
    let calls = String(decoding: Scratch.read(trace), as: UTF8.self).split(separator: "\n").map { line in
      let words = line.split(separator: " ", maxSplits: 1)
      return (process: words[0], call: words[1].drop { $0 == " " })
    }
    let plugin = try #require(calls.first).process
    let others = calls.filter { $0.process != plugin }
    // Whoever reads the plugin's output is not kept waiting by the other one.
    #expect(others.prefix(3).map { $0.call.prefix(7) } == ["close(0", "close(1", "close(2"])
    let first = try #require(calls.first { $0.call.contains("RTM_DELLINK") })
    #expect(first.process != plugin && Set(others.map(\.process)).count == 1)
    #expect(try lab.ports().isEmpty && lab.links(in: pod) == ["lo"] && lab.leaseNames().isEmpty)
  }

  @Test func `GC removes what no valid attachment names`() throws {
    let lab = try Laboratory("gc")
    lab.configuration = lab.configuration.replacing("1.0.0", with: "1.1.0")
    for id in ["a", "b", "c"] { #expect(try lab.invoke("ADD", id, namespace: try lab.pod(id)).code == 0) }
    #expect(unlink("\(lab.scratch.path)/t/leases/c:eth0") == 0)
    lab.configuration = lab.configuration.replacing(
      "\"bridge\"",
      with: "\"cni.dev/valid-attachments\":[{\"containerID\":\"a\",\"ifname\":\"eth0\"}],\"bridge\"")
    #expect(try lab.invoke("GC", "").code == 0)
    #expect(lab.leaseNames() == ["a:eth0"])
    #expect(try lab.ports() == [hostInterfaceName(containerID: "a", ifname: "eth0")])
  }

  @Test func `GC removes rules, rates and neighbours with the links, also of an ADD that was killed early`()
    throws
  {
    let lab = try Laboratory("gcall")
    lab.configuration = lab.configuration.replacing(
      "\"bridge\"",
      with: """
        "ipMasq":true,"macspoofchk":true,"runtimeConfig":{"bandwidth":{"ingressRate":10000000,"egressRate":10000000},
        "portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]},"bridge"
        """
    ).replacing("1.0.0", with: "1.1.0").replacing("]]", with: "],[{\"subnet\":\"fd00:99::/64\"}]]")
    let plain = lab.configuration
    #expect(try lab.invoke("ADD", "live", namespace: try lab.pod("live")).code == 0)
    var node = try RouteSession(inNamespace: lab.node)
    let (rules, links) = (try lab.rules(), try node.links().map(\.name).sorted())
    for id in 0..<3 {
      lab.configuration = plain.replacing("8080", with: "\(9000 + id)")
      #expect(try lab.invoke("ADD", "s\(id)", namespace: try lab.pod("s\(id)")).code == 0)
      #expect(try lab.ping(from: lab.node, to: "10.99.0.\(3 + id)"))
    }
    // As if killed between the link and its mark; and one whose rule somebody else took away.
    let unmarked = hostInterfaceName(containerID: "s1", ifname: "eth0")
    try node.setLink(try #require(try node.link(named: unmarked)).index, alias: "")
    _ = try lab.output(
      ["/usr/sbin/nft", "delete", "element", "ip", "weft-cni", "pods", "{ 10.99.0.3 }"], in: lab.node)
    lab.configuration = plain.replacing(
      "\"bridge\"",
      with: "\"cni.dev/valid-attachments\":[{\"containerID\":\"live\",\"ifname\":\"eth0\"}],\"bridge\"")
    #expect(try lab.invoke("GC", "").code == 0)
    #expect(lab.leaseNames() == ["live:eth0"])
    #expect(try node.links().map(\.name).sorted() == links)
    #expect(try lab.rules() == rules)
    // One that the kernel itself holds at that moment stays for a while, as failed.
    let remembered = try node.neighbours().filter { $0.state & 0x20 == 0 }.map(\.address.description)
    #expect(!remembered.contains { ["10.99.0.3", "10.99.0.4", "10.99.0.5"].contains($0) })
    // The addresses are free, and last in the queue.
    lab.configuration = plain.replacing("8080", with: "9100")
    #expect(try lab.invoke("ADD", "n", namespace: try lab.pod("n")).address == "10.99.0.6/24")
  }

  @Test func `CHECK names what was changed and STATUS an exhausted range`() throws {
    let lab = try Laboratory("check", subnet: "10.99.0.0/30")
    let pod = try lab.pod("a")
    #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
    var session = try RouteSession(inNamespace: pod)
    let link = try #require(try session.link(named: "eth0"))
    try session.deleteAddress(try #require(InterfaceAddress("10.99.0.2/30")), from: link.index)
    let found = try lab.invoke("CHECK", "a", namespace: pod).json
    #expect(found["code"]?.integer == 102 && found["msg"]?.string?.contains("10.99.0.2") == true)
    lab.configuration = lab.configuration.replacing("1.0.0", with: "1.1.0")
    #expect(try lab.invoke("STATUS", "").json["code"]?.integer == 50)
    #expect(try lab.invoke("DEL", "a").code == 0)
    #expect(try lab.invoke("STATUS", "").code == 0)
  }
}

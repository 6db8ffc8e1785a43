// What a node does to the plugin: damaged files, a disk that is full, read only or loses its power, hostile callers, a thousand
// attachments. docs/cni-faults.md has the table; crashes stand in CrashTests.
import Addresses
import CNI
import Glibc
import KernelNetlink
import StoreLab
import Testing

extension Laboratory {
  /// Puts the leases elsewhere.
  fileprivate func keepLeases(in folder: String) {
    configuration = configuration.replacing(
      "\"dataDir\":\"\(scratch.path)\"", with: "\"dataDir\":\"\(folder)\"")
  }

  fileprivate func add(keys: String) {
    configuration = configuration.replacing("\"bridge\"", with: "\(keys),\"bridge\"")
  }

  func links(in namespace: String) throws -> [String] {
    var session = try RouteSession(inNamespace: namespace)
    return try session.links().map(\.name)
  }
}

/// What a caller who means harm sets: variables, keys of the configuration; and the code that it must be refused with.
struct HostileCall: Sendable, CustomTestStringConvertible {
  var name: String
  var variables: [String] = []
  var keys = ""
  var code: Int64
  var testDescription: String { name }
}

private let hostileCalls: [HostileCall] = [
  HostileCall(name: "ID is a path", variables: ["CNI_CONTAINERID=../../x"], code: 4),
  HostileCall(
    name: "ID is long", variables: ["CNI_CONTAINERID=" + String(repeating: "a", count: 5000)], code: 4),
  HostileCall(name: "interface is a path", variables: ["CNI_IFNAME=a/b"], code: 4),
  HostileCall(name: "interface is dots", variables: ["CNI_IFNAME=.."], code: 4),
  HostileCall(name: "no namespace", variables: ["CNI_NETNS="], code: 4),
  HostileCall(name: "namespace is a file", variables: ["CNI_NETNS=/etc/passwd"], code: 4),
  HostileCall(name: "namespace is a device", variables: ["CNI_NETNS=/dev/zero"], code: 4),
  HostileCall(
    name: "arguments", variables: ["CNI_ARGS=IP=;=;;K=V=W;IgnoreUnknown=1;\u{1};IP=../../x"], code: 7),
  HostileCall(name: "type is a path", keys: #""type":"../../bin/sh","#, code: 7),
  HostileCall(name: "network is a path", keys: #""name":"../../x","#, code: 7),
  HostileCall(name: "bridge is a path", keys: #""bridge":"../x","#, code: 7),
  HostileCall(
    name: "a mebibyte", keys: "\"pad\":\"" + String(repeating: "x", count: 1 << 20) + "\",", code: 6),
  HostileCall(name: "depth", keys: String(repeating: "[", count: 100_000), code: 6),
]

@Suite(.timeLimit(.minutes(Soak.isLong ? 30 : 5))) struct CNIFaults {
  @Test func `DEL succeeds with a damaged result, lease, index or configuration, and frees the address`()
    throws
  {
    let lab = try Laboratory("damage", subnet: "10.99.0.0/30")
    let whole = lab.configuration
    let state = "\(lab.scratch.path)/t"
    for damage in ["result", "results", "lease", "empty", "index", "ranges", "nothing"] {
      let pod = try lab.pod(damage)
      #expect(try lab.invoke("ADD", "c", namespace: pod).code == 0, "\(damage): the address was not freed")
      switch damage {
      case "result": lab.add(keys: #""prevResult":{"ips":[{"address":"not one"}],"interfaces":[7]}"#)
      case "results": lab.add(keys: #""prevResult":[[]]"#)
      case "lease": try installConflist("{\"containerID\":", at: "\(state)/leases/c:eth0")
      case "empty": #expect(truncate("\(state)/leases/c:eth0", 0) == 0)
      case "index": try installConflist("garbage", at: "\(state)/index.0")
      case "ranges": lab.configuration = whole.replacing("10.99.0.0/30", with: "no subnet")
      default: break
      }
      try lab.removePod(damage)
      for _ in 0..<2 {
        let started = ContinuousClock.now
        #expect(try lab.invoke("DEL", "c", namespace: pod).code == 0, "\(damage)")
        let took = ContinuousClock.now - started
        if Soak.isLong { #expect(took < .milliseconds(50), "\(damage)") }
      }
      lab.configuration = whole
      #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty, "\(damage)")
    }
    for program in ["host-local", "portmap", "bandwidth", "tuning", "firewall", "loopback", "ptp"] {
      for result in ["[[]]", "{}", #"{"ips":[{"address":"not one"}],"interfaces":[7]}"#] {
        lab.add(keys: "\"prevResult\":\(result)")
        let answer = try lab.invoke("DEL", "c", namespace: "/run/netns/none-such", program: program)
        #expect(answer.code == 0, "\(program) with \(result): \(answer.json.text)")
        lab.configuration = whole
      }
    }
  }

  @Test func `GC removes a thousand stale attachments, links at once, and no live one`() throws {
    let lab = try Laboratory("many", subnet: "10.99.0.0/20")
    let live = try ["a", "b"].map { try lab.pod($0) }
    for (id, pod) in zip(["a", "b"], live) { #expect(try lab.invoke("ADD", id, namespace: pod).code == 0) }
    var node = try RouteSession(inNamespace: lab.node)
    let links = Soak.rounds(60, long: 1000)
    for index in 0..<links {
      let name = hostInterfaceName(containerID: "s\(index)", ifname: "eth0")
      try node.createVeth(VethEnd(name: name, isUp: false), peer: VethEnd(name: "x\(index)"))
      try node.setLink(try #require(try node.link(named: name)).index, alias: "weft:t/s\(index)/eth0")
    }
    let boot = try Sysctl.read("kernel/random/boot_id")
    for index in 0..<1000 {
      let lease = """
        {"network":"t","containerID":"s\(index)","ifname":"eth0","bootID":"\(boot)",
         "addresses":["10.99.\(4 + index / 250).\(1 + index % 250)/20"],"gateways":["10.99.0.1"]}
        """
      try installConflist(lease, at: "\(lab.scratch.path)/t/leases/s\(index):eth0")
    }
    lab.configuration = lab.configuration.replacing("1.0.0", with: "1.1.0")
    let valid = (["a", "b"] + (0..<8).map { "n\($0)" }).map { #"{"containerID":"\#($0)","ifname":"eth0"}"# }
    let plain = lab.configuration
    // Those that GC is told of may be attached beside it.
    let pods = try (0..<8).map { try lab.pod("n\($0)") }
    let beside = try pods.enumerated().map { try lab.start("ADD", "n\($0)", namespace: $1) }
    lab.add(keys: "\"cni.dev/valid-attachments\":[\(valid.joined(separator: ","))]")
    let started = ContinuousClock.now
    #expect(try lab.invoke("GC", "").code == 0)
    let took = ContinuousClock.now - started
    Soak.report("GC of 1,000 stale leases and \(links) links: \(took)")
    if Soak.isLong { #expect(took < .seconds(2)) }
    lab.configuration = plain
    #expect(try beside.map { try $0.wait() }.allSatisfy { $0.code == 0 })
    let names = (["a", "b"] + (0..<8).map { "n\($0)" })
    #expect(lab.leaseNames() == names.map { "\($0):eth0" }.sorted())
    #expect(try lab.ports() == names.map { hostInterfaceName(containerID: $0, ifname: "eth0") }.sorted())
    for pod in live { #expect(try lab.ping(from: pod, to: "10.99.0.1")) }
  }

  @Test func `an address whose ADD returned before the power went is not given again`() async throws {
    try await withScratch { scratch in
      let disk = try SmallDisk(scratch, mebibytes: 32)
      let lab = try Laboratory("power")
      lab.keepLeases(in: "\(disk.folder)/cni")
      var held: [String: String] = [:]
      for round in 0..<Soak.rounds(3, long: 60) {
        for index in 0..<2 {
          let id = "r\(round)c\(index)"
          let answer = try lab.invoke("ADD", id, namespace: try lab.pod(id))
          held[id] = answer.address
          #expect(answer.code == 0 && answer.address != nil, "\(id): \(answer.json.text)")
        }
        // The disk goes and comes back, the pods live on: harder than a reboot, after which there are none.
        try disk.cutPower()
        #expect(try lab.invoke("ADD", "cut\(round)", namespace: try lab.pod("cut\(round)")).code != 0)
        try disk.unmount()
        try disk.mount()
        #expect(Set(held.values).count == held.count, "round \(round)")
        let leases = Scratch.names(in: "\(disk.folder)/cni/t/leases")
        #expect(held.keys.allSatisfy { leases.contains("\($0):eth0") }, "round \(round): \(leases.sorted())")
        if held.count > 60 {
          for id in held.keys { #expect(try lab.invoke("DEL", id).code == 0) }
          held = [:]
        }
      }
      try disk.unmount()
    }
  }

  @Test func `a store that is full, read only or no folder ends the ADD with its name, and nothing is made`()
    async throws
  {
    try await withScratch { scratch in
      let disk = try SmallDisk(scratch, mebibytes: 16)
      let lab = try Laboratory("nospace")
      lab.keepLeases(in: "\(disk.folder)/cni")
      let pod = try lab.pod("a")
      #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
      #expect(try lab.invoke("DEL", "a").code == 0)
      func refused(_ code: Int64, _ reason: String) throws {
        let answer = try lab.invoke("ADD", "a", namespace: pod)
        #expect(answer.code == 1 && answer.json["code"]?.integer == code, "\(answer.json.text)")
        #expect(answer.json["details"]?.string?.contains(reason) == true, "\(answer.json.text)")
        #expect(try lab.ports().isEmpty && lab.links(in: pod) == ["lo"])
      }
      // Full to the last block, which is smaller than the first ones written.
      let filler = "\(disk.folder)/filler"
      let fill = "dd if=/dev/zero bs=4k; dd if=/dev/zero bs=512; sync"
      try Program.run("/bin/sh", ["-c", "{ \(fill); } >\(filler) 2>/dev/null"])
      try refused(11, "No space left")
      unlink(filler)
      try Program.run("/bin/mount", ["-o", "remount,ro", disk.folder])
      try refused(5, "Read-only file system")
      #expect(try lab.invoke("DEL", "never").code == 0)
      try Program.run("/bin/mount", ["-o", "remount,rw", disk.folder])
      #expect(try lab.invoke("ADD", "a", namespace: pod).code == 0)
      #expect(try lab.invoke("DEL", "a").code == 0)
      lab.keepLeases(in: "\(disk.folder)/file")
      lab.configuration = lab.configuration.replacing("\(disk.folder)/cni", with: "\(disk.folder)/file/x")
      try installConflist("", at: "\(disk.folder)/file")
      try refused(5, "Not a directory")
      try disk.unmount()
    }
  }

  @Test(arguments: hostileCalls)
  func `a hostile call is refused by code and opens nothing that it names`(hostile: HostileCall) throws {
    let (variables, keys) = (hostile.variables, hostile.keys)
    let lab = try Laboratory("hostile")
    let pod = try lab.pod("a")
    let trace = "\(lab.scratch.path)/trace"
    let given = Set(variables.compactMap { $0.split(separator: "=").first.map(String.init) })
    let usual = [
      "CNI_COMMAND=ADD", "CNI_CONTAINERID=a", "CNI_NETNS=\(pod)", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
    ].filter { !given.contains(String($0.prefix { $0 != "=" })) }
    // The last of two keys of one name counts.
    let input = lab.configuration.replacing("\"ipam\"", with: "\(keys)\"ipam\"")
    let answer = try Running.start(
      ["strace", "-qq", "-f", "-e", "trace=%file", "-o", trace, try Laboratory.plugin()],
      executable: "/usr/bin/strace", environment: usual + variables, input: input, in: lab.node
    ).wait()
    #expect(answer.code == 1 && answer.json["msg"]?.string?.isEmpty == false, "\(answer)")
    #expect(answer.json["code"]?.integer == hostile.code, "\(answer.json.text.prefix(300))")
    let opened = String(decoding: Scratch.read(trace), as: UTF8.self).split(separator: "\n")
    #expect(opened.contains { $0.contains("execve") })
    for line in opened where !line.contains("execve(") {
      #expect(!line.contains("../") && !line.contains("/bin/sh"), "\(line)")
    }
    #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty && lab.links(in: pod) == ["lo"])
  }

  @Test func `of many pods on one bridge each answers at once, at the bridge's MTU, under a MAC of its own`()
    throws
  {
    let lab = try Laboratory("crowd", subnet: "10.99.0.0/20", keys: #","mtu":1400"#)
    lab.configuration = lab.configuration.replacing("]]", with: "],[{\"subnet\":\"fd00:99::/64\"}]]")
    let count = Soak.rounds(24, long: 1000)
    // The machine's limits are for all of its namespaces; the plugin makes room where it runs on the machine itself.
    let former = Soak.isLong ? KernelRoom.make() : []
    defer { for (name, value) in former { try? Sysctl.set(name, "\(value)") } }
    var macs: Set<String> = []
    var slowest = Duration.zero
    for index in 0..<count {
      let pod = try lab.pod("p\(index)")
      let answer = try lab.invoke("ADD", "p\(index)", namespace: pod)
      #expect(answer.code == 0, "\(index): \(answer.json.text)")
      let addresses = answer.json["ips"]?.array?.compactMap { $0["address"]?.string } ?? []
      let started = ContinuousClock.now
      for address in addresses {
        let own = String(address.prefix { $0 != "/" })
        #expect(try lab.ping(from: lab.node, to: own), "\(index): \(own) does not answer")
      }
      slowest = max(slowest, ContinuousClock.now - started)
      var session = try RouteSession(inNamespace: pod)
      let link = try #require(try session.link(named: "eth0"))
      #expect(link.mtu == 1400)
      macs.insert(try #require(link.mac).description)
    }
    #expect(macs.count == count)
    Soak.report("\(count) pods on one bridge: the slowest answered both pings \(slowest) after its ADD")
    if Soak.isLong { #expect(slowest < .milliseconds(400)) }
  }
}

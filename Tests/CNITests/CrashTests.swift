// The plugin killed at system calls of ADD, and many ADDs of which some are killed: nothing stays, no address is given twice.
//
// The unit run takes a sample of the points; WEFT_SOAK=1 takes every one, and the numbers of a busy node.
import CNI
import Glibc
import KernelNetlink
import StoreLab
import Testing

private let isSoak = getenv("WEFT_SOAK").map { String(cString: $0) } == "1"

extension Laboratory {
  /// The same with everything that leaves rules and further links behind: host ports, rates, masquerading.
  fileprivate func askForEverything() {
    configuration = configuration.replacing(
      "\"bridge\"",
      with: """
        "ipMasq":true,"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],
        "bandwidth":{"ingressRate":10000000,"ingressBurst":1000000,"egressRate":10000000,"egressBurst":1000000}},"bridge"
        """)
  }

  /// Runs the plugin's ADD under strace with these options.
  fileprivate func traced(_ options: [String], _ id: String, namespace: String) throws -> Answer {
    let environment = [
      "CNI_COMMAND=ADD", "CNI_CONTAINERID=\(id)", "CNI_NETNS=\(namespace)", "CNI_IFNAME=eth0",
      "CNI_PATH=/opt/cni/bin",
    ]
    return try Running.start(
      ["strace", "-qq"] + options + [try Laboratory.plugin()], executable: "/usr/bin/strace",
      environment: environment, input: configuration, in: node
    ).wait()
  }

  /// Everything that an ADD makes on the node and in the pod, as text.
  fileprivate func inventory(_ pod: String) throws -> String {
    var host = try RouteSession(inNamespace: node)
    var inside = try RouteSession(inNamespace: pod)
    let links = try host.links().map { "\($0.name) \($0.kind)" } + inside.links().map { "pod \($0.name)" }
    return (links.sorted() + leaseNames() + [try rules()]).joined(separator: "\n")
  }
}

@Suite(.timeLimit(.minutes(30))) struct Crashes {
  @Test func `an ADD killed at a system call leaves nothing after DEL`() throws {
    let lab = try Laboratory("syscalls", subnet: "10.99.0.0/29")
    lab.askForEverything()
    let pod = try lab.pod("p")
    // Once whole: what stays after a DEL (the bridge, empty tables) is there from now on.
    #expect(try lab.invoke("ADD", "first", namespace: pod).code == 0)
    let whole = try lab.inventory(pod)
    #expect(try lab.invoke("DEL", "first").code == 0)
    let before = try lab.inventory(pod)
    #expect(whole != before && whole.contains("8080") && whole.contains("ifb"))

    let trace = "\(lab.scratch.path)/trace"
    #expect(try lab.traced(["-o", trace], "first", namespace: pod).code == 0)
    #expect(try lab.invoke("DEL", "first").code == 0)
    var seen: [Substring: Int] = [:]
    var points: [(call: Substring, number: Int)] = []
    for line in String(decoding: Scratch.read(trace), as: UTF8.self).split(separator: "\n") {
      let call = line.prefix { $0 != "(" }
      guard call != line, call != "exit_group", call != "execve" else { continue }
      seen[call, default: 0] += 1
      points.append((call, seen[call] ?? 1))
    }
    try #require(points.count > 60, "an ADD makes more system calls than \(points.count)")
    let step = isSoak ? 1 : max(points.count / 40, 1)
    var killed = 0
    for (index, point) in points.enumerated() where index % step == step / 2 {
      let options = [
        "-o", "/dev/null", "-e", "trace=\(point.call)",
        "-e", "inject=\(point.call):signal=KILL:when=\(point.number)",
      ]
      if try lab.traced(options, "k\(index)", namespace: pod).code == 128 + SIGKILL { killed += 1 }
      #expect(try lab.invoke("DEL", "k\(index)").code == 0)
      #expect(try lab.inventory(pod) == before, "killed at \(point.call) number \(point.number)")
    }
    // A call or two may come in another number from run to run (waiting for a lock); the sweep is of all others.
    #expect(killed >= points.count / step * 9 / 10)
    // None of the five addresses is lost.
    for id in 0..<5 {
      let configuration = lab.configuration
      lab.configuration = configuration.replacing("8080", with: "\(9000 + id)")
      #expect(try lab.invoke("ADD", "f\(id)", namespace: try lab.pod("f\(id)")).code == 0)
      lab.configuration = configuration
    }
  }

  @Test func `parallel ADDs of which a quarter is killed never give an address twice`() throws {
    let count = isSoak ? 200 : 40
    for seed in 0..<UInt64(isSoak ? 10 : 1) {
      let lab = try Laboratory("storm\(seed)")
      let pods = try (0..<count).map { try lab.pod("p\($0)") }
      var random = SeededGenerator(seed: 1000 + seed)
      var running: [Running] = []
      for (index, pod) in pods.enumerated() {
        running.append(try lab.start("ADD", "c\(index)", namespace: pod))
        // One that was started a little earlier: somewhere in the middle of its work.
        if index % 4 == 3 {
          usleep(UInt32.random(in: 0...2000, using: &random))
          kill(running[index - Int.random(in: 0...3, using: &random)].process, SIGKILL)
        }
      }
      let answers = try running.map { try $0.wait() }
      let held = answers.compactMap(\.address)
      #expect(Set(held).count == held.count, "seed \(seed)")
      for answer in answers where answer.code != 0 {
        #expect(answer.code == 128 + SIGKILL, "\(answer.json.text)")
      }
      #expect(held.count >= count * 3 / 4)
      // What is written down agrees: no two leases share an address.
      let written = lab.leaseNames().flatMap { name -> [String] in
        let json = try? JSONValue(parsing: Scratch.read("\(lab.scratch.path)/t/leases/\(name)"))
        return json?["addresses"]?.array?.compactMap(\.string) ?? []
      }
      #expect(Set(written).count == written.count && Set(written).isSuperset(of: held), "seed \(seed)")
      // GC with those that were answered: exactly they stay.
      let valid = answers.indices.filter { answers[$0].code == 0 }
      let configuration = lab.configuration
      let list = valid.map { #"{"containerID":"c\#($0)","ifname":"eth0"}"# }.joined(separator: ",")
      lab.configuration = configuration.replacing("1.0.0", with: "1.1.0").replacing(
        "\"bridge\"", with: "\"cni.dev/valid-attachments\":[\(list)],\"bridge\"")
      #expect(try lab.invoke("GC", "").code == 0)
      #expect(lab.leaseNames() == valid.map { "c\($0):eth0" }.sorted())
      #expect(
        try lab.ports() == valid.map { hostInterfaceName(containerID: "c\($0)", ifname: "eth0") }.sorted())
      lab.configuration = configuration
      for index in answers.indices { #expect(try lab.invoke("DEL", "c\(index)").code == 0) }
      #expect(try lab.leaseNames().isEmpty && lab.ports().isEmpty)
    }
  }
}

// Other people's programs on our API: Helm, the official Python client, an operator, an ingress controller. They are
// installed by scripts/setup-tests.sh; the scripts that drive them are in Clients/.
import Foundation
import Testing

@Suite(.serialized) struct ClientsTests {
  private static let python = Project.root.appending(path: ".tools/clients/bin/python").path()
  private static let traefik = Project.root.appending(path: ".tools/clients/bin/traefik").path()
  private static let folder = Project.root.appending(path: "Tests/EndToEnd/Clients").path()

  @Test(.timeLimit(.minutes(6))) func `programs written for Kubernetes run on it unchanged`() throws {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--demo"])
    let ready = eventually(within: 60) {
      node.kubectl("wait", "--for=condition=Ready", "pods", "--all", "-n", "demo", "--timeout=5s").status == 0
    }
    try #require(ready != nil, "the demo did not become ready:\n\(node.log.suffix(4000))")
    releases(node)
    officialClient(node)
    try operatorWithItsOwnKind(node)
    try ingressController(node)
  }

  private func script(_ node: TestNode, _ arguments: [String], steps: Int, seconds: Double = 120) {
    let output = node.exec([Self.python] + arguments, seconds: seconds)
    let passed = output.lines.filter { $0.hasPrefix("ok ") }.count
    #expect(output.status == 0 && passed == steps, "\(passed) of \(steps) steps: \(output)")
  }

  private func releases(_ node: TestNode) {
    script(node, ["\(Self.folder)/releases.py", node.kubeconfig, "\(Self.folder)/chart"], steps: 11)
  }

  private func officialClient(_ node: TestNode) {
    script(node, ["\(Self.folder)/official.py", node.kubeconfig], steps: 15)
  }

  /// A program that runs beside the test, in the node's network, until the test ends it.
  private func beside(_ node: TestNode, _ arguments: [String], log: String) throws -> Process {
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let output = try FileHandle(forWritingTo: URL(filePath: log))
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/nsenter")
    process.arguments = ["--net=/run/netns/\(node.name)", "--"] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(["KUBECONFIG": node.kubeconfig]) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = output
    try process.run()
    return process
  }

  /// Asks it to stop, then makes it: some clients wait for their watches first.
  private func end(_ process: Process) {
    process.terminate()
    if eventually(within: 3, { !process.isRunning }) == nil { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
  }

  private func operatorWithItsOwnKind(_ node: TestNode) throws {
    let crd = node.kubectl("apply", "-f", "\(Self.folder)/greetings.yaml")
    try #require(crd.status == 0, "\(crd)")
    let established = node.kubectl(
      "wait", "--for=condition=Established", "crd/greetings.example.test", "--timeout=60s")
    #expect(established.status == 0, "\(established)")
    let log = "\(node.dataFolder)-kopf.log"
    let kopf = try beside(
      node, [Self.python, "-m", "kopf", "run", "-n", "default", "\(Self.folder)/greetings.py"], log: log)
    defer {
      end(kopf)
      try? FileManager.default.removeItem(atPath: log)
    }
    func said(_ text: String) -> Bool {
      node.kubectl("get", "configmap", "greeting-first", "-o", "jsonpath={.data.text}").trimmed == text
        && node.kubectl("get", "gr", "first", "-o", "jsonpath={.status.said}").trimmed == text
    }
    func told() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }
    let manifest = "\(node.dataFolder)-greeting.yaml"
    defer { try? FileManager.default.removeItem(atPath: manifest) }
    try """
    apiVersion: example.test/v1
    kind: Greeting
    metadata: { name: first, namespace: default }
    spec: { text: hello }
    """.write(toFile: manifest, atomically: true, encoding: .utf8)
    let created = node.kubectl("apply", "-f", manifest)
    #expect(created.status == 0, "\(created)")
    #expect(eventually(within: 60) { said("hello") } != nil, "the operator did not act:\n\(told())")
    let patched = node.kubectl(
      "patch", "greeting", "first", "--type=merge", "-p", #"{"spec":{"text":"goodbye"}}"#)
    #expect(patched.status == 0, "\(patched)")
    #expect(eventually(within: 60) { said("goodbye") } != nil, "the operator did not follow:\n\(told())")
    let table = node.kubectl("get", "greetings").lines
    #expect(
      table.map { $0.split(separator: " ").map(String.init) } == [
        ["NAME", "TEXT", "SAID"], ["first", "goodbye", "goodbye"],
      ], "\(table)")
    let refused = node.kubectl(
      "patch", "greeting", "first", "--type=merge", "-p",
      #"{"spec":{"text":"far too long for what the schema says"}}"#)
    #expect(refused.status == 1 && refused.standardError.contains("spec.text"), "\(refused)")
    let deleted = node.kubectl("delete", "greeting", "first", "--timeout=60s")
    #expect(deleted.status == 0, "\(deleted)\n\(told())")
    #expect(node.kubectl("get", "configmap", "greeting-first").status == 1)
  }

  private func ingressController(_ node: TestNode) throws {
    let log = "\(node.dataFolder)-traefik.log"
    let traefik = try beside(
      node, [Self.traefik, "--configFile=\(Self.folder)/traefik.yaml"], log: log)
    defer {
      end(traefik)
      try? FileManager.default.removeItem(atPath: log)
    }
    func told() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }
    let classed = node.kubectl("apply", "-f", "\(Self.folder)/traefik-class.yaml")
    #expect(classed.status == 0, "\(classed)")
    let created = node.kubectl(
      "create", "ingress", "other", "-n", "demo", "--class=traefik", "--rule=other.test/*=web:http")
    #expect(created.status == 0, "\(created)")
    func get() -> Output {
      node.exec("curl", "-s", "-m", "2", "-H", "Host: other.test", "http://127.0.0.1:18080/")
    }
    #expect(
      eventually(within: 60) { get().standardOutput.contains("web-") } != nil,
      "\(get())\n\(told().suffix(3000))")
    // It follows endpoints by itself: pods are replaced under it.
    let restarted = node.kubectl("rollout", "restart", "deployment/web", "-n", "demo")
    #expect(restarted.status == 0, "\(restarted)")
    let rolled = node.kubectl("rollout", "status", "deployment/web", "-n", "demo", "--timeout=60s")
    #expect(rolled.status == 0, "\(rolled)")
    let pods = Set(
      node.kubectl("get", "pods", "-n", "demo", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}")
        .trimmed.split(separator: " ").map(String.init))
    // One answer is compared with all names: Traefik takes turns, and may never be at the pod that is asked about.
    let isFollowed = eventually(within: 60) {
      let answer = get().standardOutput
      return pods.contains { answer.contains($0) }
    }
    #expect(
      isFollowed != nil,
      "\(get()) is none of \(pods)\n\(told().suffix(3000))")
  }
}

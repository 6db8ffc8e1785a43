// kubectl, new and old, through every kind of command it has: Kubectl/kubectl.script says what each must print. And rows of
// docs/workloads.md on a node with real containers: Rows/rows.script says what each must show.
import Foundation
import Synchronization
import Testing

@Suite(.serialized) struct KubectlScriptTests {
  private struct Script {
    var program: String
    var version: String
    var name: String
    var folder: String
  }

  private static let scripts = [
    Script(program: "kubectl", version: "1.37", name: "kubectl.script", folder: "Kubectl"),
    Script(program: "kubectl-1.20", version: "1.20", name: "kubectl.script", folder: "Kubectl"),
    Script(program: "kubectl", version: "1.37", name: "rows.script", folder: "Rows"),
  ]

  /// Each has a cluster of its own. All run at once: most of the time a command waits for the other side.
  @Test(.timeLimit(.minutes(12))) func `every command of kubectl, old or new, prints what its users know`()
    throws
  {
    let problems = Mutex<[String]>([])
    DispatchQueue.concurrentPerform(iterations: Self.scripts.count) { index in
      let script = Self.scripts[index]
      do {
        let found = try Self.run(script)
        problems.withLock { $0 += found }
      } catch {
        problems.withLock { $0.append("\(script.name), kubectl \(script.version): \(error)") }
      }
    }
    // Only here does the test know itself.
    for problem in problems.withLock({ $0 }) { Issue.record("\(problem)") }
  }

  /// Goes through a script and returns what was not as it says. The script lies in a folder with all that it uses.
  private static func run(_ wanted: Script) throws -> [String] {
    let (name, version) = (wanted.name, wanted.version)
    let folder = Project.root.appending(path: "Tests/EndToEnd/\(wanted.folder)")
    let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
    let script = try CommandScript(text, version: version)
    guard script.sections.count > 30 else { return ["\(name) has \(script.sections.count) sections"] }

    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--http", "none"])
    let ready = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
    guard ready != nil else { return ["no node is ready: \(node.log.suffix(2000))"] }
    let place = try Place(node, folder, wanted.program)
    defer { place.remove() }

    var problems = script.steps.compactMap { step in
      place.problem(step).map { "\(name):\(step.line) (\(step.section), kubectl \(version)): \($0)" }
    }
    if node.stop(SIGINT) != 0 { problems.append("weft up did not end well: \(node.log.suffix(2000))") }
    return problems
  }

  /// A folder with the script's files, a kubeconfig whose namespace is `lab`, and one version of kubectl.
  private struct Place {
    let node: TestNode
    let folder: String

    init(_ node: TestNode, _ files: URL, _ program: String) throws {
      self.node = node
      folder = "\(node.dataFolder)-script"
      try FileManager.default.copyItem(atPath: files.path(), toPath: folder)
      try FileManager.default.createDirectory(atPath: "\(folder)/bin", withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(
        atPath: "\(folder)/bin/kubectl",
        withDestinationPath: Project.root.appending(path: ".tools/bin/\(program)").path())
      try FileManager.default.copyItem(atPath: node.kubeconfig, toPath: "\(folder)/config")
      let chosen = run("kubectl config set-context --current --namespace=lab")
      guard chosen.status == 0 else { throw CommandFailed(output: chosen) }
    }

    func problem(_ step: CommandScript.Step) -> String? {
      var output = run(step.command)
      var problem = step.problem(output.standardOutput, status: output.status)
      if step.isRepeated, problem != nil {
        _ = eventually(within: 120, every: 0.2) {
          output = run(step.command)
          problem = step.problem(output.standardOutput, status: output.status)
          return problem == nil
        }
      }
      return problem.map { "\($0)\n$ \(step.command)\n\(output.standardOutput)status \(output.status)" }
    }

    func run(_ command: String) -> Output {
      node.exec(
        [
          "env", "-C", folder, "KUBECONFIG=\(folder)/config", "HOME=\(folder)", "NO_COLOR=1", "TERM=dumb",
          "PATH=\(folder)/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "bash", "-c",
          "exec 2>&1; . ./helpers.sh; \(command)",
        ], seconds: 150)
    }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }
  }
}

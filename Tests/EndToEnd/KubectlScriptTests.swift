// kubectl, new and old, through every kind of command it has: Kubectl/kubectl.script says what each must print.
import Foundation
import Synchronization
import Testing

@Suite(.serialized) struct KubectlScriptTests {
  private static let folder = Project.root.appending(path: "Tests/EndToEnd/Kubectl")

  /// Each version has a cluster of its own. Both run at once: half of the time a command waits for the other side.
  @Test(.timeLimit(.minutes(8))) func `every command of kubectl, old or new, prints what its users know`()
    throws
  {
    let programs = [("1.37", "kubectl"), ("1.20", "kubectl-1.20")]
    let problems = Mutex<[String]>([])
    DispatchQueue.concurrentPerform(iterations: programs.count) { index in
      let (version, program) = programs[index]
      do {
        let found = try Self.run(program, version)
        problems.withLock { $0 += found }
      } catch {
        problems.withLock { $0.append("kubectl \(version): \(error)") }
      }
    }
    // Only here does the test know itself.
    for problem in problems.withLock({ $0 }) { Issue.record("\(problem)") }
  }

  /// Goes through a script and returns what was not as it says. The script lies in a folder with all that it uses.
  static func run(
    _ program: String, _ version: String, _ name: String = "kubectl.script", in folder: URL = Self.folder
  ) throws -> [String] {
    let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
    let script = try CommandScript(text, version: version)
    guard script.sections.count > 30 else { return ["\(name) has \(script.sections.count) sections"] }

    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--http", "none"])
    let ready = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
    guard ready != nil else { return ["no node is ready: \(node.log.suffix(2000))"] }
    let place = try Place(node, folder, program)
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
        _ = eventually(within: 30, every: 0.2) {
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
        ], seconds: 60)
    }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }
  }
}

// kubectl, new and old, through every kind of command it has: Kubectl/kubectl.script says what each must print.
import Foundation
import Testing

@Suite(.serialized) struct KubectlScriptTests {
  private static let folder = Project.root.appending(path: "Tests/EndToEnd/Kubectl")

  @Test(.timeLimit(.minutes(8)), arguments: [("1.37", "kubectl"), ("1.20", "kubectl-1.20")])
  func `every command of kubectl prints what its users know`(version: String, program: String) throws {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--http", "none"])
    let ready = eventually(within: 30) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
    try #require(ready != nil, "\(node.log)")

    let text = try String(contentsOf: Self.folder.appending(path: "kubectl.script"), encoding: .utf8)
    let script = try CommandScript(text, version: version)
    let place = try Place(node, Self.folder, program)
    defer { place.remove() }
    for step in script.steps {
      var output = place.run(step.command)
      var problem = step.problem(output.standardOutput, status: output.status)
      if step.isRepeated, problem != nil {
        _ = eventually(within: 30, every: 0.2) {
          output = place.run(step.command)
          problem = step.problem(output.standardOutput, status: output.status)
          return problem == nil
        }
      }
      if let problem {
        Issue.record(
          """
          kubectl.script:\(step.line) (\(step.section), kubectl \(version)): \(problem)
          $ \(step.command)
          \(output.standardOutput)status \(output.status)
          """)
      }
    }
    #expect(script.sections.count > 30)
    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(2000))")
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

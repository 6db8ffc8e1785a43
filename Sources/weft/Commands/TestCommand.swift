// `weft test connectivity`: scenarios in a cluster, from the place where users' packets begin.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Observe

struct TestCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test", abstract: "Try in a cluster what pods and people rely on.",
    subcommands: [ConnectivityCommand.self])
}

struct ConnectivityCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "connectivity",
    abstract: "Pods, Services, names, policies, nodes, ingress: a line each.",
    discussion: """
      Makes a namespace of its own, pods and Services in it, and removes it at the end, after Ctrl-C too. Nothing is pulled when the image
      is on the nodes. Scenarios that the cluster cannot have (another node, a load balancer, an ingress) are skipped, and said.
      Exit code: 0 all passed, 1 one failed, 3 the cluster does not answer.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "The image of all pods: a shell with wget, nslookup and httpd, and `serve PORT`.")
  var image = "weft.local/demo:1"
  @Option(help: "Write JUnit's XML to this file, for build servers.") var junit: String?
  @Option(help: "How long the servers, and then the scenarios, may take: 90s, 5m.") var timeout = "2m"
  @Flag(help: "Leave the namespace for looking around.") var keep = false
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  func run() async throws {
    logging.apply(quiet: true)
    guard let limit = GoDuration.parse(timeout), limit > .zero else {
      throw WeftError(
        "CLI0162", object: "--timeout \(timeout)", cause: "is no length of time", next: "write 90s or 5m")
    }
    let view = try await cluster.view()
    let ground = ConnectivityGround(view, namespace: Self.freshName(view), image: image)
    guard !ground.nodes.isEmpty else {
      throw WeftError(
        "CLI0163", object: "the cluster", cause: "has no node that is ready, so no pod can be tried",
        next: "kubectl get nodes; weft check", exit: .finding)
    }
    let run = ConnectivityRun(
      api: try cluster.remote(), plan: ConnectivityPlan(ground), seconds: limit / .seconds(1))
    Terminal.complain("namespace \(ground.namespace), \(ground.nodes.count) nodes")
    let work = Task { try await run.run() }
    let stopping = Task {
      _ = await StopSignal.wait()
      work.cancel()
    }
    defer { stopping.cancel() }
    let result = await work.result
    if keep {
      Terminal.complain("kept; when done: kubectl delete namespace \(ground.namespace)")
    } else if !(await run.remove()) {
      Terminal.complain(
        "namespace \(ground.namespace) is still there: kubectl delete namespace \(ground.namespace)")
    }
    let report: ConnectivityReport
    do {
      report = try result.get()
    } catch is CancellationError {
      throw WeftError(
        "CLI0164", object: "weft test connectivity", cause: "was ended", next: "run it again", exit: .finding)
    }
    if let junit { try TextFile.write(report.junit, to: junit, code: "CLI0165") }
    Terminal.say(output == .json ? report.json.text : report.text(colour: Terminal.usesColour))
    if !report.hasPassed { throw Finding(status: .finding) }
  }

  /// A name that no namespace of the cluster has.
  private static func freshName(_ view: ClusterView) -> String {
    while true {
      let name = "weft-test-" + String(UInt32.random(in: 0x1000_0000...UInt32.max), radix: 16)
      if view.namespaces[name] == nil { return name }
    }
  }
}

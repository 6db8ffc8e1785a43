// `weft diff`: what would change in this node's kernel if its rules were put in force now.

import ArgumentParser
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Observe
import Ruleset

struct DiffCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff",
    abstract: "What is planned against what is in force: rules, routes, FDB, neighbours, DNS names.",
    discussion: """
      Nothing is changed. Rules of Services and policies, routes and tunnel to other nodes, and the names that this node's DNS answers. With `weft up` or `weft proxy` running, lines that stay mean that somebody else edits our tables, or
      that the kernel refused them. Exit code: 0 equal, 1 they differ, 3 the cluster or the kernel cannot be read.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "The node whose rules are planned. Default: this machine.") var nodeName: String?
  @Option(
    help: "The data directory of this machine's `weft up` or `weft node`. Default: the kubeconfig's folder.")
  var dataDir: String?
  @Flag(help: "NetworkPolicy is not enforced here (`weft proxy --no-policy`).") var noPolicy = false
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  func run() async throws {
    logging.apply(quiet: true)
    let view = try await cluster.view()
    let path = cluster.manifests == nil ? try? cluster.path() : nil
    let source = NodeRules.Source(
      nodeName: nodeName, kubeconfig: path, view: view, policy: !noPolicy, dataFolder: dataDir)
    let (rules, _) = try await NodeRules.settled(source) { try await cluster.view() }
    guard !rules.needsDataFolder else {
      throw WeftError(
        "CLI0047", object: "node \(source.nodeName)",
        cause:
          "its rules were planned with what stands in its data directory, and nothing says where that is",
        next: "name it: --data-dir DIR, as `weft up` or `weft node` was given it", exit: .unreachable)
    }
    let paths = try await ObservedPaths.settled(view, nodeName: source.nodeName)
    let names = await ServedZone.differences(
      view, resolver: NodeRules.dnsAddress(view), isHere: source.dataFolder != nil)
    let report = DifferenceReport(
      node: source.nodeName, operations: rules.operations.map(\.description),
      weight: rules.operations.reduce(0) { $0 + $1.weight }, paths: paths, names: names,
      tables: rules.inForce.tables.count)
    switch output {
    case .json: Terminal.say(report.json.text)
    case .text:
      if !report.isEqual { Terminal.say(report.text(colour: Terminal.usesColour)) }
      Terminal.complain(report.summary)
    }
    if !report.isEqual { throw Finding(status: .finding) }
  }
}

// `weft status`: is everything there? The API, the nodes, what is left out, and this node's rules in the kernel.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "API, nodes, objects, and whether this node's rules are in force as planned.",
    discussion: "Exit code: 0 all well, 1 something is not, 3 the API server does not answer.")

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "The node whose rules are compared. Default: this machine.") var nodeName: String?
  @Option(
    help: "The data directory of this machine's `weft up` or `weft node`. Default: the kubeconfig's folder.")
  var dataDir: String?
  @Flag(help: "NetworkPolicy is not enforced here (`weft proxy --no-policy`).") var noPolicy = false
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  func run() async throws {
    logging.apply(quiet: true)
    guard cluster.manifests == nil else {
      throw WeftError(
        "CLI0034", object: "--manifests", cause: "a folder has no status",
        next: "ask a cluster, with --kubeconfig FILE")
    }
    let path = try cluster.path()
    let server = try await ServerState(cluster.remote())
    let first = try await cluster.view()
    let source = NodeRules.Source(
      nodeName: nodeName, kubeconfig: path, view: first, policy: !noPolicy, dataFolder: dataDir)
    var view = first
    let kernel: KernelState
    do {
      let (rules, latest) = try await NodeRules.settled(source) { try await cluster.view() }
      view = latest
      kernel = KernelState(rules, isNode: source.isOfThisMachine)
    } catch let error as WeftError where error.code == "NET0010" {
      kernel = .unreadable(error.cause)
    }
    let status = ClusterStatus(server: server, view: view, nodeName: source.nodeName, kernel: kernel)
    Terminal.say(output == .json ? status.json.text : status.text)
    if !status.isWell { throw Finding(status: .finding) }
  }
}

// `weft map`: who speaks to which Service, how often, and what is refused by whom; the last minute of every node.

import ArgumentParser
import ClusterClient
import ClusterObjects
import Diagnostics
import Observe

struct MapCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "map", abstract: "Who speaks to which Service: rate, errors, duration, refusals.",
    discussion: """
      What the nodes have seen within the last half to one minute, refused pairs first. A connection that ends unanswered is an error;
      LASTED is the time of ended connections, as an upper bound. Nodes are asked through the API server (`get` on `nodes/proxy`).
      Exit code: 0, 1 a node does not tell, 2 a flag cannot be read, 3 the API server does not answer.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "Ask this node alone.") var node: String?
  @Option(help: "So many pairs of each node at most.") var limit = 1000
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  func run() async throws {
    logging.apply(quiet: true)
    guard (1...FlowEdges.pairsMax).contains(limit) else {
      throw WeftError(
        "CLI0172", object: "--limit \(limit)", cause: "is no number from 1 to \(FlowEdges.pairsMax)",
        next: "leave it out", exit: .usage)
    }
    let pages = try NodePageClient(cluster.remote())
    let names = if let node { [node] } else { try await pages.nodes() }
    let answers = await pages.read("edges", of: names) { [limit] _ in [("limit", "\(limit)")] }
    var list = FlowEdgeList(seconds: 1)
    var isWhole = true
    for (name, answer) in answers {
      if case .success(let tree) = answer, let told = FlowEdgeList(tree) {
        list.merge(told)
      } else {
        isWhole = false
        var reason = "its answer cannot be read"
        if case .failure(let error) = answer { reason = NodePageClient.reason(error) }
        Terminal.complain("node \(name) does not tell: \(reason)")
      }
    }
    switch output {
    case .json: Terminal.say(list.json.text)
    case .text:
      Terminal.say(Terminal.table([FlowEdgeList.header] + list.rows))
      if list.isCut { Terminal.complain("there are more pairs: --limit") }
    }
    if !isWhole { throw Finding(status: .finding) }
  }
}

// `weft rules NAMESPACE/SERVICE`: what of the kernel's tables belongs to one Service.

import ArgumentParser
import ClusterClient
import ClusterObjects
import Diagnostics
import Proxy

struct RulesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rules", abstract: "One Service in this node's kernel: addresses, balancing, endpoints.",
    discussion: """
      Reads the kernel's tables in this network namespace and shows the chain that chooses and the elements that belong to the Service.
      With --node that node is asked through the API server. Exit code: 0, 1 the Service has no rules there, 2 it cannot be read,
      3 nobody answers.
      """)

  @Argument(help: "NAMESPACE/NAME, or NAME with -n.") var service: String
  @Option(help: "Ask this node, by way of the API server.") var node: String?
  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  func run() async throws {
    logging.apply(quiet: true)
    let parts = service.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count <= 2, !parts.contains("") else {
      throw WeftError(
        "CLI0173", object: service, cause: "names no Service", next: "write it as NAMESPACE/NAME",
        exit: .usage)
    }
    let key = parts.count == 2 ? ObjectKey(parts[0], parts[1]) : ObjectKey(cluster.namespace, service)
    var tree: JSON
    var text: String
    if let node {
      tree = try await NodePageClient(cluster.remote()).read(node, "rules", [("service", "\(key)")])
      text = ServiceRules(tree)?.text ?? ""
    } else {
      let rules = ServiceRules(of: key, in: try NodeRules.observe())
      tree = rules.json
      tree["service"] = JSON("\(key)")
      text = rules.text
    }
    Terminal.say(output == .json ? tree.text : text)
    if text.isEmpty {
      if output == .text { Terminal.complain("\(key) has no rules here") }
      throw Finding(status: .finding)
    }
  }
}

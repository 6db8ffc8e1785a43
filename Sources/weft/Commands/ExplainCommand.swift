// `weft explain SOURCE DESTINATION`: why a connection arrives, or does not.

import ArgumentParser
import ClusterObjects
import ClusterView
import DNS
import Diagnostics
import Observe
import Policy

struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Follow a connection: name, Service, endpoints, policy, kernel.",
    discussion: """
      SOURCE is a pod (NAMESPACE/NAME) or an address. DESTINATION is a Service, else a pod (NAMESPACE/NAME, svc/NAMESPACE/NAME,
      pod/NAMESPACE/NAME), an address or a DNS name, with :PORT and /PROTOCOL.
      With --live a packet is sent, and the kernel tells which rules it meets; what it does against the objects' promise is an error.
      Exit code: 0 it would arrive, 1 it would not, 2 the question cannot be read, 3 the cluster does not answer.
      """)

  @Argument(help: "Where it comes from.") var source: String
  @Argument(help: "Where it goes to.") var destination: String
  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "The node whose point of view and kernel are taken.") var nodeName: String?
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text
  @Flag(help: "Do not read the ruleset from the kernel.") var noKernel = false
  @Flag(
    help:
      "Send one packet, and show each rule that it meets. On the source's node, as root; it begins a connection and ends it."
  )
  var live = false

  func run() async throws {
    logging.apply(quiet: true)
    var view = try await cluster.view()
    if !noKernel, cluster.manifests == nil, let inForce = try? NodeRules.observe() {
      view.adoptAnswers(from: inForce)
    }
    let node = nodeName ?? view.nodes.keys.sorted().first ?? NodeAddress.hostName
    let zone = planZone(view: view, settings: ZoneSettings())
    var explainer = Explainer(view: view, nodeName: node, observed: nil) { ZoneNames.answer(zone, $0) }
    explainer.localAddresses = Set((try? NodeAddress.all(besides: "")) ?? [])
    if !noKernel, cluster.manifests == nil {
      explainer.observed = ObservedRuleset.read(view: view, nodeName: node)
    }
    var explanation = try explainer.explain(from: source, to: destination, namespace: cluster.namespace)
    if live {
      let isOwn = explanation.asked.map { explainer.localAddresses.contains($0.source) } ?? false
      try LiveExplainer().add(to: &explanation, isOwn: isOwn, planned: explainer.observed)
    }
    switch output {
    case .json: Terminal.say(explanation.json.text)
    case .text: Terminal.say(explanation.text(colour: Terminal.usesColour))
    }
    if explanation.verdict != .allow || live && explanation.kernel == .differs {
      throw Finding(status: .finding)
    }
  }
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case text, json
}

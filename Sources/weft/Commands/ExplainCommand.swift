// `weft explain SOURCE DESTINATION`: why a connection arrives, or does not.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DNS
import DataPlane
import Diagnostics
import GatewayAPI
import Ingress
import Observe
import Policy

struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Follow a connection: name, ingress, Service, endpoints, policy, way, kernel.",
    discussion: """
      SOURCE is a pod (NAMESPACE/NAME) or an address. DESTINATION is a Service, else a pod (NAMESPACE/NAME, svc/NAMESPACE/NAME,
      pod/NAMESPACE/NAME), an address or a DNS name, with :PORT and /PROTOCOL; or a request from outside, http://HOST/PATH.
      With --live a packet is sent, and the kernel tells which rules it meets. What the kernel does against the objects' promise is an
      error. With --offline nothing is asked but manifests: a workload stands for a pod of its template.
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
      "Send one packet, and show each rule that it meets: as root on the source's node, which is asked through the API server when it is another one. It begins a connection and ends it."
  )
  var live = false
  @Flag(help: "Ask neither a cluster nor a kernel, but the manifests of -f.") var offline = false
  @Option(name: [.short, .customLong("filename")], help: "A file or a folder of manifests, for --offline.")
  var file: String?

  func validate() throws {
    if offline, file == nil, cluster.manifests == nil {
      throw ValidationError("--offline needs -f FILE or -f FOLDER")
    }
    if live, offline || file != nil { throw ValidationError("--live and --offline exclude each other") }
  }

  func run() async throws {
    logging.apply(quiet: true)
    var explanation: Explanation
    if let file = file ?? (offline ? cluster.manifests : nil) {
      explanation = try explainManifests(file)
    } else {
      explanation = try await explainCluster()
    }
    switch output {
    case .json: Terminal.say(explanation.json.text)
    case .text: Terminal.say(explanation.text(colour: Terminal.usesColour))
    }
    if explanation.verdict != .allow || explanation.kernel == .differs { throw Finding(status: .finding) }
  }

  private func explainManifests(_ path: String) throws -> Explanation {
    let objects = try Manifests.read(path)
    let view = RehearsedCluster.view(of: objects)
    let zone = planZone(view: view, settings: ZoneSettings())
    var explainer = Explainer(
      view: view, nodeName: nodeName ?? view.nodes.keys.sorted().first ?? "", observed: nil
    ) { ZoneNames.answer(zone, $0) }
    explainer.takeReferences(objects)
    return try explainer.explain(
      from: source, to: destination, namespace: cluster.names.chosen(nil))
  }

  private func explainCluster() async throws -> Explanation {
    let api = try await cluster.api()
    var view = try await ClusterOptions.view(of: api)
    if !noKernel, cluster.manifests == nil, let inForce = try? NodeRules.observe() {
      view.adoptAnswers(from: inForce)
    }
    let own = NodeNote.read()?.nodeName
    let node =
      nodeName ?? own.flatMap { view.nodes[$0]?.name } ?? view.nodes.keys.sorted().first
      ?? NodeAddress.hostName
    let isRequest = destination.hasPrefix("http://") || destination.hasPrefix("https://")
    if isRequest { try await ClusterOptions.addGateways(to: &view, of: api) }
    let zone = planZone(view: view, settings: ZoneSettings())
    var explainer = Explainer(view: view, nodeName: node, observed: nil) { ZoneNames.answer(zone, $0) }
    explainer.localAddresses = Set((try? NodeAddress.all(besides: "")) ?? [])
    if isRequest {
      await explainer.readReferences(api)
    }
    if !noKernel, cluster.manifests == nil { explainer.readKernel() }
    var explanation = try explainer.explain(from: source, to: destination, namespace: cluster.namespace)
    if live {
      // What carries the source's packets first is the ruleset of its own node.
      let home = explanation.asked.flatMap { view.pod(at: $0.source)?.nodeName } ?? ""
      let isElsewhere = nodeName == nil && !home.isEmpty
      if isElsewhere, let own, own != home { return try await askNode(home) }
      let isOwn = explanation.asked.map { explainer.localAddresses.contains($0.source) } ?? false
      do throws(WeftError) {
        try LiveExplainer().add(to: &explanation, isOwn: isOwn, planned: explainer.observed)
      } catch {
        // Nothing says that this machine is a node.
        guard isElsewhere, own == nil else { throw error }
        return try await askNode(home)
      }
    }
    return explanation
  }

  /// That node explains, and sends the packet. Throws `CLI0185`.
  private func askNode(_ name: String) async throws -> Explanation {
    do {
      let tree = try await NodePageClient(cluster.remote()).read(
        name, "explain",
        [("from", source), ("to", destination), ("namespace", cluster.namespace), ("live", "true")])
      guard let explanation = Explanation(json: tree) else {
        throw APIStatusError(code: 502, reason: "BadGateway", message: "its answer is no explanation")
      }
      return explanation
    } catch let error as APIStatusError {
      throw WeftError(
        "CLI0185", object: "node \(name)",
        cause: "the source is there, and it sends no packet for us: \(NodePageClient.reason(error))",
        next: error.code == 403
          ? "get on nodes/proxy allows it: kubectl auth can-i get nodes --subresource=proxy"
          : "run the same command on \(name) as root", exit: .finding, underlying: error)
    }
  }
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case text, json
}

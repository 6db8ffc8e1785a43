// `weft proxy`: the service proxy and NetworkPolicy of one node, against any API server or a folder of manifests.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import KernelNftables
import Logging
import Policy
import Proxy
import Ruleset

struct ProxyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "proxy", abstract: "Services and NetworkPolicy of one node, in nftables.")

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "The node whose rules these are. Default: the machine's name.") var nodeName: String?
  @Option(help: "Addresses of pods; what goes elsewhere is masqueraded.") var clusterCidr: String?
  @Flag(help: "Apply once and exit.") var once = false
  @Flag(name: .customLong("print"), help: "Print the ruleset in nft syntax and touch nothing.") var printsOnly = false
  @Flag(help: "Do not enforce NetworkPolicy.") var noPolicy = false
  @Option(name: .shortAndLong, help: "With --once: json prints what was done.") var output: OutputFormat = .text
  @Option(help: "Where metrics are served; `none` for nowhere.") var metrics = "127.0.0.1:10249"
  @Option(help: "Where health is served; `none` for nowhere.") var healthz = "0.0.0.0:10256"

  func run() async throws {
    logging.apply(quiet: once || printsOnly)
    if printsOnly {
      let view = try await cluster.view()
      let plan = planProxy(view, try configuration())
      let policy = noPolicy ? [] : planPolicy(view: view, attachments: [], settings: policySettings)
      Terminal.say(Ruleset(plan.tables + policy).description)
      return
    }
    let worker = try Kernel.worker(policy: !noPolicy)
    if once { return try await applyOnce(worker) }
    let informers = SharedInformers(api: try await cluster.api())
    let follower = ViewFollower()
    try await follower.start(informers)
    let plane = NodeNetwork(
      follower: follower, worker: worker, proxy: try syncer(worker), policy: noPolicy ? nil : policySettings, book: nil)
    let status = try StatusPages(metrics: metrics, healthz: healthz)
    let loop = Task { await plane.run() }
    _ = await StopSignal.wait()
    // The rules stay, as kube-proxy's do: connections go on while it is replaced.
    follower.stop()
    loop.cancel()
    status.stop()
    await informers.stop()
    worker.stop()
  }

  private var name: String { nodeName ?? NodeAddress.hostName }
  private var policySettings: PolicySettings { PolicySettings(nodeName: name) }

  private func configuration() throws(WeftError) -> ProxyConfiguration {
    var configuration = ProxyConfiguration(nodeName: name)
    if let clusterCidr {
      guard let block = IPPrefix(clusterCidr) else {
        throw WeftError("CLI0002", object: "--cluster-cidr \(clusterCidr)", cause: "is no address block", next: "write it as 10.42.0.0/16")
      }
      configuration.clusterNetworks = [block]
    }
    configuration.nodePortAddresses = try NodeAddress.all(besides: "")
    return configuration
  }

  private func syncer(_ worker: RulesetWorker) throws -> ProxySyncer {
    ProxySyncer(worker: worker, configuration: try configuration(), logger: Logger(label: "proxy"))
  }

  private func applyOnce(_ worker: RulesetWorker) async throws {
    let view = try await cluster.view()
    async let services = try syncer(worker).sync(view)
    if !noPolicy {
      try await worker.commit(
        NodeNetwork.policyPlanner, planPolicy(view: view, attachments: [], settings: policySettings))
    }
    let report = try await services
    worker.stop()
    if output == .json { Terminal.say(report.json(unreadable: view.quarantined.values).text) }
  }
}

extension ProxyReport {
  /// The stable form of `--once -o json`.
  func json(unreadable: some Sequence<UnreadableObject>) -> JSON {
    func milliseconds(_ value: Double) -> JSON { .number("\((value * 1000).rounded() / 1000)") }
    let left =
      quarantined.map { ($0.object, $0.reason) } + unreadable.map { ("\($0.kind) \($0.key)", $0.description) }.sorted { $0 < $1 }
    return [
      "services": JSON(services), "endpoints": JSON(endpoints), "operations": JSON(operations),
      "netlinkBytes": JSON(netlinkBytes), "readMilliseconds": milliseconds(readMilliseconds),
      "planMilliseconds": milliseconds(planMilliseconds), "commitMilliseconds": milliseconds(commitMilliseconds),
      "quarantined": .array(left.map { ["object": JSON($0.0), "reason": JSON($0.1)] }),
    ]
  }
}

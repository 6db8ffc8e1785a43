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
import Observe
import Policy
import Proxy
import Ruleset

struct ProxyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "proxy", abstract: "Services and NetworkPolicy of one node, in nftables.",
    discussion: """
      Takes kube-proxy's place on any cluster: its flags, its config file, its metrics and health pages. When the API server is
      away, at start or later, rules stay in force as they are. Rules stay, too, when it ends: remove them with --cleanup.
      With --mode userspace it relays connections itself: without any right node ports, with CAP_NET_ADMIN ClusterIPs too.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(
    name: [.customLong("node-name"), .customLong("hostname-override")],
    help: "The node whose rules these are. Default: the machine's name.")
  var nodeName: String?
  @Flag(help: "Apply once and exit.") var once = false
  @Flag(name: .customLong("print"), help: "Print the ruleset in nft syntax and touch nothing.")
  var printsOnly = false
  @Flag(help: "Do not enforce NetworkPolicy: the API rights of kube-proxy are enough then.") var noPolicy =
    false
  @Flag(
    help: """
      With --mode userspace: local endpoints behind a Local policy see the client's address. Needs CAP_NET_ADMIN.
      """)
  var transparentSource = false
  @Flag(help: "Remove the tables that earlier runs left in force, and exit.") var cleanup = false
  @Flag(help: "Remove the rules that a kube-proxy left in force (iptables, nftables, IPVS link), and exit.")
  var cleanupKubeProxy = false
  @Option(name: .shortAndLong, help: "With --once: json prints what was done.") var output: OutputFormat =
    .text
  @Option(help: "A folder where flows.sock is made, for `weft flows`. Default: flows are not kept.")
  var runDir: String?
  @OptionGroup var flows: FlowOptions
  @OptionGroup(title: "kube-proxy's settings") var options: KubeProxyOptions

  func run() async throws {
    logging.apply(quiet: once || printsOnly || cleanup || cleanupKubeProxy)
    if cleanup || cleanupKubeProxy { return try cleanUp() }
    let settings = try options.settings()
    if printsOnly { return try await printRules(settings) }
    if once { return try await applyOnce(settings) }
    try ProxyRun.prepareMachine(settings)
    let isRelay = settings.mode == .userspace
    if isRelay, !noPolicy {
      Logger(label: "proxy").warning("NetworkPolicy is not enforced in mode userspace: it needs nftables")
    }
    if !isRelay { warnOfLeftovers() }
    if !isRelay, transparentSource {
      Logger(label: "proxy").warning("--transparent-source has no effect: rules keep sources by themselves")
    }
    var run = ProxyRun(
      settings: settings, nodeName: name(settings), enforcesPolicy: !noPolicy && !isRelay,
      isCluster: cluster.manifests == nil, keepsSources: transparentSource)
    run.flows = try flows.settings()
    run.flowSocketPath = runDir.map { "\($0)/\(FlowSettings.socketName)" }
    run.captureSocketPath = runDir.map { "\($0)/\(CaptureServer.socketName)" }
    try await run.run(api: try await api(settings))
  }

  private func policySettings(_ settings: KubeProxySettings) throws(WeftError) -> PolicySettings {
    PolicySettings(nodeName: name(settings), logging: try flows.settings().logging)
  }

  private func name(_ settings: KubeProxySettings) -> String {
    nodeName ?? settings.hostnameOverride ?? NodeAddress.hostName
  }

  /// The API: flags first, then the config file, then what every command looks for.
  private func api(_ settings: KubeProxySettings) async throws -> any ClusterAPI {
    if cluster.manifests != nil { return try await cluster.api() }
    var cluster = cluster
    if cluster.kubeconfig == nil { cluster.kubeconfig = settings.kubeconfig }
    var kubeconfig: Kubeconfig
    if let master = settings.master, cluster.kubeconfig == nil, !Kubeconfig.isInCluster {
      kubeconfig = Kubeconfig(server: master)
    } else {
      kubeconfig = try cluster.configuration()
      if let master = settings.master { kubeconfig.server = master }
    }
    return try RemoteClient(kubeconfig: kubeconfig, userAgent: "weft-proxy")
  }

  private func cleanUp() throws {
    if cleanup {
      UserspaceProxy.removeAddresses()
      try Kernel.worker(policy: true).stop(removingTables: true)
    }
    guard cleanupKubeProxy else { return }
    let found = KubeProxyLeftovers.find()
    try found.remove()
    Terminal.complain(found.isEmpty ? "kube-proxy left nothing here" : "removed: \(found.summary)")
  }

  private func warnOfLeftovers() {
    let found = KubeProxyLeftovers.find()
    guard !found.isEmpty else { return }
    Logger(label: "proxy").warning(
      "rules of a kube-proxy are in force beside ours: stop it, then run: weft proxy --cleanup-kube-proxy",
      metadata: ["found": "\(found.summary)"])
  }

  private func view(_ settings: KubeProxySettings) async throws -> ClusterView {
    try await ClusterOptions.view(of: api(settings), resources: ProxyRun.resources(policy: !noPolicy))
  }

  private func printRules(_ settings: KubeProxySettings) async throws {
    let view = try await view(settings)
    let configuration = try ProxyRun.configuration(settings, nodeName: name(settings), view: view)
    for object in view.quarantined.values.map(\.description).sorted() {
      Terminal.complain("PRX0003 \(object); left out of the rules; correct the object")
    }
    if settings.mode == .userspace { return Terminal.say(planUserspace(view, configuration).text) }
    let plan = planProxy(view, configuration)
    let policy =
      noPolicy
      ? [] : planPolicy(view: view, attachments: [], settings: try policySettings(settings))
    Terminal.say(Ruleset(plan.tables + policy).description)
  }

  private func applyOnce(_ settings: KubeProxySettings) async throws {
    guard settings.mode == .nftables else {
      throw WeftError(
        "PRX0018", object: "--once",
        cause: "mode userspace relays in this process and leaves nothing in force",
        next: "leave --once out, or use --mode nftables")
    }
    let worker = try Kernel.worker(policy: !noPolicy)
    let view = try await view(settings)
    let syncer = ProxySyncer(
      worker: worker,
      configuration: try ProxyRun.configuration(settings, nodeName: name(settings), view: view),
      logger: Logger(label: "proxy"))
    async let services = syncer.sync(view)
    if !noPolicy {
      let policy = try policySettings(settings)
      try await worker.commit(
        NodeNetwork.policyPlanner, planPolicy(view: view, attachments: [], settings: policy))
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
      quarantined.map { ($0.object, $0.reason) }
      + unreadable.map { ("\($0.kind) \($0.key)", $0.description) }.sorted { $0 < $1 }
    return [
      "services": JSON(services), "endpoints": JSON(endpoints), "operations": JSON(operations),
      "netlinkBytes": JSON(netlinkBytes), "readMilliseconds": milliseconds(readMilliseconds),
      "planMilliseconds": milliseconds(planMilliseconds),
      "commitMilliseconds": milliseconds(commitMilliseconds),
      "quarantined": .array(left.map { ["object": JSON($0.0), "reason": JSON($0.1)] }),
    ]
  }
}

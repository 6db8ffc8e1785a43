// The rules of one node as its data plane would plan them now, beside those that are in force: what `status` and `diff` compare.

import Addresses
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Glibc
import KernelNftables
import Policy
import Proxy
import Ruleset

/// One comparison. Reads, never changes.
struct NodeRules {
  var wanted: Ruleset
  var inForce: InForce
  /// What leads from the kernel's tables to the wanted ones; empty when they are equal.
  var operations: [Operation]
  /// Left out of the plan, with reasons.
  var quarantined: [QuarantinedObject]
  private var hasDataFolder: Bool

  /// Where the data plane of this node has its settings from.
  struct Source {
    var nodeName: String
    /// The data directory of a `weft up` or `weft node` on this machine; nil when `weft proxy` runs here.
    var dataFolder: String?
    var enforcesPolicy = true
    /// False when nothing says that this machine is a node of the cluster.
    var isOfThisMachine: Bool
    /// Rules in force may be a moment behind the API: a difference counts when it is still there after this many looks.
    static let looksMax = 4
    static let lookPause: Duration = .milliseconds(250)

    /// - Parameters:
    ///   - kubeconfig: lies in the data directory of a `weft up`, if there is one on this machine.
    ///   - dataFolder: that directory, when it is elsewhere.
    init(nodeName: String?, kubeconfig: String?, view: ClusterView, policy: Bool, dataFolder given: String?) {
      let host = NodeAddress.hostName
      // Who runs in this network namespace has said where its files are. Its node may be one of another cluster.
      let note = NodeNote.read().flatMap { note in
        view.nodes[note.nodeName] != nil && nodeName ?? note.nodeName == note.nodeName ? note : nil
      }
      let only = view.nodes.count == 1 ? view.nodes.keys.first : nil
      self.nodeName = nodeName ?? note?.nodeName ?? (view.nodes[host] == nil ? only : nil) ?? host
      enforcesPolicy = policy
      isOfThisMachine = nodeName != nil || note != nil || view.nodes[host] != nil
      var beside = (kubeconfig ?? "")[...]
      while !beside.isEmpty, beside.last != "/" { beside.removeLast() }
      let folder = beside.isEmpty ? "." : String(beside.dropLast())
      if let given = given ?? note?.dataFolder {
        dataFolder = given
        isOfThisMachine = true
      } else if kubeconfig != nil, access("\(folder)/cni", F_OK) == 0 {
        dataFolder = folder
        isOfThisMachine = true
      }
    }
  }

  /// Throws `NET0010` when the kernel cannot be read.
  static func compare(_ view: ClusterView, _ source: Source) throws(WeftError) -> NodeRules {
    let inForce = try observe()
    var view = view
    view.adoptAnswers(from: inForce)
    var configuration = try proxyConfiguration(view, source)
    configuration.adopt(from: inForce)
    var allocation: [IPFamily: ProxyAllocation] = [:]
    for family in configuration.families {
      if let table = inForce.tables[ProxyTables.id(family)] {
        allocation[family] = ProxyAllocation(recovering: table, family: family)
      }
    }
    let proxy = planProxy(view, configuration, previous: allocation)
    var tables = proxy.tables
    if source.enforcesPolicy { tables += try planPolicies(view, source, inForce) }
    if source.dataFolder != nil, let address = dnsAddress(view) { tables += UntrackedDNS.plan(address) }
    let wanted = Ruleset(tables)
    return NodeRules(
      wanted: wanted, inForce: inForce, operations: wanted.operations(from: inForce),
      quarantined: proxy.quarantined, hasDataFolder: source.dataFolder != nil)
  }

  /// Looks again while there are differences: a change may just be on its way from the API to the kernel.
  static func settled(_ source: Source, view: () async throws -> ClusterView) async throws -> (
    NodeRules, ClusterView
  ) {
    var look = 1
    while true {
      let now = try await view()
      let rules = try compare(now, source)
      if rules.operations.isEmpty || rules.isAbsent || rules.needsDataFolder || look >= Source.looksMax {
        return (rules, now)
      }
      look += 1
      try await Task.sleep(for: Source.lookPause)
    }
  }

  /// What is in force was planned with what stands in a data directory that nobody has named: pods' own links and addresses.
  var needsDataFolder: Bool {
    !hasDataFolder && inForce.tables[Table.ID(.bridge, PolicyNames.guardTable)] != nil
  }

  /// None of our tables is there.
  var isAbsent: Bool { inForce.tables.isEmpty }

  static func observe() throws(WeftError) -> InForce {
    do {
      return try NftablesSocket().observe(NodeNetwork.tables)
    } catch {
      throw WeftError(
        "NET0010", object: "nftables", cause: "cannot be read (\(error))",
        next: "run as root, in the node's network namespace: nft list tables", exit: .unreachable,
        underlying: error)
    }
  }

  private static func proxyConfiguration(_ view: ClusterView, _ source: Source) throws(WeftError)
    -> ProxyConfiguration
  {
    var configuration = ProxyConfiguration(nodeName: source.nodeName)
    guard source.dataFolder != nil else {
      configuration.nodePortAddresses = try NodeAddress.all(besides: "")
      return configuration
    }
    let blocks = view.nodes[source.nodeName]?.podCIDRs ?? []
    if !blocks.isEmpty { configuration.families = blocks.map(\.family) }
    configuration.podNetworks = blocks
    let own = try NodeAddress.all(besides: LocalClusterSettings.bridge)
    configuration.nodePortAddresses = own.isEmpty ? blocks.compactMap { $0.address(at: 1) } : own
    return configuration
  }

  /// Cluster DNS is the tenth address of the Services' block, whose first is the API's.
  static func dnsAddress(_ view: ClusterView) -> IPAddress? {
    switch view.services[ObjectKey("default", "kubernetes")]?.clusterIPs.first {
    case .v4(let four): .v4(IPv4Address(bits: four.bits &+ 9))
    case .v6(let six): .v6(IPv6Address(bits: six.bits &+ 9))
    case nil: nil
    }
  }

  private static func planPolicies(
    _ view: ClusterView, _ source: Source, _ inForce: InForce
  ) throws(WeftError) -> [Table] {
    var settings = PolicySettings(nodeName: source.nodeName, logging: .adopt(from: inForce))
    guard let folder = source.dataFolder else {
      return planPolicy(view: view, attachments: [], settings: settings)
    }
    settings.podBlocks = view.nodes[source.nodeName]?.podCIDRs ?? []
    settings.gateways = settings.podBlocks.compactMap { $0.address(at: 1) }
    let book = try AttachmentBook(path: "\(folder)/attachments.json")
    return planPolicy(view: view, attachments: book.attachments, settings: settings)
  }
}

// Keeps the ways to other nodes as the Node objects say: at each change, and once a minute against what others did to them.

import Addresses
import ClusterView
import Diagnostics
import KernelNetlink
import Logging

/// The routes and the tunnel of one node. `take` each new view; `run` repairs until it is cancelled.
public actor NodePathKeeper {
  private let settings: NodePathSettings
  private let addresses: [IPAddress]
  private let namespace: String?
  private var nodes: [Node] = []
  private var isKnown = false
  private var reported: [String: String] = [:]
  private let log = Logger(label: "node-paths")
  private let count = Metrics.shared.gauge("weft_node_paths", "Pod blocks of other nodes with a route.")
    .child()
  private let without = Metrics.shared.gauge(
    "weft_node_paths_unreachable", "Nodes that this one has no way to."
  ).child()
  private let failures = Metrics.shared.counter(
    "weft_node_path_failures_total", "Changes of routes or tunnel that the kernel refused."
  ).child()

  /// How often everything is compared with the kernel.
  public static let repairPeriod: Duration = .seconds(60)

  /// - Parameters:
  ///   - addresses: this node's, by which others know it; the link that has the first of them is the uplink.
  ///   - namespace: the path of the network namespace to act on; nil for the calling thread's.
  public init(_ settings: NodePathSettings, addresses: [IPAddress], namespace: String? = nil) {
    self.settings = settings
    self.addresses = addresses
    self.namespace = namespace
  }

  /// Takes a new view. Nothing happens unless what matters of its nodes has changed.
  public func take(_ view: ClusterView) { take(nodes: Array(view.nodes.values)) }

  /// The same with the nodes alone.
  public func take(nodes all: [Node]) {
    let new = all.map { node in
      var kept = node
      // Neither moves a route.
      kept.labels = [:]
      kept.isReady = true
      return kept
    }.sorted { $0.name < $1.name }
    if isKnown, new == nodes { return }
    nodes = new
    isKnown = true
    apply()
  }

  /// Compares with the kernel now and then, until cancelled.
  public func run() async {
    while (try? await Task.sleep(for: Self.repairPeriod)) != nil {
      if isKnown { apply() }
    }
  }

  /// Takes everything away.
  public func remove() throws {
    try inNamespace { () throws in try NodePaths.remove() }
  }

  private func apply() {
    do {
      let plan: NodePaths? = try inNamespace {
        guard let uplink = try Uplink.observe(addresses) else { return nil }
        let plan = planPaths(nodes: nodes, uplink: uplink, settings: settings)
        let changes = try plan.apply()
        if changes > 0 {
          log.info(
            "ways to other nodes changed",
            metadata: ["changes": "\(changes)", "blocks": "\(plan.paths.count)", "link": "\(uplink.name)"])
        }
        return plan
      }
      // A machine without an uplink has no other nodes to reach.
      guard let plan else { return }
      count.set(Double(plan.paths.count))
      without.set(Double(plan.unreachable.count))
      for (node, reason) in plan.unreachable.sorted(by: { $0.key < $1.key }) where reported[node] != reason {
        log.warning("no way to its pods", metadata: ["node": "\(node)", "reason": "\(reason)"])
      }
      reported = plan.unreachable
    } catch {
      failures.increment()
      log.error("ways to other nodes not changed", metadata: ["error": "\(error)"])
    }
  }

  private func inNamespace<Value>(_ body: () throws -> Value) throws -> Value {
    guard let namespace else { return try body() }
    return try runInNamespace(namespace, body)
  }
}

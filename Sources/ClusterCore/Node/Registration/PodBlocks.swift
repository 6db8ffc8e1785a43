// The node's blocks of pod addresses, which the control plane gives: asked for before anything of the machine is changed.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

extension NodeAgent {
  /// Registers the node and waits until its Node object says its pod CIDRs. Until then the node is NotReady and says why, and
  /// its Lease is renewed. A node that has them keeps them.
  ///
  /// `settings.podCIDRs`, when there are any, are what the node registers with; they must be those of an existing Node
  /// object. Throws `NOD0013` when nobody gives CIDRs within `timeout` (nil: waits for ever), `NOD0014` when the node has others
  /// than asked for, `NOD0043` when another node has those asked for, `CancellationError` when cancelled.
  public static func podBlocks(
    _ settings: NodeSettings, api: any ClusterAPI, timeout: Duration? = nil
  ) async throws -> [IPPrefix] {
    let registrar = NodeRegistrar(api, settings, nil, certificateDigest: nil)
    let log = Logger(label: "node")
    let deadline = timeout.map { ContinuousClock.now + $0 }
    var failures = 0
    var hasSaid = false
    while true {
      try Task.checkCancellation()
      do {
        let node = try await registrar.register()
        if let blocks = try podBlocks(of: node, settings) { return blocks }
        if !hasSaid {
          log.info("waiting for a pod CIDR", metadata: ["node": "\(settings.nodeName)"])
          hasSaid = true
        }
        try await registrar.renewLease()
        try await registrar.writeStatus(failure: NodeRegistrar.withoutBlocks, force: false)
        try await change(of: node, api, within: settings.leaseInterval)
        failures = 0
      } catch let error as WeftError where ["NOD0014", "NOD0043"].contains(error.code) {
        throw error
      } catch {
        try Task.checkCancellation()
        failures += 1
        log.warning(
          "node not registered, trying again",
          metadata: ["node": "\(settings.nodeName)", "error": "\(error)"])
        try await Task.sleep(for: .milliseconds(min(100 << min(failures, 7), 10_000)))
      }
      if let deadline, ContinuousClock.now > deadline {
        throw WeftError(
          "NOD0013", object: "node \(settings.nodeName)", cause: "the control plane gives it no pod CIDR",
          next: "kubectl describe node \(settings.nodeName); a larger --cluster-cidr has more",
          exit: .timedOut)
      }
    }
  }

  /// Nil when it has none.
  private static func podBlocks(of node: JSON, _ settings: NodeSettings) throws(WeftError) -> [IPPrefix]? {
    let blocks = node.podBlocks
    if blocks.isEmpty { return nil }
    guard settings.podCIDRs.isEmpty || settings.podCIDRs == blocks else {
      throw WeftError(
        "NOD0014", object: "node \(settings.nodeName)",
        cause: "has the pod CIDR \(blockList(blocks)), which a node keeps as long as it exists",
        next: "leave out --pod-cidr, or first: kubectl delete node \(settings.nodeName)")
    }
    return blocks
  }

  /// Returns when the node has changed so that it may have CIDRs, or when the time is over.
  private static func change(of node: JSON, _ api: any ClusterAPI, within time: Duration) async throws {
    var options = ListOptions(
      fieldSelector: "metadata.name=\(node.name)", resourceVersion: node.resourceVersion)
    options.timeoutSeconds = max(Int(time.components.seconds), 1)
    for try await event in try await api.watch(.nodes, namespace: "", options: options) {
      switch event {
      case .added(let now), .modified(let now):
        if now.at("spec", "podCIDRs") != nil || now.at("spec", "podCIDR") != nil { return }
      case .deleted: return
      case .bookmark: continue
      }
    }
  }
}

extension JSON {
  /// The pod CIDRs that a Node object says; none when any of them is none.
  var podBlocks: [IPPrefix] {
    var texts = (at("spec", "podCIDRs")?.elements ?? []).compactMap { $0.string }
    if texts.isEmpty, let single = at("spec", "podCIDR")?.string, !single.isEmpty { texts = [single] }
    let blocks = texts.compactMap { IPPrefix($0) }
    return blocks.count == texts.count ? blocks : []
  }
}

func blockList(_ blocks: [IPPrefix]) -> String { blocks.map(\.description).joined(separator: ",") }

/// Another node that has addresses of `blocks`, the first by name. Pure.
func planBlockHolder(_ blocks: [IPPrefix], besides name: String, _ nodes: [JSON]) -> String? {
  nodes.filter { node in
    node.name != name
      && node.podBlocks.contains { other in blocks.contains { $0.contains(other) || other.contains($0) } }
  }.map(\.name).min()
}

/// Whether a pod's addresses are from other blocks than the node's. Pure.
func isForeign(_ addresses: [String], to blocks: [IPPrefix]) -> Bool {
  let known = addresses.compactMap { IPAddress($0) }
  return !blocks.isEmpty && known.contains { address in !blocks.contains { $0.contains(address) } }
}

// Gives every node its blocks of pod addresses: `spec.podCIDR` and `spec.podCIDRs`, once and for as long as the Node exists.

import Addresses
import ClusterClient
import ClusterObjects
import Logging

/// How long a node that found no free block waits, unless one comes free.
private let exhaustedRetry: Duration = .seconds(60)

func nodeIPAMController(_ context: ControllerContext, _ settings: NodeIPAMSettings) -> Controller {
  let queue: WorkQueue<String> = context.queue("cidrallocator_node")
  let nodes = context.informers.informer(.nodes)
  let ledger = NodeBlockLedger(settings, metrics: context.metrics)
  @Sendable func addAll() {
    for node in nodes.snapshot.values where node.podBlocks.isEmpty { queue.add(node.name) }
  }
  let registration = nodes.onChange { changes in
    // All of a first list count before any node is given a block.
    for name in changes.flatMap({ ledger.see($0.key.name, $0.new) }) { queue.add(name) }
    for change in changes {
      if let node = change.new, node.podBlocks.isEmpty { queue.add(change.key.name) }
    }
  }
  return Controller(
    "node_ipam", context, queue: queue, registrations: [registration], workers: 1, resync: addAll
  ) { name in
    guard let node = nodes["", name], node.podBlocks.isEmpty, !node.isTerminating else { return nil }
    switch ledger.reserve(node) {
    case .exhausted(let cluster):
      context.events.record(
        node, "Normal", "CIDRNotAvailable", "Node \(name) status is now: CIDRNotAvailable",
        from: "cidrAllocator")
      context.logger.warning(
        "no pod CIDR is left for a node", metadata: ["node": "\(name)", "cluster": "\(cluster)"])
      return exhaustedRetry
    case .blocks(let blocks):
      // Gone meanwhile, before the reservation: nobody else would give the blocks back.
      let now = nodes["", name]
      guard now?.uid == node.uid else {
        for other in ledger.see(name, now) { queue.add(other) }
        if now != nil { queue.add(name) }
        return nil
      }
      let texts = blocks.map(\.description)
      let patch: JSON = [
        "metadata": ["uid": JSON(node.uid)],
        "spec": ["podCIDR": JSON(texts.first ?? ""), "podCIDRs": JSON(texts)],
      ]
      do {
        _ = try await context.api.patch(
          .nodes, namespace: "", name: name, patch: .merge(patch), subresource: nil, options: context.options)
      } catch let error as APIStatusError where error.isNotFound || error.isConflict || error.code == 422 {
        // Gone, another of the name, or given blocks by somebody else: the informer will show which. The reservation stays
        // until then.
        let current = try? await context.api.get(.nodes, namespace: "", name: name)
        if current?.uid == node.uid, current?.podBlocks.isEmpty == true {
          context.events.record(
            node, "Normal", "CIDRAssignmentFailed", "Node \(name) status is now: CIDRAssignmentFailed",
            from: "cidrAllocator")
          throw error
        }
        return nil
      }
      context.logger.info(
        "pod CIDR given", metadata: ["node": "\(name)", "blocks": "\(texts.joined(separator: ","))"])
      return nil
    }
  }
}

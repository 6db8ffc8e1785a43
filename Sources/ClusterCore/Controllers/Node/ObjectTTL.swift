// Tells nodes, in an annotation, how long they may keep ConfigMaps and Secrets before they ask again: longer in larger clusters.
// Weft's own agent watches them instead; kubelets that are told to keep them (`Cache`) go by it.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

/// By the number of nodes. A step is left only when it is clearly over, so that a cluster on a boundary does not rewrite all nodes.
struct ObjectTTL: Sendable {
  static let annotation = "node.alpha.kubernetes.io/ttl"
  private static let steps: [(nodes: ClosedRange<Int>, seconds: Int)] = [
    (0...100, 0), (90...500, 15), (450...1000, 30), (900...2000, 60), (1800...Int.max, 300),
  ]
  private var step = 0

  mutating func observe(nodes: Int) {
    while nodes > Self.steps[step].nodes.upperBound { step += 1 }
    while nodes < Self.steps[step].nodes.lowerBound { step -= 1 }
  }

  var seconds: Int { Self.steps[step].seconds }

  /// What a node lacks; nil when it says so already.
  func plan(_ node: JSON) -> JSON? {
    let text = "\(seconds)"
    if node.annotations[Self.annotation] == text { return nil }
    return ["metadata": ["annotations": [Self.annotation: JSON(text)]]]
  }
}

/// A node is told at its next change, as upstream has it: each says something of itself every five minutes at least.
func objectTTLController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<String> = context.queue("ttlcontroller")
  let nodes = context.informers.informer(.nodes)
  let state = Mutex(ObjectTTL())
  /// As many as there are now.
  @Sendable func now() -> ObjectTTL {
    let count = nodes.snapshot.count
    return state.withLock { state in
      state.observe(nodes: count)
      return state
    }
  }
  let registration = nodes.onChange { changes in
    let ttl = now()
    for change in changes {
      if let node = change.new, ttl.plan(node) != nil { queue.add(change.key.name) }
    }
  }
  return Controller(
    "ttl", context, queue: queue, registrations: [registration], workers: 1,
    resync: { for key in nodes.snapshot.keys { queue.add(key.name) } }
  ) { name in
    guard let node = nodes["", name], !node.isTerminating, let patch = now().plan(node) else { return nil }
    do {
      _ = try await context.api.patch(
        .nodes, namespace: "", name: name, patch: .merge(patch), subresource: nil, options: context.options)
    } catch let error as APIStatusError where error.isNotFound {
      // Gone meanwhile.
    }
    return nil
  }
}

// What carries the packet once it is known where it goes: back by the link it came from, or over to another node.

import Addresses
import ClusterObjects
import ClusterView
import Policy

extension Walk {
  mutating func describeWays(_ targets: [SocketEndpoint], via: SocketEndpoint?) {
    var told: Set<String> = []
    for target in targets {
      guard let pod = view.pod(at: target.address) else { continue }
      if via != nil, pod.key == source.pod {
        let others = targets.count - 1
        add(
          "hairpin", .note,
          "\(target) is the pod that asks: the bridge has to send its packet back by the link it came from"
            + (others > 0 ? ", unless one of \(others) others is drawn" : ""),
          objects: ["Pod \(pod.key)"],
          hint: "whether it does: weft check, under pod links")
      }
      guard pod.nodeName != explainer.nodeName, !told.contains(pod.nodeName),
        let node = view.nodes[pod.nodeName]
      else { continue }
      told.insert(pod.nodeName)
      explanation.steps += explainer.ways(node, target.address)
    }
  }

  /// Routes that are not as planned count as the rules do: what the objects promise is not what happens.
  mutating func judgeWays() {
    guard explanation.steps.contains(where: { $0.step == Explanation.Step.way && $0.mark == .fault }) else {
      return
    }
    explanation.kernel = .differs
    if explanation.verdict == .allow { explanation.verdict = .unreachable }
  }
}

// What `weft check` finds in the cluster's objects and on this node, as the node sees it: `check`. Nothing is read from the API for
// it; it costs a pass over Services and pods.

import ClusterClient
import ClusterNode
import ClusterObjects
import ClusterView
import DataPlane
import Observe

extension NodeHandlers {
  /// Items of one category that are answered; those that are not well come first.
  static let checkItemsMax = 200

  mutating func addCheck(_ follower: ViewFollower, _ status: @escaping @Sendable () async -> NodeStatus) {
    addJSON("check") { _ in
      let view = follower.view
      var report = CheckReport([clusterCategory(view), checkServices(view), (await status()).category])
      for index in report.categories.indices {
        let items = report.categories[index].items
        guard items.count > Self.checkItemsMax else { continue }
        let bad = items.filter { $0.state != .ok }
        report.categories[index].items = Array(
          (bad + items.filter { $0.state == .ok }).prefix(Self.checkItemsMax))
      }
      return report.json
    }
  }
}

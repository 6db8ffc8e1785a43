// Says aloud that another program changed our tables: in the log, and as an event of the node.

import ClusterClient
import ClusterObjects
import Diagnostics
import KernelNftables
import Logging

/// Each repair is a line of the log; events are at most one in `eventPause`, for somebody may not give up.
struct RepairReport: Sendable {
  let nodeName: String
  /// Nil where nobody can be told.
  let events: EventRecorder?
  private let log = Logger(label: "ruleset")
  static let eventPause: Duration = .seconds(60)

  init(nodeName: String, events: EventRecorder?) {
    self.nodeName = nodeName
    self.events = events
  }

  /// Until the worker stops or the task is cancelled.
  func run(_ repairs: AsyncStream<RulesetRepair>) async {
    var last: ContinuousClock.Instant?
    for await repair in repairs {
      log.warning(
        "another program changed our rules; they are put right",
        metadata: ["found": "\(repair.description)", "operations": "\(repair.operations)"])
      let now = ContinuousClock.now
      if let last, now - last < Self.eventPause { continue }
      last = now
      // As the kubelet writes them: a node's events go by its name.
      let node: JSON = [
        "apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(nodeName), "uid": JSON(nodeName)],
      ]
      events?.record(
        node, "Warning", "RulesRepaired",
        "another program changed the rules of Services or policies; they are put right: \(repair.description)"
      )
    }
  }
}

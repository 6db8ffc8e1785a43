// `metrics.k8s.io/v1beta1` as objects: what is measured, beside the names and labels of the nodes and pods that exist.

import ClusterObjects
import Diagnostics
import Synchronization

/// What was measured, shared by the scraper and by requests.
final class ResourceUsage: Sendable {
  static let group = "metrics.k8s.io"
  /// How often nodes are asked, unless the settings say otherwise.
  static let periodSeconds: Int64 = 15
  /// A node that has not answered for this long is not spoken of.
  static let silenceSecondsMax: Int64 = 60

  let history = Mutex(UsageHistory(periodNanoseconds: ResourceUsage.periodSeconds * 1_000_000_000))

  func node(_ name: String) -> Usage? { history.withLock { $0.nodes[name]?.usage } }

  func pod(_ key: ObjectKey) -> [(name: String, usage: Usage)]? {
    history.withLock { $0.pods[key.namespace]?[key.name].flatMap(UsageHistory.usage) }
  }

  // MARK: Objects

  static func nodeMetrics(_ node: JSON, _ usage: Usage) -> JSON {
    var object = head("NodeMetrics", of: node, [usage])
    object["usage"] = amounts(usage)
    return object
  }

  static func podMetrics(_ pod: JSON, _ containers: [(name: String, usage: Usage)]) -> JSON {
    var object = head("PodMetrics", of: pod, containers.map(\.usage))
    object["containers"] = .array(
      containers.map { ["name": JSON($0.name), "usage": amounts($0.usage)] })
    return object
  }

  private static func head(_ kind: String, of object: JSON, _ usages: [Usage]) -> JSON {
    var metadata: JSON = ["name": JSON(object.name)]
    if !object.namespace.isEmpty { metadata["namespace"] = JSON(object.namespace) }
    metadata["creationTimestamp"] = JSON(Timestamp.nowText())
    if !object.labels.isEmpty { metadata["labels"] = JSON(object.labels) }
    // The earliest end and its window: all containers had used this by then.
    let first = usages.min { $0.time < $1.time }
    return [
      "apiVersion": JSON("\(group)/v1beta1"), "kind": JSON(kind), "metadata": metadata,
      "timestamp": JSON(Timestamp.text(seconds: (first?.time ?? 0) / 1_000_000_000)),
      "window": JSON(duration(milliseconds: (first?.window ?? 0) / 1_000_000)),
    ]
  }

  private static func amounts(_ usage: Usage) -> JSON {
    [
      "cpu": JSON(Quantity("\(usage.nanoCores)n")?.description ?? "0"),
      "memory": JSON(Quantity(Int64(clamping: usage.memoryBytes), format: .binarySI).description),
    ]
  }

  /// As Go writes durations of less than an hour: `15s`, `1m3.25s`.
  static func duration(milliseconds: Int64) -> String {
    let (minutes, rest) = milliseconds.quotientAndRemainder(dividingBy: 60_000)
    let (seconds, thousandths) = rest.quotientAndRemainder(dividingBy: 1000)
    var text = minutes > 0 ? "\(minutes)m\(seconds)" : "\(seconds)"
    if thousandths > 0 {
      var digits = String(1000 + thousandths).dropFirst()
      while digits.last == "0" { digits.removeLast() }
      text += ".\(digits)"
    }
    return text + "s"
  }
}

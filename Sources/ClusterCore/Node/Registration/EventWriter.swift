// Events of pods, written to the API: repeated ones are counted on one object, and a flood is cut off.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Takes events from anywhere without blocking; writes them in order.
public final class EventWriter: Sendable {
  /// Events waiting to be written; the oldest go first when full.
  static let queueMax = 512
  /// Series remembered for counting.
  static let seriesMax = 2048
  private let input: AsyncStream<PodEvent>.Continuation
  private let task: Task<Void, Never>

  public init(_ api: any ClusterAPI, nodeName: String) {
    let (stream, input) = AsyncStream.makeStream(
      of: PodEvent.self, bufferingPolicy: .bufferingNewest(Self.queueMax))
    self.input = input
    task = Task.detached { await Self.write(stream, api, nodeName) }
  }

  public func record(_ event: PodEvent) { input.yield(event) }

  public func stop() {
    input.finish()
    task.cancel()
  }

  private static func write(_ events: AsyncStream<PodEvent>, _ api: any ClusterAPI, _ nodeName: String) async
  {
    var series: [PodEvent: (name: String, count: Int)] = [:]
    for await event in events {
      var key = event
      key.involved = ["uid": JSON(event.involved.uid)]
      let now = Timestamp.nowText()
      if let old = series[key] {
        let patch: JSON = ["count": JSON(old.count + 1), "lastTimestamp": JSON(now)]
        let done = try? await api.patch(
          .events, namespace: event.namespace, name: old.name, patch: .merge(patch),
          subresource: nil,
          options: WriteOptions())
        if done != nil {
          series[key] = (old.name, old.count + 1)
          continue
        }
      }
      if series.count >= seriesMax { series.removeAll() }
      // Names in order of time: kubectl shows events of one second in the order of their names.
      let (seconds, nanoseconds) = Timestamp.now()
      let stamp = UInt64(seconds) &* 1_000_000_000 &+ UInt64(nanoseconds)
      let name = "\(event.involved.name).\(String(stamp, radix: 16))"
      let object = planEvent(event, name: name, nodeName: nodeName, now: now)
      if (try? await api.create(.events, object, options: WriteOptions())) != nil { series[key] = (name, 1) }
    }
  }
}

extension PodEvent {
  /// Where it is told: of a node, which has no namespace, in `default`.
  fileprivate var namespace: String { involved.namespace.isEmpty ? "default" : involved.namespace }
}

/// The Event object of the core group, as kubelet writes it.
func planEvent(_ event: PodEvent, name: String, nodeName: String, now: String) -> JSON {
  var involved: JSON = [
    "kind": JSON(event.involved.kind.isEmpty ? "Pod" : event.involved.kind), "apiVersion": "v1",
    "name": JSON(event.involved.name), "uid": JSON(event.involved.uid),
  ]
  if !event.involved.namespace.isEmpty { involved["namespace"] = JSON(event.involved.namespace) }
  if !event.involved.resourceVersion.isEmpty {
    involved["resourceVersion"] = JSON(event.involved.resourceVersion)
  }
  if !event.fieldPath.isEmpty { involved["fieldPath"] = JSON(event.fieldPath) }
  return [
    "apiVersion": "v1", "kind": "Event",
    "metadata": ["name": JSON(name), "namespace": JSON(event.namespace)],
    "involvedObject": involved, "reason": JSON(event.reason), "message": JSON(event.message),
    "type": JSON(event.isWarning ? "Warning" : "Normal"), "count": 1, "firstTimestamp": JSON(now),
    "lastTimestamp": JSON(now), "source": ["component": "kubelet", "host": JSON(nodeName)],
    "reportingComponent": "kubelet", "reportingInstance": JSON(nodeName),
  ]
}

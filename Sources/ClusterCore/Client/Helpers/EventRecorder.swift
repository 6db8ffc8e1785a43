// What happened to an object, as people see it in `kubectl describe`: core/v1 Events, repeated ones counted.

import ClusterObjects
import Diagnostics
import Logging
import Synchronization

/// Writes Events in the background: recording never waits and never fails. At most `pendingMax` wait to be
/// written (the rest is dropped and counted); an event like one of the last `rememberedMax` raises its
/// count instead.
public final class EventRecorder: Sendable {
  public static let pendingMax = 1024
  public static let rememberedMax = 4096

  private struct Note: Hashable {
    var uid: String
    var component: String
    var object: ObjectKey
    var type: String
    var reason: String
    var message: String
  }
  private let api: any ClusterAPI
  private let component: String
  private let host: String
  private let pending: AsyncStream<(Note, JSON)>.Continuation
  private let dropped: Counter
  private let task: Task<Void, Never>

  /// `component` is what `describe` shows as the source, such as `default-scheduler`.
  public init(api: any ClusterAPI, component: String, host: String = "", metrics: Metrics = .shared) {
    self.api = api
    self.component = component
    self.host = host
    dropped = metrics.counter("weft_events_dropped_total", "Events not written.", labels: ["component"])
      .child(component)
    let (stream, pending) = AsyncStream<(Note, JSON)>.makeStream(
      bufferingPolicy: .bufferingOldest(Self.pendingMax))
    self.pending = pending
    let dropped = dropped
    task = Task.detached {
      var written: [Note: (name: String, count: Int)] = [:]
      for await (note, event) in stream {
        do {
          if let earlier = written[note] {
            try await Self.count(api, ObjectKey(event.namespace, earlier.name), earlier.count + 1, component)
            written[note]?.count += 1
          } else {
            if written.count >= Self.rememberedMax { written = [:] }
            let made = try await api.create(.events, event, options: WriteOptions(fieldManager: component))
            written[note] = (made.name, 1)
          }
        } catch {
          written[note] = nil
          dropped.increment()
        }
      }
    }
  }

  deinit { pending.finish() }

  /// `type` is `Normal` or `Warning`. `from` is the source where it is not the recorder's own.
  public func record(
    _ object: JSON, _ type: String, _ reason: String, _ message: String, from: String? = nil
  ) {
    let component = from ?? component
    let namespace = object.namespace.isEmpty ? "default" : object.namespace
    let now = Timestamp.nowText()
    let (seconds, nanoseconds) = Timestamp.now()
    let stamp = UInt64(seconds) &* 1_000_000_000 &+ UInt64(nanoseconds)
    var source: JSON = ["component": JSON(component)]
    if !host.isEmpty { source["host"] = JSON(host) }
    let event: JSON = [
      "apiVersion": "v1", "kind": "Event",
      "metadata": [
        "namespace": JSON(namespace),
        "name": JSON("\(object.name).\(String(stamp ^ UInt64.random(in: 0..<4096), radix: 16))"),
      ],
      "involvedObject": [
        "kind": JSON(object.kind), "namespace": JSON(object.namespace), "name": JSON(object.name),
        "uid": JSON(object.uid), "apiVersion": JSON(object.apiVersion),
        "resourceVersion": JSON(object.resourceVersion),
      ],
      "reason": JSON(reason), "message": JSON(message), "type": JSON(type), "source": source,
      "firstTimestamp": JSON(now), "lastTimestamp": JSON(now), "count": 1, "eventTime": .null,
      "reportingComponent": JSON(component), "reportingInstance": JSON(host),
    ]
    let note = Note(
      uid: object.uid, component: component, object: object.key, type: type, reason: reason, message: message)
    if case .dropped = pending.yield((note, event)) { dropped.increment() }
  }

  /// Writes what is pending and ends.
  public func stop() async {
    pending.finish()
    await task.value
  }

  /// By a patch: who records events may write them and not read them.
  private static func count(
    _ api: any ClusterAPI, _ key: ObjectKey, _ count: Int, _ component: String
  ) async throws {
    _ = try await api.patch(
      .events, namespace: key.namespace, name: key.name,
      patch: .merge(["count": JSON(count), "lastTimestamp": JSON(Timestamp.nowText())]), subresource: nil,
      options: WriteOptions(fieldManager: component))
  }
}

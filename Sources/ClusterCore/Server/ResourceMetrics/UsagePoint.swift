// What a node agent says at `/stats/summary`, in the kubelet's form, as points in time. Pure.

import ClusterObjects

/// What something had used at one moment.
struct UsagePoint: Sendable, Hashable {
  /// Nanoseconds since 1970.
  var time: Int64
  /// When it was started; 0 when that is not known.
  var start: Int64
  /// Processor time since the start, in nanoseconds.
  var cpu: UInt64
  /// The working set, in bytes.
  var memory: UInt64
}

/// One node's answer.
struct NodeStats: Sendable, Equatable {
  /// More pods than this on one node are not looked at.
  static let podsMax = 4096
  static let containersMax = 256

  var node: UsagePoint?
  var pods: [ObjectKey: [String: UsagePoint]] = [:]

  /// From the body of an answer; what is missing or no number is left out.
  init(summary: JSON) {
    if let node = summary["node"] { self.node = UsagePoint(node) }
    for pod in summary["pods"]?.elements.prefix(Self.podsMax) ?? [] {
      guard let name = pod.at("podRef", "name")?.string, !name.isEmpty,
        let namespace = pod.at("podRef", "namespace")?.string, !namespace.isEmpty
      else { continue }
      var containers: [String: UsagePoint] = [:]
      var isWhole = true
      for container in pod["containers"]?.elements.prefix(Self.containersMax) ?? [] {
        guard let name = container["name"]?.string, let point = UsagePoint(container) else {
          isWhole = false
          continue
        }
        containers[name] = point
      }
      // Half a pod would look like a pod that uses little.
      if isWhole, !containers.isEmpty { pods[ObjectKey(namespace, name)] = containers }
    }
  }
}

extension UsagePoint {
  /// Nil when processor or memory is not told.
  init?(_ entry: JSON) {
    func count(_ value: JSON?) -> UInt64? { value?.integer.flatMap { UInt64(exactly: $0) } }
    func moment(_ value: JSON?) -> Int64? {
      guard let time = value?.string.flatMap({ KubeTime($0) }) else { return nil }
      let (nanoseconds, isTooLarge) = time.seconds.multipliedReportingOverflow(by: 1_000_000_000)
      return isTooLarge ? nil : nanoseconds &+ Int64(time.nanoseconds)
    }
    guard let time = moment(entry.at("cpu", "time")) ?? moment(entry.at("memory", "time")), time > 0,
      let cpu = count(entry.at("cpu", "usageCoreNanoSeconds")),
      let memory = count(entry.at("memory", "workingSetBytes"))
    else { return nil }
    self.init(time: time, start: moment(entry["startTime"]) ?? 0, cpu: cpu, memory: memory)
  }
}

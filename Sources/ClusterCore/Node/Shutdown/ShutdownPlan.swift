// How pods end when the machine goes down: in groups by priority, the least important first, each with its own time. Pure.

import ClusterObjects

/// Time for the pods of a priority and above, as far as no other group takes them.
public struct ShutdownPeriod: Sendable, Hashable {
  public var priority: Int
  public var seconds: Int
  public init(priority: Int, seconds: Int) {
    self.priority = priority
    self.seconds = seconds
  }
}

/// What `shutdownGracePeriod…` of a `KubeletConfiguration` says.
public struct ShutdownSettings: Sendable, Hashable {
  /// Ascending by priority; never empty.
  public let periods: [ShutdownPeriod]
  /// From here on pods are critical: `system-cluster-critical` and above.
  public static let criticalPriority = 2_000_000_000

  /// Of the whole time, the last `criticalSeconds` belong to critical pods. Nil when there is none, or less than those.
  public init?(seconds: Int, criticalSeconds: Int) {
    guard seconds > 0, criticalSeconds >= 0, criticalSeconds <= seconds else { return nil }
    periods = [
      ShutdownPeriod(priority: 0, seconds: seconds - criticalSeconds),
      ShutdownPeriod(priority: Self.criticalPriority, seconds: criticalSeconds),
    ]
  }

  /// Nil when there is none, one is negative or a priority is there twice.
  public init?(_ periods: [ShutdownPeriod]) {
    guard !periods.isEmpty, periods.allSatisfy({ $0.seconds >= 0 }),
      Set(periods.map(\.priority)).count == periods.count
    else { return nil }
    self.periods = periods.sorted { $0.priority < $1.priority }
  }

  public var seconds: Int { periods.reduce(0) { $0 + $1.seconds } }
}

/// The pods of one group, and how long they are waited for.
struct ShutdownStage: Sendable, Hashable {
  struct Pod: Sendable, Hashable {
    var uid: String
    var graceSeconds: Int
  }
  var seconds: Int
  var pods: [Pod]
}

/// Groups in the order in which they end; those without pods are left out, and so is the wait for them.
func planShutdown(_ pods: [PodSpec], _ settings: ShutdownSettings) -> [ShutdownStage] {
  var groups = settings.periods.map { ShutdownStage(seconds: $0.seconds, pods: []) }
  for spec in pods {
    let priority = spec.pod.at("spec", "priority")?.int ?? 0
    // Below the lowest group one belongs to it nevertheless.
    let index = settings.periods.lastIndex { $0.priority <= priority } ?? 0
    groups[index].pods.append(
      ShutdownStage.Pod(
        uid: spec.pod.uid, graceSeconds: min(spec.graceSeconds, settings.periods[index].seconds)))
  }
  return groups.filter { !$0.pods.isEmpty }
}

// Whether the proxy is well, as load balancers and people ask: rules follow the API in time, and the node is here to stay.
//
//   change of a Service or EndpointSlice -> queued()      rules in force -> updated()
//   /livez:   queued for longer than the time-out is 503
//   /healthz: the same, or a node that is deleted or marked by the cluster autoscaler

import Addresses
import ClusterObjects
import Diagnostics
import Synchronization

/// The proxy's health. Thread-safe; asking never waits for rules or the API.
public final class ProxyHealth: Sendable {
  /// The taint that the cluster autoscaler puts on a node before it removes it.
  public static let toBeDeletedTaint = "ToBeDeletedByClusterAutoscaler"

  /// A status and the JSON that goes with it.
  public struct Answer: Sendable, Equatable {
    public var status: Int
    public var body: String
  }

  private struct State {
    var lastUpdated: Moment?
    var oldestQueued: Moment?
    var isNodeEligible: Bool
  }

  /// One moment by both clocks: ages by the steady one, what is printed by the other.
  struct Moment: Sendable {
    var steady: ContinuousClock.Instant
    var seconds: Int64
    var nanoseconds: Int64

    static func now() -> Moment {
      let (seconds, nanoseconds) = Timestamp.now()
      return Moment(steady: .now, seconds: seconds, nanoseconds: nanoseconds)
    }
    var text: String { Timestamp.text(seconds: seconds, nanoseconds: nanoseconds, fractionDigits: 9) }
  }

  private let families: [IPFamily]
  private let timeout: Duration
  private let clock: @Sendable () -> Moment
  private let state: Mutex<State>
  private let healthz: MetricFamily<Counter>
  private let livez: MetricFamily<Counter>

  /// - Parameters:
  ///   - timeout: a change that is not in force after this long makes the proxy unwell. kube-proxy's: twice syncPeriod.
  ///   - nodeIsKnown: false until the Node object was seen; then `/healthz` is 503, as kube-proxy's.
  public convenience init(
    families: [IPFamily], timeout: Duration, nodeIsKnown: Bool, metrics: Metrics = .shared
  ) {
    self.init(families: families, timeout: timeout, nodeIsKnown: nodeIsKnown, metrics: metrics) { .now() }
  }

  init(
    families: [IPFamily], timeout: Duration, nodeIsKnown: Bool, metrics: Metrics,
    clock: @escaping @Sendable () -> Moment
  ) {
    self.families = families
    self.timeout = timeout
    self.clock = clock
    state = Mutex(State(isNodeEligible: nodeIsKnown))
    healthz = metrics.counter(
      "kubeproxy_proxy_healthz_total", "Answers of /healthz, by status.", labels: ["code"])
    livez = metrics.counter("kubeproxy_proxy_livez_total", "Answers of /livez, by status.", labels: ["code"])
  }

  /// A change has come that rules do not show yet.
  public func queued() {
    let now = clock()
    state.withLock { if $0.oldestQueued == nil { $0.oldestQueued = now } }
  }

  /// Everything that had come is in force.
  public func updated() {
    let now = clock()
    state.withLock { state in
      state.oldestQueued = nil
      state.lastUpdated = now
    }
  }

  /// What the API says of this node; nil when it is gone.
  public func see(node: JSON?) {
    let isEligible = node.map(Self.isEligible) ?? false
    state.withLock { $0.isNodeEligible = isEligible }
  }

  static func isEligible(_ node: JSON) -> Bool {
    guard !node.isTerminating else { return false }
    return !(node.at("spec", "taints")?.elements ?? []).contains {
      $0["key"]?.string == toBeDeletedTaint
    }
  }

  /// Whether rules follow in time: what healthCheckNodePorts report as serviceProxyHealthy.
  public var isHealthy: Bool {
    let now = clock()
    return state.withLock { isHealthy($0, now) }
  }

  /// Healthy while starting: nothing is late before the first rules.
  private func isHealthy(_ state: State, _ now: Moment) -> Bool {
    guard state.lastUpdated != nil, let oldest = state.oldestQueued else { return true }
    return now.steady - oldest.steady < timeout
  }

  /// The answer of `/healthz`. Counted.
  public func healthzAnswer() -> Answer {
    let answer = answer(withNode: true)
    healthz.child("\(answer.status)").increment()
    return answer
  }

  /// The answer of `/livez`. Counted.
  public func livezAnswer() -> Answer {
    let answer = answer(withNode: false)
    livez.child("\(answer.status)").increment()
    return answer
  }

  private func answer(withNode: Bool) -> Answer {
    let now = clock()
    let (isCurrent, isEligible, updated) = state.withLock {
      (isHealthy($0, now), $0.isNodeEligible, $0.lastUpdated)
    }
    let isWell = isCurrent && (isEligible || !withNode)
    let never = "0001-01-01T00:00:00Z"
    // Clients of old read lastUpdated as "recently", so a healthy proxy gives the present.
    var body: JSON = [
      "lastUpdated": JSON(isWell ? now.text : updated?.text ?? never), "currentTime": JSON(now.text),
    ]
    if withNode { body["nodeEligible"] = JSON(isEligible) }
    body["healthy"] = JSON(isCurrent)
    if let updated {
      var status: JSON = [:]
      for family in families {
        status[family.rawValue] = ["lastUpdated": JSON(updated.text), "healthy": JSON(isCurrent)]
      }
      body["status"] = status
    }
    return Answer(status: isWell ? 200 : 503, body: body.text)
  }
}

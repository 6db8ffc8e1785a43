// Probes as Kubernetes counts them: consecutive results against thresholds. Pure.

import ClusterObjects

enum ProbeKind: String, Sendable, Hashable, CaseIterable {
  case startup, liveness, readiness
  /// The field of a container that declares it.
  var field: String { rawValue + "Probe" }
  var word: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }
}

/// A probe as declared, defaults filled in. Times are seconds.
struct ProbeSpec: Sendable, Hashable {
  enum Action: Sendable, Hashable {
    case exec([String])
    case tcp(host: String?, port: Int)
    case http(HTTPProbe)
    case grpc(port: Int, service: String)
    /// A kind this node cannot do; it fails and says so.
    case unsupported(String)
  }
  var kind: ProbeKind
  var action: Action
  var initialDelay = 0
  var period = 10
  var timeout = 1
  var successThreshold = 1
  var failureThreshold = 3
  var graceSeconds: Int?

  /// The probe of a container; nil when it declares none.
  init?(_ kind: ProbeKind, _ container: ContainerSpec) {
    guard let tree = container.tree[kind.field] else { return nil }
    self.kind = kind
    if let command = tree.at("exec", "command")?.elements.compactMap(\.string) {
      action = .exec(command)
    } else if let http = tree["httpGet"], let port = container.port(http["port"]) {
      action = .http(HTTPProbe(http, port: port))
    } else if let grpc = tree["grpc"], let port = grpc["port"]?.int {
      action = .grpc(port: port, service: grpc["service"]?.string ?? "")
    } else if let tcp = tree["tcpSocket"], let port = container.port(tcp["port"]) {
      action = .tcp(host: tcp["host"]?.string, port: port)
    } else {
      action = .unsupported("an unknown port or action")
    }
    initialDelay = max(tree["initialDelaySeconds"]?.int ?? 0, 0)
    period = max(tree["periodSeconds"]?.int ?? 10, 1)
    timeout = max(tree["timeoutSeconds"]?.int ?? 1, 1)
    successThreshold = max(tree["successThreshold"]?.int ?? 1, 1)
    failureThreshold = max(tree["failureThreshold"]?.int ?? 3, 1)
    graceSeconds = tree["terminationGracePeriodSeconds"]?.int
  }
}

/// Consecutive results, and the verdict they add up to.
struct ProbeCount: Sendable, Hashable {
  private(set) var successes = 0
  private(set) var failures = 0
  /// Nil until a threshold is reached.
  private(set) var verdict: Bool?

  /// Counts one result. Returns true when the verdict changed.
  mutating func add(_ success: Bool, _ spec: ProbeSpec) -> Bool {
    successes = success ? successes + 1 : 0
    failures = success ? 0 : failures + 1
    let before = verdict
    if successes >= spec.successThreshold { verdict = true }
    if failures >= spec.failureThreshold { verdict = false }
    return verdict != before
  }
}

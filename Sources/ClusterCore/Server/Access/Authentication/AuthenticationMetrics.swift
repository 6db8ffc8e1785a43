// Counts of who asked and how that went, under upstream's names.

import Diagnostics

struct AuthenticationMetrics: Sendable {
  private let attempts = Metrics.shared.counter(
    "authentication_attempts", "Requests that showed a credential, and those that showed none.",
    labels: ["result"])
  private let durations = Metrics.shared.histogram(
    "authentication_duration_seconds", "Time to find out who asks.", labels: ["result"])
  private let users = Metrics.shared.counter(
    "authenticated_user_requests", "Authenticated requests by user.", labels: ["username"])

  func note(_ identity: Identity?, failed: Bool, _ duration: Duration) {
    let result = identity != nil ? "success" : failed ? "error" : "failure"
    attempts.child(result).increment()
    durations.child(result).observe(duration)
    if let identity { users.child(Self.compressed(identity.user)).increment() }
  }

  private static let known: Set<String> = [
    "admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default",
  ]

  /// Few names, whoever asks: strangers must not fill the table.
  static func compressed(_ user: String) -> String {
    known.contains(user) ? user : user.contains("@") ? "email_id" : "other"
  }
}

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

  // Held: counting takes no lock.
  private let byResult: [(attempts: Counter, durations: Histogram)]
  private let others: Counter

  init() {
    let (attempts, durations) = (attempts, durations)
    byResult = ["success", "error", "failure"].map { (attempts.child($0), durations.child($0)) }
    others = users.child("other")
  }

  func note(_ identity: Identity?, failed: Bool, _ duration: Duration) {
    let result = byResult[identity != nil ? 0 : failed ? 1 : 2]
    result.attempts.increment()
    result.durations.observe(duration)
    guard let identity else { return }
    let name = Self.compressed(identity.user)
    (name == "other" ? others : users.child(name)).increment()
  }

  private static let known: Set<String> = [
    "admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default",
  ]

  /// Few names, whoever asks: strangers must not fill the table.
  static func compressed(_ user: String) -> String {
    known.contains(user) ? user : user.contains("@") ? "email_id" : "other"
  }
}

// `health` of a Corefile asks its own page once a second, and says how long that takes: a process that is late with it has too
// much to do.

import Addresses
import ClusterClient
import Diagnostics

enum SelfCheck {
  private static let duration = Metrics.shared.histogram(
    "coredns_health_request_duration_seconds", "Seconds the process took to answer for its own health.",
    bounds: [0.00025, 0.0025, 0.025, 0.25, 2.5]
  ).child()
  private static let failures = Metrics.shared.counter(
    "coredns_health_request_failures_total", "Times the process did not answer for its own health."
  ).child()

  /// Asks until the task is cancelled.
  static func run(_ page: SocketEndpoint) async {
    let address: IPAddress
    switch page.address {
    case .v4(let four) where four.isUnspecified: address = .v4(IPv4Address(127, 0, 0, 1))
    case .v6(let six) where six.isUnspecified: address = .v6(IPv6Address(bits: 1))
    default: address = page.address
    }
    guard
      let client = try? RemoteClient(
        kubeconfig: Kubeconfig(server: "http://\(SocketEndpoint(address, page.port))"))
    else { return }
    // Both are there before anything has failed.
    failures.increment(by: 0)
    while (try? await Task.sleep(for: .seconds(1))) != nil {
      let began = ContinuousClock.now
      if let answer = try? await client.raw("/health"), answer.status == 200 {
        duration.observe(ContinuousClock.now - began)
      } else if !Task.isCancelled {
        failures.increment()
      }
    }
  }
}

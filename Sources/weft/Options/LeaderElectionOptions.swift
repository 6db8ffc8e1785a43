// When the controllers and the scheduler of one server give way to another's.

import ArgumentParser
import ClusterClient
import ClusterObjects
import Diagnostics

/// kube-controller-manager's flags of these names, with its meaning. They matter where several servers share one store.
struct LeaderElectionOptions: ParsableArguments {
  @Option(help: "How long a lease counts that nobody renews.") var leaderElectLeaseDuration = "15s"
  @Option(help: "A leader that could not renew for this long stops leading.")
  var leaderElectRenewDeadline = "10s"
  @Option(help: "How often a lease is asked for and renewed.") var leaderElectRetryPeriod = "2s"

  struct Times {
    var duration: Duration
    var renewDeadline: Duration
    var retryPeriod: Duration
  }

  /// Errors: `CLI0052` with upstream's conditions on the three.
  func times() throws(WeftError) -> Times {
    func read(_ text: String, _ flag: String) throws(WeftError) -> Duration {
      guard let time = GoDuration.parse(text[...]), time > .zero else {
        throw Self.wrong("\(flag) \(text)", "is no duration above zero")
      }
      return time
    }
    let times = Times(
      duration: try read(leaderElectLeaseDuration, "--leader-elect-lease-duration"),
      renewDeadline: try read(leaderElectRenewDeadline, "--leader-elect-renew-deadline"),
      retryPeriod: try read(leaderElectRetryPeriod, "--leader-elect-retry-period"))
    guard times.duration > times.renewDeadline else {
      throw Self.wrong(
        "--leader-elect-lease-duration \(leaderElectLeaseDuration)",
        "is not above the renew deadline: two could lead")
    }
    guard times.renewDeadline > times.retryPeriod * 1.2 else {
      throw Self.wrong(
        "--leader-elect-renew-deadline \(leaderElectRenewDeadline)",
        "is not above 1.2 times the retry period: a leader would lose its lease by waiting")
    }
    return times
  }

  private static func wrong(_ object: String, _ cause: String) -> WeftError {
    WeftError(
      "CLI0052", object: object, cause: cause, next: "leave it out, or write times such as 15s, 10s and 2s")
  }
}

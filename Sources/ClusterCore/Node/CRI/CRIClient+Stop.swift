// Ending a container by a signal of its own. Runtimes before containerd 2.1 pass the wish over (`stop_signal` of their interface), so
// the agent sends the signal itself, whatever the runtime knows.

import ClusterObjects
import GRPCCore
import Glibc

extension CRIClient {
  /// How often one looks whether it has ended, at first and later.
  private static let looks: (first: Duration, last: Duration) = (.milliseconds(10), .milliseconds(200))

  /// `signal`, then SIGKILL after `graceSeconds`; without a signal the runtime's own way of asking. Throws what the runtime answers,
  /// and when the task is cancelled: the signal is sent by then, and the container ends or does not.
  func stopContainer(_ id: String, signal: ContainerSignal?, graceSeconds: Int) async throws {
    guard let signal, graceSeconds > 0, try await send(signal, to: id) else {
      return try await stopContainer(id, graceSeconds: graceSeconds)
    }
    let deadline = ContinuousClock.now + .seconds(graceSeconds)
    var pause = Self.looks.first
    while ContinuousClock.now < deadline {
      try await Task.sleep(for: pause)
      pause = min(pause * 2, Self.looks.last)
      if try await containerStatus(id).state != .containerRunning { break }
    }
    // What has ended is tidied up; what has not is killed.
    try await stopContainer(id, graceSeconds: 0)
  }

  /// Sends it to the container's first process. False when there is none.
  private func send(_ signal: ContainerSignal, to id: String) async throws -> Bool {
    guard let process = try await runningProcess(id) else { return false }
    return kill(process, signal.number) == 0
  }

  /// The first process of a container that runs, as the agent's own process namespace counts; nil when it does not run or the runtime
  /// does not say.
  func runningProcess(_ id: String) async throws -> pid_t? {
    let answer = try await verboseStatus(id)
    guard answer.status.state == .containerRunning,
      let tree = try? JSON(parsing: Array((answer.info["info"] ?? "").utf8)),
      let number = tree["pid"]?.int, number > 1
    else { return nil }
    return pid_t(exactly: number)
  }
}

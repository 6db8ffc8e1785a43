// Every second the open connections are counted and the slots of Services that ask for it shared out anew. Nothing is read while
// no Service asks, and nothing is written while shares are about right.

import Diagnostics
import KernelNftables
import Logging

extension ProxySyncer {
  /// Time from one count to the next, at least.
  public static let countingPeriod = Duration.seconds(1)
  /// The pause after a count is at least so many times what the count took: a twentieth of one processor, however many
  /// connections there are.
  static let countingPause = 20

  /// Follows open connections until the task is cancelled.
  /// - Parameter onFailure: rules that the kernel refused are wanted whole: bring the view again.
  public func followOpenConnections(onFailure: @escaping @Sendable () -> Void) async {
    let clock = ContinuousClock()
    var counter: ConnectionCounter?
    var pause = Self.countingPeriod
    var hasComplained = false
    while (try? await Task.sleep(for: pause)) != nil {
      pause = Self.countingPeriod
      guard countsConnections else {
        counter = nil
        continue
      }
      let start = clock.now
      do {
        let reader: ConnectionCounter
        if let counter { reader = counter } else { reader = try await connectionCounter() }
        counter = reader
        _ = try await balance(try await reader.count(), duration: clock.now - start)
        hasComplained = false
      } catch {
        counter = nil
        countingFailed()
        if !hasComplained {
          logger.warning(
            "least connections: shares stay as they are", metadata: ["error": "\(error)"])
        }
        hasComplained = true
        onFailure()
      }
      pause = max(pause, (clock.now - start) * Self.countingPause)
    }
  }
}

// How fast and how many at once one client's requests leave: client-go's QPS and burst, and a bound for those under way.

import Synchronization

/// Bounds of a client's requests; 0 means none.
public struct RequestLimits: Sendable, Hashable {
  /// Requests a second over time.
  public var perSecond = 0.0
  /// Requests that may leave together after a pause; with a rate 10 unless said otherwise, as client-go has it.
  public var burst = 0
  /// Requests whose answer has not begun.
  public var inFlightMax = 0
  public init() {}
  public init(perSecond: Double, burst: Int, inFlightMax: Int) {
    self.perSecond = perSecond
    self.burst = burst
    self.inFlightMax = inFlightMax
  }
}

/// Lets requests through one after another. Thread-safe. Whoever has entered must leave.
final class RequestGate: Sendable {
  private struct State {
    var inFlight = 0
    /// Who waits for a place, in order. Bounded by the program's tasks.
    var waiters: [(number: UInt64, continuation: CheckedContinuation<Bool, Never>)] = []
    var cancelled: Set<UInt64> = []
    var number: UInt64 = 0
  }
  private let bucket: BucketRateLimiter<Int>?
  private let inFlightMax: Int
  private let state = Mutex(State())

  init(_ limits: RequestLimits) {
    let burst = limits.burst > 0 ? limits.burst : 10
    // client-go's default rate, for those who set a burst alone.
    let rate = limits.perSecond > 0 ? limits.perSecond : 5
    bucket =
      limits.perSecond > 0 || limits.burst > 0 ? BucketRateLimiter(perSecond: rate, burst: burst) : nil
    inFlightMax = limits.inFlightMax
  }

  /// Waits until a request may leave, and says how long that was.
  /// - Throws: `CancellationError`; nothing is to be left then.
  func enter() async throws -> Duration {
    let began = ContinuousClock.now
    if let delay = bucket?.delay(for: 0), delay > .zero { try await Task.sleep(for: delay) }
    try await takePlace()
    return ContinuousClock.now - began
  }

  private func takePlace() async throws {
    guard inFlightMax > 0 else { return }
    let number = state.withLock { state in
      state.number += 1
      return state.number
    }
    let isLet = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let answer: Bool? = state.withLock { state in
          if state.cancelled.remove(number) != nil { return false }
          if state.inFlight < inFlightMax {
            state.inFlight += 1
            return true
          }
          state.waiters.append((number, continuation))
          return nil
        }
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        guard let index = state.waiters.firstIndex(where: { $0.number == number }) else {
          state.cancelled.insert(number)
          return nil as CheckedContinuation<Bool, Never>?
        }
        return state.waiters.remove(at: index).continuation
      }
      waiter?.resume(returning: false)
    }
    state.withLock { _ = $0.cancelled.remove(number) }
    guard isLet else { throw CancellationError() }
  }

  /// A request's answer has begun, or it has failed: the next may leave.
  func leave() {
    guard inFlightMax > 0 else { return }
    let next = state.withLock { state in
      guard !state.waiters.isEmpty else {
        state.inFlight -= 1
        return nil as CheckedContinuation<Bool, Never>?
      }
      return state.waiters.removeFirst().continuation
    }
    next?.resume(returning: true)
  }
}

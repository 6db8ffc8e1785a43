// Waits of tests that end: each knows what it waits for, and fails with that when its time is over.

import ClusterStore
import Synchronization

public struct Waiting: Sendable {
  public let what: String
  private let limit: Duration
  private let start = ContinuousClock.now

  /// A wait that begins now. The limit is for the whole loop it stands over, not for each step.
  public init(_ what: String, _ limit: Duration = .seconds(60)) {
    self.what = what
    self.limit = limit
  }

  public var isOver: Bool { ContinuousClock.now - start >= limit }

  private var failure: Failed { Failed(text: "waited \(limit) for \(what)") }

  /// Throws when the time is over.
  public func check() throws {
    if isOver { throw failure }
  }

  /// The next events of a watch, nil after its end. When the time is over it cancels the watch and throws.
  public func next(_ watch: StoreWatch) async throws -> [StoreEvent]? {
    try check()
    let isLate = Flag()
    let rest = limit - (ContinuousClock.now - start)
    let alarm = Task {
      try await Task.sleep(for: rest)
      isLate.set()
      watch.cancel()
    }
    defer { alarm.cancel() }
    let events = try await watch.next()
    if events == nil, isLate.isSet { throw failure }
    return events
  }
}

/// Set once, seen by all.
public final class Flag: Sendable {
  private let value = Atomic(false)
  public init() {}
  public var isSet: Bool { value.load(ordering: .acquiring) }
  public func set() { value.store(true, ordering: .releasing) }
}

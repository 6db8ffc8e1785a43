// A gate for tasks: so many at once, or one alone.

/// Lets at most `size` in at once, the others wait in order; or one alone, while nobody is inside.
actor Gate {
  private let size: Int
  private var inside = 0
  private var isClosed = false
  /// As many as pods may start at once.
  private var queue: [CheckedContinuation<Void, Never>] = []

  init(_ size: Int = .max) { self.size = max(size, 1) }

  /// Runs `body` when there is room.
  nonisolated func pass<Result>(_ body: () async throws -> Result) async rethrows -> Result {
    await enter()
    do {
      let result = try await body()
      await leave()
      return result
    } catch {
      await leave()
      throw error
    }
  }

  /// Runs `body` while everybody else waits; nil, without running it, when somebody is inside. It never makes others wait for it
  /// to begin.
  nonisolated func alone<Result>(_ body: () async throws -> Result) async rethrows -> Result? {
    guard await close() else { return nil }
    do {
      let result = try await body()
      await open()
      return result
    } catch {
      await open()
      throw error
    }
  }

  private func enter() async {
    if !isClosed, inside < size {
      inside += 1
      return
    }
    await withCheckedContinuation { queue.append($0) }
  }

  private func leave() {
    inside -= 1
    admit()
  }

  private func close() -> Bool {
    guard inside == 0, !isClosed else { return false }
    isClosed = true
    return true
  }

  private func open() {
    isClosed = false
    admit()
  }

  /// Who waited is inside from now on, even if he has not run yet.
  private func admit() {
    while !isClosed, inside < size, !queue.isEmpty {
      inside += 1
      queue.removeFirst().resume()
    }
  }
}

// Keeps the CNI's GC and its ADD apart, as the specification asks of a runtime: an ADD under way has no sandbox yet that GC could
// know it by.

/// Any number of calls at once, or one sweep alone. A sweep never makes calls wait for it to begin: it begins only when there are
/// none.
actor NetworkGate {
  private var calls = 0
  private var isClosed = false
  /// As many as pods may start at once; they wait as long as one sweep takes.
  private var waiting: [CheckedContinuation<Void, Never>] = []

  /// Runs `body`, after the sweep that is under way, if one is.
  nonisolated func call<Result>(_ body: () async throws -> Result) async rethrows -> Result {
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

  /// Runs `body` alone; nil, without running it, while calls are under way.
  nonisolated func sweep<Result>(_ body: () async throws -> Result) async rethrows -> Result? {
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
    while isClosed { await withCheckedContinuation { waiting.append($0) } }
    calls += 1
  }

  private func leave() { calls -= 1 }

  private func close() -> Bool {
    guard calls == 0, !isClosed else { return false }
    isClosed = true
    return true
  }

  private func open() {
    isClosed = false
    let resumed = waiting
    waiting = []
    for continuation in resumed { continuation.resume() }
  }
}

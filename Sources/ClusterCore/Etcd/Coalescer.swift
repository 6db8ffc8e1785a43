// One answer for all who ask while the question before theirs is still open.

import ClusterStore
import Synchronization

/// At most one question is under way and one waits. Who joins gets the answer of a question that began after they joined:
/// what the answer shows is no older than the call.
final class Coalescer<Answer: Sendable>: Sendable {
  private typealias Question = Task<Result<Answer, StoreError>, Never>
  private struct State {
    var running: Question?
    var waiting: Question?
  }
  private let state = Mutex(State())

  func join(_ ask: @escaping @Sendable () async throws(StoreError) -> Answer) async throws(StoreError)
    -> Answer
  {
    let question: Question = state.withLock { state in
      if let waiting = state.waiting { return waiting }
      let before = state.running
      let task = Question { [self] in
        if let before {
          _ = await before.value
          self.state.withLock { state in
            state.running = state.waiting
            state.waiting = nil
          }
        }
        let result: Result<Answer, StoreError>
        do throws(StoreError) { result = .success(try await ask()) } catch { result = .failure(error) }
        self.state.withLock { if $0.waiting == nil { $0.running = nil } }
        return result
      }
      if before == nil { state.running = task } else { state.waiting = task }
      return task
    }
    return try await question.value.get()
  }
}

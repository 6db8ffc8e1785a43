// Changes of an informer for a task that reads at its own pace: what happens while it works is merged by
// object.

import ClusterObjects
import Synchronization

/// Batches of changes; the first is what exists. Merging keeps the oldest `old` and the newest `new`, and
/// drops what came and went unseen. Each iterator follows on its own. The sequence ends when its task is
/// cancelled.
public struct InformerChanges: AsyncSequence, Sendable {
  public typealias Element = [ObjectChange]
  let informer: Informer
  init(_ informer: Informer) { self.informer = informer }

  public func makeAsyncIterator() -> Iterator { Iterator(informer) }

  public struct Iterator: AsyncIteratorProtocol {
    private let inbox = Inbox()
    private let registration: InformerRegistration
    private let signals: AsyncStream<Void>
    private var signal: AsyncStream<Void>.Iterator

    init(_ informer: Informer) {
      let inbox = inbox
      let (signals, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
      self.signals = signals
      signal = signals.makeAsyncIterator()
      registration = informer.onChange { changes in
        inbox.add(changes)
        wake.yield()
      }
    }

    public mutating func next() async -> [ObjectChange]? { await next(isolation: #isolation) }

    public mutating func next(isolation actor: isolated (any Actor)?) async -> [ObjectChange]? {
      while true {
        let changes = inbox.take()
        if !changes.isEmpty { return changes }
        guard await signal.next(isolation: actor) != nil else { return nil }
      }
    }
  }

  private final class Inbox: Sendable {
    private let pending = Mutex<[ObjectKey: ObjectChange]>([:])

    func add(_ changes: [ObjectChange]) {
      pending.withLock { pending in
        for change in changes {
          guard let earlier = pending[change.key] else {
            pending[change.key] = change
            continue
          }
          let merged = ObjectChange(key: change.key, old: earlier.old, new: change.new)
          pending[change.key] = merged.old == nil && merged.new == nil ? nil : merged
        }
      }
    }

    func take() -> [ObjectChange] {
      pending.withLock { pending in
        defer { pending = [:] }
        return Array(pending.values)
      }
    }
  }
}

// One watch: a stream of etcd's, opened again where it broke.
//
//   after 41 ─► stream from 42 ─► 42, 43 │ connection lost │ ─► stream from 44 on the next member ─► 44, …

import ClusterStore
import FoundationEssentials
import GRPCCore
import Logging
import SwiftProtobuf
import Synchronization

/// Follows the keys in [key, end).
struct EtcdFeed: Sendable {
  /// Unowned in effect: the store cancels its feeds when it shuts down.
  let store: EtcdStore
  let key: Data
  let end: Data

  /// Feeds `watch` until it is cancelled, too slow, or its history is compacted away.
  func run(after: Revision, into watch: StoreWatch) async {
    let next = Atomic<Revision>(after + 1)
    var pause = Duration.milliseconds(10)
    while !Task.isCancelled {
      let from = next.load(ordering: .relaxed)
      let (index, _) = store.members.current
      do {
        try await follow(from: from) { events in
          guard let last = events.last?.revision else { return true }
          let isAlive = watch.offer(events)
          next.store(last + 1, ordering: .relaxed)
          store.note(last)
          return isAlive
        }
        store.drop(watch)
        return
      } catch let error as StoreError {
        watch.finish(error)
        store.drop(watch)
        return
      } catch {
        if Task.isCancelled { return }
        store.log.debug("watch opened again", metadata: ["error": "\(error)", "revision": "\(from)"])
        store.members.turnAway(from: index)
      }
      if next.load(ordering: .relaxed) > from { pause = .milliseconds(10) }
      try? await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(500))
    }
  }

  /// One stream. Returns when `take` says false; throws `StoreError.compacted`, or what broke the stream.
  func follow(from: Revision, take: @escaping @Sendable ([StoreEvent]) -> Bool) async throws {
    var options = CallOptions.defaults
    options.waitForReady = store.members.count == 1
    options.maxResponseMessageBytes = 1 << 30
    let create = Etcdserverpb_WatchRequest.with {
      $0.createRequest = .with {
        $0.key = key
        $0.rangeEnd = end
        $0.startRevision = store.keys.theirs(from)
        // Changes of one revision stay together; answers beyond etcd's message size come in pieces.
        $0.fragment = true
      }
    }
    let keys = store.keys
    try await store.members.current.member.watch.watch(
      // A member that lost its leader ends the stream instead of staying silent.
      metadata: EtcdMembers.metadata, options: options,
      requestProducer: { writer in
        try await writer.write(create)
        // Ending the requests would end the watch; the answers' end cancels this.
        while !Task.isCancelled { try await Task.sleep(for: .seconds(3600)) }
      },
      onResponse: { response in
        var pieces: [StoreEvent] = []
        for try await answer in response.messages {
          if answer.compactRevision > 0 {
            throw StoreError.compacted(oldest: max(keys.revision(answer.compactRevision), store.oldest))
          }
          if answer.canceled {
            throw RPCError(code: .unavailable, message: "watch ended by etcd: \(answer.cancelReason)")
          }
          pieces += answer.events.map(keys.event)
          if answer.fragment { continue }
          if !pieces.isEmpty, !take(pieces) { return }
          pieces = []
        }
        throw RPCError(code: .unavailable, message: "watch ended")
      })
  }
}

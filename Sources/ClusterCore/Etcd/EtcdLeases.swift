// etcd's leases, which take keys with them when they end. One lease serves the keys of a minute.

import GRPCCore
import SwiftProtobuf
import Synchronization

final class EtcdLeases: Sendable {
  private struct Current {
    var id: Int64
    var seconds: Int64
    var granted: ContinuousClock.Instant
    var uses: Int
  }
  /// As upstream's: a lease with many keys is slow to end.
  private static let usesMax = 1000
  private let members: EtcdMembers
  private let current = Mutex<Current?>(nil)

  private let slackSeconds: Int64

  init(members: EtcdMembers, slackSeconds: Int64) {
    self.members = members
    self.slackSeconds = slackSeconds
  }

  /// A lease that ends no earlier than `seconds` from now, and at most `slackSeconds` later.
  func lease(seconds: Int64) async throws(RPCError) -> Int64 {
    let known: Int64? = current.withLock { current in
      guard let found = current, found.seconds == seconds, found.uses < Self.usesMax,
        ContinuousClock.now - found.granted < .seconds(slackSeconds)
      else { return nil }
      current?.uses += 1
      return found.id
    }
    if let known { return known }
    let response = try await members.call { member, options, _ in
      try await member.lease.leaseGrant(.with { $0.ttl = seconds + slackSeconds }, options: options)
    }
    current.withLock {
      $0 = Current(id: response.id, seconds: seconds, granted: .now, uses: 1)
    }
    return response.id
  }

  func forget() { current.withLock { $0 = nil } }
}

// etcd's leases, which take keys with them when they end. One lease serves the keys of a minute that live equally long.

import GRPCCore
import SwiftProtobuf
import Synchronization

final class EtcdLeases: Sendable {
  private struct Current {
    var id: Int64
    var granted: ContinuousClock.Instant
    var uses: Int
  }
  /// As upstream's: a lease with many keys is slow to end.
  private static let usesMax = 1000
  private let members: EtcdMembers
  /// By lifetime in seconds: as many as there are rules.
  private let current = Mutex<[Int64: Current]>([:])

  private let slackSeconds: Int64

  init(members: EtcdMembers, slackSeconds: Int64) {
    self.members = members
    self.slackSeconds = slackSeconds
  }

  /// A lease that ends no earlier than `seconds` from now, and little later: at most `slackSeconds`, at most a tenth.
  func lease(seconds: Int64) async throws(RPCError) -> Int64 {
    let slack = min(slackSeconds, seconds / 10)
    let known: Int64? = current.withLock { current in
      guard let found = current[seconds], found.uses < Self.usesMax,
        ContinuousClock.now - found.granted < .seconds(slack)
      else { return nil }
      current[seconds]?.uses += 1
      return found.id
    }
    if let known { return known }
    let response = try await members.call { member, options, _ in
      try await member.lease.leaseGrant(
        .with { $0.ttl = seconds + slack }, metadata: EtcdMembers.metadata, options: options)
    }
    current.withLock { $0[seconds] = Current(id: response.id, granted: .now, uses: 1) }
    return response.id
  }

  func forget() { current.withLock { $0 = [:] } }
}

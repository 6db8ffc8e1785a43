// Queries that came together, read before the first is answered: the lines of memory that hold their answers are fetched side by side.
//
//   recvmmsg -> read each head, hash its name, fetch the leaf -> look at each leaf, fetch the group -> answer one after the other

import CLinux
import Reactor

/// The heads of a batch and of a query that came alone. For one thread.
final class QueryBatch {
  static let countMax = 64
  /// Of a Service with a port and three endpoints, whose own name is asked for.
  private static let groupLines = 5

  /// The last place is for queries that came alone.
  private let heads: UnsafeMutablePointer<QueryHead>
  private var payloads = InlineArray<64, UnsafeRawPointer?>(repeating: nil)
  private var verdicts = InlineArray<64, QueryHead.Verdict>(repeating: .drop)
  private var leaves = InlineArray<64, UnsafeRawPointer?>(repeating: nil)
  private var hashes = InlineArray<64, UInt64>(repeating: 0)
  private var count = 0
  private var served = 0
  /// The head of the query that is served.
  private(set) var current: UnsafeMutablePointer<QueryHead>

  init() {
    heads = .allocate(capacity: Self.countMax + 1)
    heads.initialize(repeating: QueryHead(), count: Self.countMax + 1)
    current = heads + Self.countMax
  }

  deinit { heads.deallocate() }

  /// Reads all heads, and has fetched what the zone is asked for. Costs about 0.1 µs each.
  func read(_ batch: DatagramBatch, _ zone: Zone) {
    // Of one alone there is nothing to fetch beside it.
    count = batch.count > 1 ? min(batch.count, Self.countMax) : 0
    served = 0
    let names = zone.names
    for index in 0..<count {
      let payload = batch[index]
      let packet = payload.bytes
      payloads[index] = payload.baseAddress
      verdicts[index] = heads[index].read(packet)
      leaves[index] = nil
      guard verdicts[index] == .query, let hash = zone.groupHash(packet, heads[index]) else { continue }
      hashes[index] = hash
      let leaf = names.leafAddress(hash: hash)
      leaves[index] = leaf
      if let leaf {
        weft_prefetch(leaf)
        weft_prefetch(leaf + 64)
      }
    }
    for index in 0..<count {
      guard let leaf = leaves[index] else { continue }
      let hash = hashes[index]
      for entry in TrieView<NameEntry>(word: UInt(bitPattern: leaf) | 1).leaf where entry.hash == hash {
        // Its nodes, key and first answers.
        for line in 0..<Self.groupLines { weft_prefetch(entry.base + line &* 64) }
      }
    }
  }

  /// Reads the head of the next query, unless that is done already. `current` is its place.
  @inline(__always)
  func next(_ packet: RawSpan) -> QueryHead.Verdict {
    let start = packet.withUnsafeBytes { $0.baseAddress }
    // A datagram that is dropped unread is passed over.
    while served < count {
      let index = served
      served &+= 1
      guard payloads[index] == start else { continue }
      current = heads + index
      return verdicts[index]
    }
    current = heads + Self.countMax
    return current.pointee.read(packet)
  }
}

// Consistent hashing as Maglev does it (Eisenbud et al., NSDI 2016, section 3.4): each endpoint has its own permutation of
// the slots and takes the next free one in turn. An endpoint that comes or goes moves few slots besides its own.

import Addresses

/// The endpoint of each slot. The same on every node, because it depends on nothing but the endpoints.
struct MaglevTable {
  /// Primes; the least that has at least ten slots an endpoint, or the largest.
  static let sizes = [251, 1021, 4093, 16381]

  let slots: [SocketEndpoint]

  /// - Parameter shares: endpoints, each once, with weights of at least 1; not empty.
  init(_ shares: [(target: SocketEndpoint, weight: Int)]) {
    let size = Self.sizes.first { $0 >= shares.count * 10 } ?? Self.sizes[Self.sizes.count - 1]
    let heaviest = shares.map(\.weight).max() ?? 1
    var permutations = shares.map { share in
      let hash = Self.hash(share.target)
      return (at: Int(hash % UInt64(size)), skip: Int((hash >> 32) % UInt64(size - 1)) + 1, credit: 0)
    }
    var table = [Int?](repeating: nil, count: size)
    var filled = 0
    while filled < size {
      for index in shares.indices {
        // Lighter endpoints sit rounds out.
        permutations[index].credit += shares[index].weight
        guard permutations[index].credit >= heaviest else { continue }
        permutations[index].credit -= heaviest
        while table[permutations[index].at] != nil {
          permutations[index].at = (permutations[index].at + permutations[index].skip) % size
        }
        table[permutations[index].at] = index
        filled += 1
        if filled == size { break }
      }
    }
    slots = table.map { shares[$0 ?? 0].target }
  }

  /// FNV-1a, then mixed so that near addresses lie far apart.
  private static func hash(_ endpoint: SocketEndpoint) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in endpoint.address.bytes + [UInt8(endpoint.port >> 8), UInt8(endpoint.port & 0xff)] {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    hash = (hash ^ hash >> 33) &* 0xff51_afd7_ed55_8ccd
    hash = (hash ^ hash >> 33) &* 0xc4ce_b9fe_1a85_ec53
    return hash ^ hash >> 33
  }
}

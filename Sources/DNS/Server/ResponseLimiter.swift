// Response rate limiting: how often one network gets the same reply over UDP, so that nobody can be flooded through us by
// queries under a forged address. Off unless a rate is set.

/// A fixed table of token buckets of one thread. Two networks that share a place share its rate.
struct ResponseLimiter {
  enum Verdict { case send, cut, drop }

  static let places = 16384
  private struct Place {
    var key: UInt64 = 0
    var second: UInt32 = 0
    var sent: UInt32 = 0
    var held: UInt32 = 0
  }
  private var table: [Place]
  private let rate: UInt32
  /// Every how many held replies is sent, cut: a real client then comes back over TCP. 0 for none.
  private let slip: UInt32

  init(rate: Int, slip: Int = 2) {
    self.rate = UInt32(clamping: rate)
    self.slip = UInt32(clamping: slip)
    table = rate > 0 ? Array(repeating: Place(), count: Self.places) : []
  }

  var isOn: Bool { rate > 0 }

  /// - Parameter key: network, name and kind of the reply, hashed.
  mutating func verdict(_ key: UInt64, second: UInt32) -> Verdict {
    let index = Int(truncatingIfNeeded: key % UInt64(Self.places))
    if table[index].key != key || table[index].second != second {
      table[index] = Place(
        key: key, second: second, sent: 0, held: table[index].key == key ? table[index].held : 0)
    }
    if table[index].sent < rate {
      table[index].sent += 1
      return .send
    }
    table[index].held &+= 1
    return slip > 0 && table[index].held % slip == 0 ? .cut : .drop
  }
}

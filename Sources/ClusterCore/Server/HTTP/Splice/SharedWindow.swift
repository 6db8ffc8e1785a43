// A connection's flow-control window (RFC 9113, 6.9), divided between the HTTP/2 library and the watches whose frames go past it.
//
//   │◄────────────── real: what the peer takes ──────────────►│
//   │◄── library: what the library believes ──►│◄── spare ────►│
//
// The library counts for itself and cannot be told of bytes that others write. So it is told of less than there is, and the
// rest is the watches'. Either side alone uses up more than half of the whole before it has to wait, so that a peer that gives back
// only when half of its window is used gives back.

struct SharedWindow: Equatable {
  /// Before anything is said (RFC 9113, 6.9.2).
  static let initial = 65_535
  /// RFC 9113, 6.9.1.
  static let sizeMax = Int(Int32.max)

  private(set) var real = initial
  private(set) var library = initial
  /// The largest it ever was: as much as the peer takes when nothing is under way.
  private(set) var largest = initial

  /// Bytes that watches may write.
  var spare: Int { real - library }
  /// Large enough to be divided. A peer that never opened its window has nothing to give to a second writer.
  var isWide: Bool { largest >= 4 * Self.initial }
  private var libraryShare: Int { max(Self.initial, largest / 4) }

  mutating func libraryWrote(_ count: Int) {
    real -= count
    library -= count
  }

  mutating func watchWrote(_ count: Int) { real -= count }

  /// The peer takes `count` bytes more. Returns of how many the library is to be told; nil when the window grew past what is
  /// allowed.
  mutating func grew(by count: Int) -> Int? {
    guard count <= Self.sizeMax - real else { return nil }
    real += count
    largest = max(largest, real)
    let wanted = max(0, libraryShare - library)
    let passed = min(wanted, spare >= largest / 2 ? count : (count + 1) / 2)
    library += passed
    return passed
  }

  /// The library is about to wait, and the watches have some left.
  var canLend: Bool { library < libraryShare / 2 && spare > 1 }

  /// Gives the library of what the watches do not use. Returns of how many bytes it is to be told.
  mutating func lend() -> Int {
    guard canLend else { return 0 }
    let lent = min(libraryShare - library, spare / 2)
    library += lent
    return lent
  }
}

// The last changes of the zone, block by block, for clients that have an older one (IXFR).

/// One change.
struct ZoneChange: Sendable {
  var from: UInt32
  var to: UInt32
  var removed: [ZoneGroup]
  var added: [ZoneGroup]

  /// Changes kept, and blocks of all of them together: beyond that a client gets the whole zone.
  static let kept = 64
  static let blocksKept = 1024

  /// The journal after one more change. A change as large as a zone is not worth keeping.
  static func appended(_ change: ZoneChange, to journal: [ZoneChange]) -> [ZoneChange] {
    var result = journal + [change]
    var blocks = 0
    var first = result.count
    while first > 0, result.count - first < kept {
      blocks += result[first - 1].removed.count + result[first - 1].added.count
      if blocks > blocksKept { break }
      first -= 1
    }
    result.removeFirst(first)
    return result
  }
}

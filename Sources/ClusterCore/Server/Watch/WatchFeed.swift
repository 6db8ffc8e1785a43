// What all watches of one event loop that see the same are sent: one log, and in it a place for each.
//
//   events: first ─► [ e17 | e18 | e19 | e20 ] ◄─ end
//                      ▲           ▲         ▲
//                      slow        slower    most members: nothing waits for them
//
// An event is kept once, however many wait for it, and until the slowest has taken it.

import NIOCore

/// Used on its event loop, apart from being named in messages to it.
final class WatchFeed: @unchecked Sendable {
  /// Bytes that wait for the slowest reader. Past it, those that are behind by more than half are cut off.
  static let bytesMax = 64 << 20

  private var events: [ByteBuffer] = []
  private var first = 0
  private(set) var bytes = 0
  private(set) var members: [StreamWriter] = []
  /// Its drain is to make a pass over its members.
  var isWaiting = false
  /// A member, perhaps the slowest, has taken events since the last `trim`, or has gone.
  private(set) var hasMoved = false
  /// The events that were joined last: most members stand at the same place.
  private var made: (from: Int, to: Int, bytes: ByteBuffer)?

  /// The place after the newest event.
  var end: Int { first + events.count }

  func add(_ member: StreamWriter) {
    member.position = end
    member.slot = members.count
    members.append(member)
  }

  func remove(_ member: StreamWriter) {
    guard member.slot < members.count, members[member.slot] === member else { return }
    hasMoved = true
    let last = members.removeLast()
    if last !== member {
      members[member.slot] = last
      last.slot = member.slot
    }
  }

  func append(_ buffers: [ByteBuffer]) {
    if members.isEmpty { return }
    events += buffers
    for buffer in buffers { bytes += buffer.readableBytes }
    if bytes > Self.bytesMax {
      trim()
      if bytes > Self.bytesMax { shorten(to: Self.bytesMax / 2) }
    }
  }

  /// The events from a place on, several as one; nil when none waits.
  func next(_ position: inout Int) -> ByteBuffer? {
    guard position < end else { return nil }
    hasMoved = true
    if let made, made.from == position,
      made.to == end || made.bytes.readableBytes > StreamWriter.joinedMax / 2
    {
      position = made.to
      return made.bytes
    }
    let (joined, next) = StreamWriter.joined(events, from: position - first)
    made = (position, first + next, joined)
    position = first + next
    return joined
  }

  func rest(from position: Int) -> ArraySlice<ByteBuffer> { events[(position - first)...] }

  /// Forgets what all members have taken.
  func trim() {
    hasMoved = false
    if events.isEmpty { return }
    var slowest = end
    for member in members where member.position < slowest { slowest = member.position }
    drop(to: slowest)
  }

  /// Forgets the oldest events until what is left is no more than `limit`; who had not taken them is cut off.
  func shorten(to limit: Int) {
    var left = bytes
    var place = first
    while left > limit, place < end {
      left -= events[place - first].readableBytes
      place += 1
    }
    // Those cut off leave the list.
    for member in members where member.position < place { member.cutOff() }
    drop(to: place)
  }

  private func drop(to place: Int) {
    guard place > first else { return }
    for event in events[..<(place - first)] { bytes -= event.readableBytes }
    events.removeFirst(place - first)
    first = place
    if made.map({ $0.from < first }) ?? false { made = nil }
  }
}

// Answers of upstream servers, kept for their time. One a thread, so nothing is locked; never in front of our own zone.

/// A fixed number of places in sets of four. A new answer takes the place in its set that ends first.
struct ForwardCache {
  private struct Place {
    var hash: UInt64 = 0
    var answer: UpstreamAnswer?
    var isDNSSECWanted = false
    var keptAt: UInt64 = 0
    var endsAt: UInt64 = 0
  }

  static let ways = 4
  private var places: [Place]
  private let sets: Int
  private let seed = UInt64.random(in: .min ... .max)
  private(set) var count = 0

  /// Room for about `entries` answers; none for 0.
  init(entries: Int) {
    sets = entries / Self.ways
    places = Array(repeating: Place(), count: sets * Self.ways)
  }

  private func hash(_ packet: RawSpan, _ head: borrowing QueryHead) -> UInt64 {
    packet.foldedHash(at: Header.byteCount, count: head.nameLength, seed: seed ^ UInt64(head.type.rawValue))
  }

  /// The answer to a question and the seconds it has been kept. `now` in milliseconds of any steady clock.
  func find(_ packet: RawSpan, _ head: borrowing QueryHead, now: UInt64) -> (
    answer: UpstreamAnswer, age: UInt32
  )? {
    guard sets > 0, head.flags & Header.checkingDisabled == 0 else { return nil }
    let hash = hash(packet, head)
    let first = Int(hash % UInt64(sets)) * Self.ways
    for index in first..<first + Self.ways where places[index].hash == hash && places[index].endsAt > now {
      guard let answer = places[index].answer, answer.questionEnd == head.questionEnd,
        places[index].isDNSSECWanted == head.isDNSSECWanted, Self.matches(answer, packet, head)
      else { continue }
      return (answer, UInt32(truncatingIfNeeded: (now - places[index].keptAt) / 1000))
    }
    return nil
  }

  private static func matches(_ answer: UpstreamAnswer, _ packet: RawSpan, _ head: borrowing QueryHead)
    -> Bool
  {
    let length = head.nameLength
    let type = head.type.rawValue
    return answer.bytes.withUnsafeBytes { bytes in
      bytes.bytes.uint16(at: Header.byteCount + length) == type
        && packet.foldedEquals(at: Header.byteCount, count: length, bytes.baseAddress! + Header.byteCount)
    }
  }

  mutating func keep(_ answer: UpstreamAnswer, _ packet: RawSpan, _ head: borrowing QueryHead, now: UInt64) {
    guard sets > 0, answer.ttl > 0, head.flags & Header.checkingDisabled == 0 else { return }
    let hash = hash(packet, head)
    let first = Int(hash % UInt64(sets)) * Self.ways
    var chosen = first
    for index in first..<first + Self.ways {
      if let old = places[index].answer, places[index].hash == hash,
        places[index].isDNSSECWanted == head.isDNSSECWanted, Self.matches(old, packet, head)
      {
        chosen = index
        break
      }
      if places[index].endsAt < places[chosen].endsAt { chosen = index }
    }
    if places[chosen].answer == nil { count += 1 }
    places[chosen] = Place(
      hash: hash, answer: answer, isDNSSECWanted: head.isDNSSECWanted, keptAt: now,
      endsAt: now + UInt64(answer.ttl) * 1000)
  }
}

// Answers of upstream servers, kept for their time. One a thread, so nothing is locked; never in front of our own zone.

/// A fixed number of places in sets of four, for answers and for denials apart. A new answer takes the place in its set that
/// ends first.
struct ForwardCache {
  /// What the cache has for a question.
  struct Hit {
    var answer: UpstreamAnswer
    /// Seconds it has been kept.
    var age: UInt32
    /// Its time is over; it is given all the same (RFC 8767).
    var isStale: Bool
    /// It is asked for often and ends soon, or is stale: fetch it again. Said once for each time.
    var mustRefresh: Bool
  }

  private struct Place {
    var hash: UInt64 = 0
    var answer: UpstreamAnswer?
    var isDNSSECWanted = false
    /// Milliseconds.
    var keptAt: UInt64 = 0
    var endsAt: UInt64 = 0
    var usedAt: UInt64 = 0
    var uses: UInt32 = 0
    var refreshedAt: UInt64 = 0
  }

  static let ways = 4
  /// Milliseconds until a refresh that brought nothing is tried again.
  static let defaultRefreshPause: UInt64 = 2000
  let settings: ForwardCacheSettings
  private var places: [Place]
  private let positiveSets: Int
  private let negativeSets: Int
  private let seed = UInt64.random(in: .min ... .max)
  private(set) var count = 0
  /// Answers whose place another took before their time was over.
  private(set) var evictions: UInt64 = 0

  /// Room for a thread's share of the answers.
  init(_ settings: ForwardCacheSettings, threads: Int) {
    self.settings = settings
    positiveSets = settings.entriesMax / max(1, threads) / Self.ways
    negativeSets = (settings.entriesMax == 0 ? 0 : settings.denialsMax) / max(1, threads) / Self.ways
    places = Array(repeating: Place(), count: (positiveSets + negativeSets) * Self.ways)
  }

  private func hash(_ packet: RawSpan, _ head: borrowing QueryHead) -> UInt64 {
    packet.foldedHash(at: Header.byteCount, count: head.nameLength, seed: seed ^ UInt64(head.type.rawValue))
  }

  private func first(_ hash: UInt64, isNegative: Bool) -> Int? {
    if isNegative {
      return negativeSets == 0 ? nil : (positiveSets + Int(hash % UInt64(negativeSets))) * Self.ways
    }
    return positiveSets == 0 ? nil : Int(hash % UInt64(positiveSets)) * Self.ways
  }

  /// What is known of a question. `now` in milliseconds of any steady clock.
  /// - Parameter isLastResort: nobody upstream has answered: a stale answer is better than none.
  mutating func find(_ packet: RawSpan, _ head: borrowing QueryHead, now: UInt64, isLastResort: Bool = false)
    -> Hit?
  {
    guard !places.isEmpty, head.flags & Header.checkingDisabled == 0 else { return nil }
    let hash = hash(packet, head)
    for isNegative in [false, true] {
      guard let first = first(hash, isNegative: isNegative) else { continue }
      for index in first..<first + Self.ways where places[index].hash == hash {
        guard let answer = places[index].answer, answer.questionEnd == head.questionEnd,
          places[index].isDNSSECWanted == head.isDNSSECWanted,
          Self.matches(answer, packet, head.nameLength, head.type)
        else { continue }
        let age = settings.keepsTTL ? 0 : UInt32(truncatingIfNeeded: (now &- places[index].keptAt) / 1000)
        if places[index].endsAt > now {
          return Hit(answer: answer, age: age, isStale: false, mustRefresh: isWorthRefreshing(index, now))
        }
        guard settings.staleSeconds > 0, now &- places[index].endsAt < UInt64(settings.staleSeconds) * 1000,
          isLastResort || !settings.isStaleVerified || hasFailedLately(index, now),
          answer.code != .serverFailure
        else { continue }
        return Hit(answer: answer, age: age, isStale: true, mustRefresh: noteRefresh(index, now))
      }
    }
    return nil
  }

  /// Whether asking for this again has failed so lately that it is not asked for now.
  private func hasFailedLately(_ index: Int, _ now: UInt64) -> Bool {
    settings.staleRecheckSeconds > 0 && places[index].refreshedAt > 0
      && now &- places[index].refreshedAt < UInt64(settings.staleRecheckSeconds) * 1000
  }

  /// Nobody upstream answered a question that there is a stale answer to.
  mutating func noteFailure(_ packet: RawSpan, _ head: borrowing QueryHead, now: UInt64) {
    guard settings.staleRecheckSeconds > 0, !places.isEmpty else { return }
    let hash = hash(packet, head)
    for isNegative in [false, true] {
      guard let first = first(hash, isNegative: isNegative) else { continue }
      for index in first..<first + Self.ways where places[index].hash == hash {
        places[index].refreshedAt = max(1, now)
      }
    }
  }

  private mutating func isWorthRefreshing(_ index: Int, _ now: UInt64) -> Bool {
    guard settings.prefetchQueries > 0 else { return false }
    if now &- places[index].usedAt >= UInt64(settings.prefetchSeconds) * 1000 { places[index].uses = 0 }
    places[index].usedAt = now
    places[index].uses &+= 1
    // In whole seconds, as clients see it: of a short time the last second counts, however few percent it is.
    let whole = (places[index].endsAt - places[index].keptAt) / 1000
    let left = whole - min(whole, (now - min(now, places[index].keptAt)) / 1000)
    guard places[index].uses >= settings.prefetchQueries,
      left <= (whole * UInt64(settings.prefetchPercent) + 99) / 100
    else {
      return false
    }
    return noteRefresh(index, now)
  }

  private mutating func noteRefresh(_ index: Int, _ now: UInt64) -> Bool {
    let recheck = UInt64(settings.staleRecheckSeconds) * 1000
    let pause = recheck > 0 ? recheck : Self.defaultRefreshPause
    guard places[index].refreshedAt == 0 || now &- places[index].refreshedAt > pause else { return false }
    places[index].refreshedAt = max(1, now)
    return true
  }

  private static func matches(_ answer: UpstreamAnswer, _ packet: RawSpan, _ length: Int, _ type: RecordType)
    -> Bool
  {
    answer.bytes.withUnsafeBytes { bytes in
      bytes.bytes.uint16(at: Header.byteCount + length) == type.rawValue
        && packet.foldedEquals(at: Header.byteCount, count: length, bytes.baseAddress! + Header.byteCount)
    }
  }

  /// Whether an answer is in its time, or not too long past it.
  private func mayBeGiven(_ index: Int, _ now: UInt64) -> Bool {
    guard let answer = places[index].answer, answer.code != .serverFailure else { return false }
    return now < places[index].endsAt + UInt64(settings.staleSeconds) * 1000
  }

  /// Where a question's answer lies in the set that begins at `first`.
  private func place(_ hash: UInt64, _ first: Int, _ packet: RawSpan, _ head: borrowing QueryHead) -> Int? {
    for index in first..<first + Self.ways where places[index].hash == hash {
      guard places[index].isDNSSECWanted == head.isDNSSECWanted, let old = places[index].answer,
        old.questionEnd == head.questionEnd, Self.matches(old, packet, head.nameLength, head.type)
      else { continue }
      return index
    }
    return nil
  }

  private func holdsUsable(_ hash: UInt64, _ packet: RawSpan, _ head: borrowing QueryHead, _ now: UInt64)
    -> Bool
  {
    for isNegative in [false, true] {
      guard let first = first(hash, isNegative: isNegative), let own = place(hash, first, packet, head) else {
        continue
      }
      if mayBeGiven(own, now) { return true }
    }
    return false
  }

  /// Whether what the cache has goes before an answer that has just come: before a failure any, with `prefer_positive` one with
  /// records before a denial.
  mutating func goesBefore(
    _ answer: UpstreamAnswer, _ packet: RawSpan, _ head: borrowing QueryHead, now: UInt64
  ) -> Bool {
    guard settings.staleSeconds > 0,
      answer.code == .serverFailure || answer.isNegative && settings.prefersPositive,
      let hit = find(packet, head, now: now, isLastResort: true)
    else { return false }
    return answer.code == .serverFailure || !hit.answer.isNegative
  }

  mutating func keep(_ answer: UpstreamAnswer, _ packet: RawSpan, _ head: borrowing QueryHead, now: UInt64) {
    guard !places.isEmpty, answer.ttl > 0, head.flags & Header.checkingDisabled == 0 else { return }
    if !settings.zones.isEmpty, !head.isWithin(any: settings.zones, packet) { return }
    for zone in answer.isNegative ? settings.disabledNegative : settings.disabledPositive
    where head.isWithin(zone, packet) { return }
    let hash = hash(packet, head)
    // A failure does not drive out what may be given in its stead, whether that is stale or was asked for early.
    if answer.code == .serverFailure, holdsUsable(hash, packet, head, now) { return }
    var uses: UInt32 = 0
    for isNegative in [answer.isNegative, !answer.isNegative] {
      guard let first = first(hash, isNegative: isNegative) else { continue }
      let own = place(hash, first, packet, head)
      if isNegative != answer.isNegative {
        // A name that has come or gone must not be answered from the other half.
        if let own {
          if answer.isNegative, settings.prefersPositive, mayBeGiven(own, now) { continue }
          places[own] = Place()
          count -= 1
        }
        continue
      }
      let chosen = own ?? (first..<first + Self.ways).min { places[$0].endsAt < places[$1].endsAt } ?? first
      if own != nil { uses = places[chosen].uses }
      if places[chosen].answer == nil {
        count += 1
      } else if own == nil, places[chosen].endsAt > now {
        evictions += 1
      }
      places[chosen] = Place(
        hash: hash, answer: answer, isDNSSECWanted: head.isDNSSECWanted, keptAt: now,
        endsAt: now + UInt64(answer.ttl) * 1000, usedAt: now, uses: uses)
    }
  }
}

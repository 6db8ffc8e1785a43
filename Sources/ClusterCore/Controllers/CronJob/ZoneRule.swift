// The rule at the end of a zone file, as POSIX writes it in TZ: `CET-1CEST,M3.5.0,M10.5.0/3`.

/// Standard time, and when in a year summer time begins and ends.
struct ZoneRule: Equatable, Sendable {
  private enum Day: Equatable {
    /// The `week`th (5: last) `weekday` of a month.
    case weekday(month: Int, week: Int, weekday: Int)
    /// Days of the year from 1, 29 February never counted.
    case julian(Int)
    /// Days of the year from 0, 29 February counted.
    case ordinal(Int)
  }
  private struct Switch: Equatable {
    var day: Day
    /// Seconds of local time from that day's midnight.
    var time: Int
  }
  private var standard: Int
  private var summer: Int?
  private var start: Switch?
  private var end: Switch?

  init?(_ text: String) {
    var parser = Parser(text)
    guard parser.name(), let offset = parser.clock() else { return nil }
    // POSIX counts westwards.
    standard = -offset
    guard !parser.isAtEnd else { return }
    guard parser.name() else { return nil }
    var shift = -standard - 3600
    if !parser.isNext(",") {
      guard let said = parser.clock() else { return nil }
      shift = said
    }
    summer = -shift
    guard parser.take(","), let first = parser.change(), parser.take(","), let second = parser.change(),
      parser.isAtEnd
    else { return nil }
    start = Switch(day: first.day, time: first.time)
    end = Switch(day: second.day, time: second.time)
  }

  func offset(at seconds: Int64) -> Int {
    guard let summer, let start, let end else { return standard }
    let local = seconds + Int64(standard)
    let (year, _, _) = CivilDate.of(day: local >= 0 ? local / 86400 : (local - 86399) / 86400)
    let begins = Self.moment(start, year) - Int64(standard)
    let ends = Self.moment(end, year) - Int64(summer)
    let isSummer =
      begins < ends ? seconds >= begins && seconds < ends : seconds >= begins || seconds < ends
    return isSummer ? summer : standard
  }

  /// Seconds since 1970 as if the local time were UTC.
  private static func moment(_ change: Switch, _ year: Int64) -> Int64 {
    let newYear = CivilDate.day(year: year, month: 1, day: 1)
    let day: Int64
    switch change.day {
    case .ordinal(let number): day = newYear + Int64(number)
    case .julian(let number):
      day = newYear + Int64(number - 1) + (CivilDate.isLeap(year) && number >= 60 ? 1 : 0)
    case .weekday(let month, let week, let weekday):
      let first = CivilDate.day(year: year, month: month, day: 1)
      let next =
        month == 12
        ? CivilDate.day(year: year + 1, month: 1, day: 1)
        : CivilDate.day(year: year, month: month + 1, day: 1)
      let shift = (Int64(weekday) - (first + 4) % 7 + 14) % 7
      var found = first + shift + Int64(week - 1) * 7
      while found >= next { found -= 7 }
      day = found
    }
    return day * 86400 + Int64(change.time)
  }

  private struct Parser {
    private var rest: Substring.UTF8View
    init(_ text: String) { rest = text[...].utf8 }
    var isAtEnd: Bool { rest.isEmpty }

    func isNext(_ letter: Character) -> Bool { rest.first == letter.asciiValue }
    mutating func take(_ letter: Character) -> Bool {
      guard isNext(letter) else { return false }
      rest = rest.dropFirst()
      return true
    }

    /// `CET` or `<+03>`.
    mutating func name() -> Bool {
      if take("<") {
        guard let end = rest.firstIndex(of: UInt8(ascii: ">")) else { return false }
        rest = rest[rest.index(after: end)...]
        return true
      }
      let letters = rest.prefix { ($0 | 0x20) >= 0x61 && ($0 | 0x20) <= 0x7A }
      rest = rest.dropFirst(letters.count)
      return letters.count >= 3
    }

    mutating func number(_ most: Int) -> Int? {
      let digits = rest.prefix { $0 >= 48 && $0 <= 57 }
      guard !digits.isEmpty, digits.count <= 3, let value = Int(String(Substring(digits))), value <= most
      else {
        return nil
      }
      rest = rest.dropFirst(digits.count)
      return value
    }

    /// `[+-]hh[:mm[:ss]]` in seconds; a week of hours is the most that there is.
    mutating func clock() -> Int? {
      let isNegative = isNext("-")
      if isNegative || isNext("+") { rest = rest.dropFirst() }
      guard let hours = number(167) else { return nil }
      var seconds = hours * 3600
      for unit in [60, 1] where isNext(":") {
        rest = rest.dropFirst()
        guard let value = number(59) else { return nil }
        seconds += value * unit
      }
      return isNegative ? -seconds : seconds
    }

    mutating func change() -> (day: Day, time: Int)? {
      let day: Day
      if take("M") {
        guard let month = number(12), month >= 1, take("."), let week = number(5), week >= 1, take("."),
          let weekday = number(6)
        else { return nil }
        day = .weekday(month: month, week: week, weekday: weekday)
      } else if take("J") {
        guard let number = number(365), number >= 1 else { return nil }
        day = .julian(number)
      } else {
        guard let number = number(365) else { return nil }
        day = .ordinal(number)
      }
      var time = 7200
      if take("/") {
        guard let said = clock() else { return nil }
        time = said
      }
      return (day, time)
    }
  }
}

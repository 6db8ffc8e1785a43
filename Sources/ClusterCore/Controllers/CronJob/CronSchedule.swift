// When a schedule in cron's format comes round. Days and hours are those of a time zone, so a step forward
// in it is a step of calendar and clock together.
//
//   minute hour day-of-month month day-of-week     each: * ? 5 1-5 */15 1-30/5 mon-fri, or several with commas
//   @yearly @monthly @weekly @daily @hourly        @every 1h30m

import Diagnostics

/// A parsed schedule. Pure; costs a few hundred steps a question at most.
struct CronSchedule: Equatable, Sendable {
  /// What is asked for may never come (31 February): after this many years nobody looks further.
  static let yearsMax = 5

  private var minutes: UInt64 = 0
  private var hours: UInt64 = 0
  private var days: UInt64 = 0
  private var months: UInt64 = 0
  private var weekdays: UInt64 = 0
  /// Whether the day of the month, or of the week, is left open: then the other one alone decides.
  private var hasAnyDay = false
  private var hasAnyWeekday = false
  /// Seconds between two times of `@every`; 0 for all others.
  private(set) var every: Int64 = 0

  private static let monthNames = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
  ]
  private static let dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
  private static let nicknames: [String: String] = [
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
  ]

  /// Nil when the text is no schedule.
  init?(_ text: String) {
    if text.hasPrefix("@every ") {
      guard let duration = GoDuration.parse(text.dropFirst(7)) else { return nil }
      // Upstream leaves out what is below a second, and rounds up to one.
      every = max(1, duration.components.seconds)
      return
    }
    let fields = (Self.nicknames[text] ?? text).split(whereSeparator: { $0 == " " || $0 == "\t" })
    guard fields.count == 5, let minutes = Self.field(fields[0], 0...59),
      let hours = Self.field(fields[1], 0...23), let days = Self.field(fields[2], 1...31),
      let months = Self.field(fields[3], 1...12, names: Self.monthNames, first: 1),
      let weekdays = Self.field(fields[4], 0...6, names: Self.dayNames, first: 0)
    else { return nil }
    self.minutes = minutes.bits
    self.hours = hours.bits
    self.days = days.bits
    self.months = months.bits
    self.weekdays = weekdays.bits
    hasAnyDay = days.isOpen
    hasAnyWeekday = weekdays.isOpen
  }

  /// The first time after `seconds` (since 1970); nil when there is none within five years.
  func next(after seconds: Int64, in zone: TimeZoneRules = .utc) -> Int64? {
    guard seconds > -62_000_000_000, seconds < 250_000_000_000 else { return nil }
    if every > 0 { return seconds + every }
    var time = seconds - Self.remainder(seconds, 60) + 60
    let end = time + Int64(Self.yearsMax) * 366 * 86400
    while time < end {
      let local = LocalTime(time, in: zone)
      if !Self.has(months, local.month) || !matchesDay(local) {
        time = Self.nextMidnight(after: time, local, zone)
      } else if !Self.has(hours, local.hour) {
        time += Int64(3600 - local.secondOfDay % 3600)
      } else if !Self.has(minutes, local.minute) {
        // Zones off the minute (before 1950) come to whole minutes of their own.
        time += Int64(60 - local.secondOfDay % 60)
      } else {
        return time
      }
    }
    return nil
  }

  private func matchesDay(_ local: LocalTime) -> Bool {
    let day = Self.has(days, local.day)
    let weekday = Self.has(weekdays, local.weekday)
    return hasAnyDay || hasAnyWeekday ? day && weekday : day || weekday
  }

  /// The first moment of the next day, also where the clock is changed at midnight.
  private static func nextMidnight(after time: Int64, _ local: LocalTime, _ zone: TimeZoneRules) -> Int64 {
    let guess = time + Int64(86400 - local.secondOfDay)
    let there = LocalTime(guess, in: zone)
    if there.day == local.day { return guess + Int64(86400 - there.secondOfDay) }
    let start = guess - Int64(there.secondOfDay)
    return start > time && LocalTime(start, in: zone).day == there.day ? start : guess
  }

  // MARK: Parsing

  private static func has(_ bits: UInt64, _ value: Int) -> Bool { bits & (1 << UInt64(value)) != 0 }
  private static func remainder(_ value: Int64, _ by: Int64) -> Int64 {
    let rest = value % by
    return rest < 0 ? rest + by : rest
  }

  private static func field(
    _ text: Substring, _ range: ClosedRange<Int>, names: [String] = [], first: Int = 0
  ) -> (bits: UInt64, isOpen: Bool)? {
    var bits: UInt64 = 0
    var isOpen = false
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let halves = part.split(separator: "/", omittingEmptySubsequences: false)
      guard halves.count <= 2 else { return nil }
      var step = 1
      if halves.count == 2 {
        guard let number = number(halves[1], names: [], first: 0), number > 0 else { return nil }
        step = number
      }
      var low = range.lowerBound
      var high = range.upperBound
      if halves[0] == "*" || halves[0] == "?" {
        // Every second day is a choice: only each one leaves the day open.
        if step == 1 { isOpen = true }
      } else {
        let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count <= 2, let from = number(ends[0], names: names, first: first) else { return nil }
        low = from
        if ends.count == 2 {
          guard let to = number(ends[1], names: names, first: first) else { return nil }
          high = to
        } else if halves.count == 1 {
          high = from
        }
      }
      guard low >= range.lowerBound, high <= range.upperBound, low <= high else { return nil }
      for value in stride(from: low, through: high, by: step) { bits |= 1 << UInt64(value) }
    }
    return (bits, isOpen)
  }

  private static func number(_ text: Substring, names: [String], first: Int) -> Int? {
    if let position = names.firstIndex(of: text.lowercased()) { return position + first }
    guard !text.isEmpty, text.utf8.count <= 9, text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }) else {
      return nil
    }
    return Int(text)
  }
}

/// Calendar and clock of a moment in a zone.
struct LocalTime: Equatable {
  var month: Int
  var day: Int
  /// Sunday is 0.
  var weekday: Int
  var secondOfDay: Int
  var hour: Int { secondOfDay / 3600 }
  var minute: Int { secondOfDay / 60 % 60 }

  init(_ seconds: Int64, in zone: TimeZoneRules) {
    let local = seconds + Int64(zone.offset(at: seconds))
    var days = local / 86400
    var rest = local % 86400
    if rest < 0 {
      rest += 86400
      days -= 1
    }
    secondOfDay = Int(rest)
    // 1 January 1970 was a Thursday.
    weekday = Int(((days + 4) % 7 + 7) % 7)
    (_, month, day) = CivilDate.of(day: days)
  }
}

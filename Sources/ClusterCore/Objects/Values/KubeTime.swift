// Times as the API writes them (RFC 3339, UTC) and ages as kubectl prints them.

/// A moment in nanoseconds since 1970, without calendar tables: dates are computed.
public struct KubeTime: Sendable, Hashable, Comparable {
  public var seconds: Int64
  public var nanoseconds: Int32

  public init(seconds: Int64, nanoseconds: Int32 = 0) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  /// Nil when the text is no RFC 3339 time.
  public init?(_ text: String) {
    let b = Array(text.utf8)
    guard b.count >= 20, b[4] == 45, b[7] == 45, b[10] | 0x20 == 0x74, b[13] == 58, b[16] == 58 else {
      return nil
    }
    func number(_ from: Int, _ count: Int) -> Int? {
      var value = 0
      for index in from..<from + count {
        guard index < b.count, b[index] >= 48, b[index] <= 57 else { return nil }
        value = value * 10 + Int(b[index] - 48)
      }
      return value
    }
    guard let year = number(0, 4), let month = number(5, 2), let day = number(8, 2), let hour = number(11, 2),
      let minute = number(14, 2), let second = number(17, 2), (1...12).contains(month), hour < 24,
      minute < 60,
      second < 60, day >= 1, day <= Self.days(month: month, year: year)
    else { return nil }
    var index = 19
    var nanos = 0
    if b[index] == UInt8(ascii: ".") {
      index += 1
      var count = 0
      while index < b.count, b[index] >= 48, b[index] <= 57 {
        if count < 9 {
          nanos = nanos * 10 + Int(b[index] - 48)
          count += 1
        }
        index += 1
      }
      guard count > 0 else { return nil }
      while count < 9 {
        nanos *= 10
        count += 1
      }
    }
    guard index < b.count else { return nil }
    var offset = 0
    if b[index] | 0x20 == UInt8(ascii: "z") {
      guard index + 1 == b.count else { return nil }
    } else {
      guard b[index] == UInt8(ascii: "+") || b[index] == UInt8(ascii: "-"), index + 6 == b.count,
        b[index + 3] == UInt8(ascii: ":"), let hours = number(index + 1, 2),
        let minutes = number(index + 4, 2),
        hours < 24, minutes < 60
      else { return nil }
      offset = (hours * 60 + minutes) * 60 * (b[index] == UInt8(ascii: "-") ? -1 : 1)
    }
    let days = Self.daysSince1970(year: year, month: month, day: day)
    seconds = Int64(days * 86400 + hour * 3600 + minute * 60 + second - offset)
    nanoseconds = Int32(nanos)
  }

  private static func days(month: Int, year: Int) -> Int {
    if month == 2 { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28 }
    return [4, 6, 9, 11].contains(month) ? 30 : 31
  }

  // Civil calendar arithmetic over 400-year eras that begin in March, so that the leap day is the last one.
  private static func daysSince1970(year: Int, month: Int, day: Int) -> Int {
    let y = month <= 2 ? year - 1 : year
    let era = (y >= 0 ? y : y - 399) / 400
    let yearOfEra = y - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  /// `2026-11-21T05:00:00Z`.
  public var text: String { date + "Z" }
  /// With six decimals, as leases and events have it.
  public var microText: String {
    let micros = String(nanoseconds / 1000)
    return date + "." + String(repeating: "0", count: 6 - micros.count) + micros + "Z"
  }

  private var date: String {
    // Years 0000 to 9999 are what four digits can hold.
    let bounded = min(max(seconds, -62_167_219_200), 253_402_300_799)
    var days = Int(bounded / 86400)
    var rest = Int(bounded % 86400)
    if rest < 0 {
      rest += 86400
      days -= 1
    }
    days += 719_468
    let era = (days >= 0 ? days : days - 146_096) / 146_097
    let dayOfEra = days - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let yearText = String(year)
    return String(repeating: "0", count: max(0, 4 - yearText.count)) + yearText
      + "-\(two(month))-\(two(dayOfYear - (153 * shifted + 2) / 5 + 1))"
      + "T\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))"
  }

  public static func < (a: Self, b: Self) -> Bool { (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds) }

  /// An age as kubectl prints it: two units while they tell something, else one.
  public static func age(_ seconds: Int64) -> String {
    if seconds < -1 { return "<invalid>" }
    if seconds < 0 { return "0s" }
    if seconds < 120 { return "\(seconds)s" }
    func pair(_ big: Int64, _ bigUnit: String, _ small: Int64, _ smallUnit: String) -> String {
      small == 0 ? "\(big)\(bigUnit)" : "\(big)\(bigUnit)\(small)\(smallUnit)"
    }
    let minutes = seconds / 60
    if minutes < 10 { return pair(minutes, "m", seconds % 60, "s") }
    if minutes < 180 { return "\(minutes)m" }
    let hours = seconds / 3600
    if hours < 8 { return pair(hours, "h", minutes % 60, "m") }
    if hours < 48 { return "\(hours)h" }
    if hours < 192 { return pair(hours / 24, "d", hours % 24, "h") }
    if hours < 24 * 365 * 2 { return "\(hours / 24)d" }
    if hours < 24 * 365 * 8 { return pair(hours / 24 / 365, "y", hours / 24 % 365, "d") }
    return "\(hours / 24 / 365)y"
  }

  /// The age of what began at `text`; `<unknown>` when that is no time.
  public static func age(of text: String?, now: KubeTime) -> String {
    guard let text, let start = KubeTime(text) else { return "<unknown>" }
    return age(now.seconds - start.seconds)
  }
}

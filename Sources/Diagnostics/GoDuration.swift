// Durations as Go writes and reads them, in flags, configuration files and schedules: `1h2m3.5s`, `250ms`, `1.5µs`, `-2h`, `0`.

/// Reads and writes Go's form of a duration, as `time.ParseDuration` and `Duration.String` have it: 64 bits of nanoseconds, so 292
/// years either way. Pure; a text costs its length.
public enum GoDuration {
  private static let nanosecondsMax = UInt64(Int64.max)

  /// Nanoseconds of a unit; nil for what is none. Both signs for micro, U+00B5 and U+03BC, are Go's.
  private static func nanoseconds(ofUnit name: Substring) -> UInt64? {
    switch name {
    case "ns": 1
    case "us", "\u{b5}s", "\u{3bc}s": 1000
    case "ms": 1_000_000
    case "s": 1_000_000_000
    case "m": 60_000_000_000
    case "h": 3_600_000_000_000
    default: nil
    }
  }

  /// The duration; nil for what is none or beyond 64 bits. A sign may stand in front of all of it, a unit behind each number.
  public static func parse(_ text: some StringProtocol) -> Duration? {
    var rest = Substring(text)
    let isNegative = rest.first == "-"
    if isNegative || rest.first == "+" { rest = rest.dropFirst() }
    if rest == "0" { return .zero }
    guard !rest.isEmpty else { return nil }
    var total: UInt64 = 0
    while !rest.isEmpty {
      let whole = rest.prefix(while: isDigit)
      rest = rest.dropFirst(whole.count)
      var fraction: Substring = ""
      if rest.first == "." {
        fraction = rest.dropFirst().prefix(while: isDigit)
        rest = rest.dropFirst(fraction.count + 1)
      }
      let name = rest.prefix { !isDigit($0) && $0 != "." }
      rest = rest.dropFirst(name.count)
      guard !(whole.isEmpty && fraction.isEmpty), let unit = nanoseconds(ofUnit: name),
        let count = whole.isEmpty ? 0 : UInt64(whole)
      else { return nil }
      let (product, isTooLong) = count.multipliedReportingOverflow(by: unit)
      let (sum, isTooMuch) = total.addingReportingOverflow(product)
      guard !isTooLong, !isTooMuch, sum <= nanosecondsMax else { return nil }
      total = sum + part(fraction, of: unit)
      guard total <= nanosecondsMax else { return nil }
    }
    let nanoseconds = Int64(total)
    return .nanoseconds(isNegative ? -nanoseconds : nanoseconds)
  }

  /// Seconds; nil for what is no duration or negative.
  public static func seconds(_ text: some StringProtocol) -> Double? {
    guard let duration = parse(text), duration >= .zero else { return nil }
    return duration / .seconds(1)
  }

  /// Whole seconds, rounded up; nil for what is no duration or negative.
  public static func wholeSeconds(_ text: some StringProtocol) -> Int? {
    guard let duration = parse(text), duration >= .zero else { return nil }
    let (seconds, attoseconds) = duration.components
    return Int(seconds) + (attoseconds > 0 ? 1 : 0)
  }

  /// As Go prints it: `1m30s`, `1.5s`, `100ms`, `0s`. What is below a nanosecond is left out.
  public static func text(_ duration: Duration) -> String {
    if duration < .zero { return "-" + text(.zero - duration) }
    let (seconds, attoseconds) = duration.components
    let nanoseconds = attoseconds / 1_000_000_000
    if seconds == 0 {
      switch nanoseconds {
      case 0: return "0s"
      case ..<1000: return "\(nanoseconds)ns"
      case ..<1_000_000: return decimal(nanoseconds / 1000, nanoseconds % 1000, digits: 3) + "µs"
      default: return decimal(nanoseconds / 1_000_000, nanoseconds % 1_000_000, digits: 6) + "ms"
      }
    }
    var text = seconds >= 3600 ? "\(seconds / 3600)h" : ""
    if seconds >= 60 { text += "\(seconds / 60 % 60)m" }
    return text + decimal(seconds % 60, nanoseconds, digits: 9) + "s"
  }

  private static func isDigit(_ character: Character) -> Bool { ("0"..."9").contains(character) }

  /// Nanoseconds that the digits after a point are, by floating point as in Go, so that a third of an hour is twenty minutes.
  private static func part(_ digits: Substring, of unit: UInt64) -> UInt64 {
    var value: UInt64 = 0
    var scale = 1.0
    for digit in digits {
      guard value <= nanosecondsMax / 10 else { break }
      value = value * 10 + UInt64(digit.wholeNumberValue ?? 0)
      scale *= 10
    }
    return UInt64(Double(value) * (Double(unit) / scale))
  }

  private static func decimal(_ whole: Int64, _ part: Int64, digits: Int) -> String {
    if part == 0 { return "\(whole)" }
    let text = "\(part)"
    var fraction = (String(repeating: "0", count: digits - text.count) + text)[...]
    while fraction.hasSuffix("0") { fraction = fraction.dropLast() }
    return "\(whole).\(fraction)"
  }
}

// Schedules in cron's format: what may be written in them.

/// `minute hour day month weekday`, or a name such as `@daily`.
enum CronText {
  private struct Field {
    var name: String
    var range: ClosedRange<Int>
    var names: [String] = []
  }
  private static let fields = [
    Field(name: "minute", range: 0...59), Field(name: "hour", range: 0...23),
    Field(name: "day of month", range: 1...31),
    Field(
      name: "month", range: 1...12,
      names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    Field(name: "day of week", range: 0...6, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
  ]
  private static let nicknames: Set<String> = [
    "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly",
  ]

  /// What is wrong with a schedule; nil when nothing is.
  static func problem(_ schedule: String) -> String? {
    if schedule.hasPrefix("@every ") {
      let length = schedule.dropFirst(7)
      let isLength =
        length.last?.isLetter == true && length.first?.isNumber == true
        && length.allSatisfy { $0.isNumber || "hmsun.µ".contains($0) }
      return isLength ? nil : "failed to parse duration \(schedule)"
    }
    if schedule.hasPrefix("@") {
      return nicknames.contains(schedule) ? nil : "unrecognized descriptor: \(schedule)"
    }
    let parts = schedule.split(whereSeparator: \.isWhitespace)
    if parts.count != fields.count {
      return "expected exactly 5 fields, found \(parts.count): [\(parts.joined(separator: " "))]"
    }
    for (part, field) in zip(parts, fields) {
      for range in part.split(separator: ",", omittingEmptySubsequences: false) {
        if let problem = problem(range, field) { return problem }
      }
    }
    return nil
  }

  /// `*`, `5`, `1-5`, each with `/step`.
  private static func problem(_ text: Substring, _ field: Field) -> String? {
    let halves = text.split(separator: "/", omittingEmptySubsequences: false)
    if halves.count > 2 { return "too many slashes: \(text)" }
    let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
    if ends.count > 2 { return "too many hyphens: \(text)" }
    var bounds = [field.range.lowerBound, field.range.upperBound]
    if halves[0] != "*", halves[0] != "?" {
      var numbers: [Int] = []
      for end in ends {
        guard let number = number(end, field) else {
          return "failed to parse int from \(end): strconv.Atoi: parsing \"\(end)\": invalid syntax"
        }
        numbers.append(number)
      }
      if numbers[0] < bounds[0] {
        return "beginning of range (\(numbers[0])) below minimum (\(bounds[0])): \(text)"
      }
      let last = numbers.count > 1 ? numbers[1] : halves.count > 1 ? bounds[1] : numbers[0]
      if last > bounds[1] { return "end of range (\(last)) above maximum (\(bounds[1])): \(text)" }
      if numbers[0] > last {
        return "beginning of range (\(numbers[0])) beyond end of range (\(last)): \(text)"
      }
      bounds = [numbers[0], last]
    }
    guard halves.count == 2 else { return nil }
    guard let step = Int(halves[1]), step >= 0 else {
      return "failed to parse int from \(halves[1]): strconv.Atoi: parsing \"\(halves[1])\": invalid syntax"
    }
    return step == 0 ? "step of range should be a positive number: \(text)" : nil
  }

  private static func number(_ text: Substring, _ field: Field) -> Int? {
    if let position = field.names.firstIndex(of: text.lowercased()) {
      return position + field.range.lowerBound
    }
    guard text.first?.isNumber == true else { return nil }
    return Int(text)
  }
}

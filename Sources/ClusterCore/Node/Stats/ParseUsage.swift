// Reading the kernel's tables: control groups, network devices, processor time. Pure: text in, values out; what is not there
// or not a number is left out.

/// `name value` lines.
func parseFlatTable(_ text: String) -> [String: UInt64] {
  var table: [String: UInt64] = [:]
  for line in text.split(separator: "\n") {
    let words = line.split(separator: " ")
    if words.count == 2, let value = UInt64(words[1]) { table[String(words[0])] = value }
  }
  return table
}

/// The number a file of one line holds; nil for `max`.
func parseNumber(_ text: String?) -> UInt64? {
  guard let text else { return nil }
  return UInt64(text.prefix { $0.isNumber })
}

/// A control group's memory. Version 1 counts the children under `total_` names.
func planMemoryUsage(usage: UInt64, statistics: [String: UInt64], limit: UInt64?) -> MemoryUsage {
  let inactive = statistics["total_inactive_file"] ?? statistics["inactive_file"] ?? 0
  let workingSet = usage > inactive ? usage - inactive : 0
  var memory = MemoryUsage(usage: usage, workingSet: workingSet)
  memory.resident = statistics["total_rss"] ?? statistics["anon"] ?? statistics["rss"] ?? 0
  memory.pageFaults = statistics["total_pgfault"] ?? statistics["pgfault"] ?? 0
  memory.majorPageFaults = statistics["total_pgmajfault"] ?? statistics["pgmajfault"] ?? 0
  // Without a limit version 1 says a number near 2^63.
  if let limit, limit < 1 << 62 { memory.available = limit > workingSet ? limit - workingSet : 0 }
  return memory
}

/// `/proc/net/dev`, without the loopback.
func parseNetworkDevices(_ text: String) -> [InterfaceUsage] {
  text.split(separator: "\n").compactMap { line in
    guard let colon = line.firstIndex(of: ":") else { return nil }
    let name = line[..<colon].filter { $0 != " " }
    let numbers = line[line.index(after: colon)...].split(separator: " ").map { UInt64($0) ?? 0 }
    guard name != "lo", !name.isEmpty, numbers.count >= 11 else { return nil }
    return InterfaceUsage(
      name: String(name), receivedBytes: numbers[0], receiveErrors: numbers[2], sentBytes: numbers[8],
      sendErrors: numbers[10])
  }
}

/// The machine's processor time from `/proc/stat`: nanoseconds of all processors that were neither idle nor waiting nor
/// another guest's. Nil when the line is not there.
func parseProcessorTime(_ text: String, ticksPerSecond: UInt64) -> UInt64? {
  guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("cpu ") }) else { return nil }
  let numbers = line.split(separator: " ").dropFirst().map { UInt64($0) ?? 0 }
  guard numbers.count >= 7, ticksPerSecond > 0 else { return nil }
  let ticks = [0, 1, 2, 5, 6].reduce(UInt64(0)) { $0 &+ numbers[$1] }
  return ticks &* (1_000_000_000 / ticksPerSecond)
}

/// When the machine started, in seconds since 1970; 0 when unknown.
func parseBootTime(_ text: String) -> Int64 {
  let line = text.split(separator: "\n").first { $0.hasPrefix("btime ") }
  return line.flatMap { Int64($0.dropFirst(6)) } ?? 0
}

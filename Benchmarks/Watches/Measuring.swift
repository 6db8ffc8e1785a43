// Clocks, and what another process uses, from /proc.

import Glibc

func say(_ text: String) {
  var text = text + "\n"
  _ = text.withUTF8 { Glibc.write(1, $0.baseAddress, $0.count) }
}

func milliseconds() -> Int {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int(time.tv_sec) * 1000 + Int(time.tv_nsec) / 1_000_000
}

/// Processor seconds of this process.
func ownSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

private func contents(_ path: String) -> String {
  guard let file = fopen(path, "r") else { return "" }
  defer { fclose(file) }
  var bytes = [UInt8](repeating: 0, count: 1 << 16)
  let count = fread(&bytes, 1, bytes.count, file)
  return String(decoding: bytes[..<count], as: UTF8.self)
}

/// A process beside this one.
struct Other {
  var pid: Int

  var processorSeconds: Double {
    let fields = contents("/proc/\(pid)/stat").split(separator: ")").last?.split(separator: " ") ?? []
    guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
    return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// Resident kilobytes that are its own.
  var anonymousKilobytes: Int {
    for line in contents("/proc/\(pid)/status").split(separator: "\n") where line.hasPrefix("RssAnon:") {
      return line.split { $0 == " " || $0 == "\t" }.dropFirst().first.flatMap { Int($0) } ?? 0
    }
    return 0
  }
}

func rounded(_ number: Double) -> String { "\((number * 100).rounded() / 100)" }

// The audit log: a JSON line an event, in a file that is turned over when it has grown.
//
//   requests ─► bounded queue ─► one writer ─► audit.log ─► audit-2026-11-21T08-00-00.000.log …
//
// A request never waits for the file. When the queue is full, or the file cannot be written, events are
// dropped and counted; the server's log tells it at most once a minute, with how many they were.

import Diagnostics
import Glibc
import Logging
import NIOPosix
import Synchronization

final class AuditLog: Sendable {
  struct Settings: Sendable {
    /// `-` for standard output.
    var path: String
    var bytesMax = 100 << 20
    /// Old files kept; 0 for all.
    var backupsMax = 0
    /// Days that old files are kept; 0 for ever.
    var daysMax = 0
  }

  /// Events that may wait for the file.
  static let queuedEventsMax = 10_000
  /// Bytes that may wait for the file.
  static let queuedBytesMax = 64 << 20

  private struct State {
    var queue: [[UInt8]] = []
    var queuedBytes = 0
    var isScheduled = false
    /// Events that found the queue full, and those that could not be written.
    var dropped = LossReport()
    var lost = LossReport()
  }
  private let state = Mutex(State())
  private let file: Mutex<RotatedFile>
  private let threads = NIOThreadPool.singleton
  private let log = Logger(label: "apiserver.audit")
  private let failures = Metrics.shared.counter(
    "apiserver_audit_error_total", "Audit events that could not be recorded.", labels: ["plugin"]
  ).child("log")
  private let queued = Metrics.shared.gauge(
    "weft_apiserver_audit_queued_events", "Audit events that wait for the file.")

  /// Opens the file. Errors: `API0003`.
  init(_ settings: Settings) throws(WeftError) {
    file = Mutex(try RotatedFile(settings))
  }

  /// Takes one line, without its end. Never waits.
  func write(_ line: [UInt8]) {
    let (schedule, told): (Bool, Int?) = state.withLock { state in
      guard state.queue.count < Self.queuedEventsMax,
        state.queuedBytes + line.count <= Self.queuedBytesMax
      else {
        failures.increment()
        return (false, state.dropped.add(1, at: .now))
      }
      state.queue.append(line)
      state.queuedBytes += line.count
      queued.child().set(Double(state.queue.count))
      defer { state.isScheduled = true }
      return (!state.isScheduled, state.dropped.add(0, at: .now))
    }
    if let told { tellDropped(told) }
    if schedule { threads.submit { _ in self.drain() } }
  }

  /// The file is held from the first line to the last: lines stay in order.
  private func drain() {
    file.withLock { file in
      while true {
        let lines = take()
        if lines.isEmpty { return }
        let lost = file.append(lines)
        failures.increment(by: UInt64(lost.count))
        let told = state.withLock { $0.lost.add(lost.count, at: .now) }
        if let told { tellLost(told, lost.count > 0 ? lost.error : nil) }
      }
    }
  }

  private func tellDropped(_ count: Int) {
    log.error(
      "audit events are dropped: the queue before the file is full", metadata: ["events": "\(count)"])
  }

  private func tellLost(_ count: Int, _ error: Int32?) {
    var metadata: Logger.Metadata = ["events": "\(count)"]
    if let error { metadata["error"] = "\(String(cString: strerror(error)))" }
    log.error("audit events are lost: the file cannot be written", metadata: metadata)
  }

  private func take() -> [[UInt8]] {
    state.withLock { state in
      defer {
        state.queue = []
        state.queuedBytes = 0
        queued.child().set(0)
      }
      if state.queue.isEmpty { state.isScheduled = false }
      return state.queue
    }
  }

  /// Writes what waits and closes.
  func shutdown() async {
    await withCheckedContinuation { done in
      threads.submit { _ in
        self.drain()
        self.file.withLock { $0.close() }
        let (dropped, lost) = self.state.withLock { ($0.dropped.rest(), $0.lost.rest()) }
        if let dropped { self.tellDropped(dropped) }
        if let lost { self.tellLost(lost, nil) }
        done.resume()
      }
    }
  }
}

/// Losses that people are told of at most once a minute: at the first, then all since.
struct LossReport {
  static let interval = Duration.seconds(60)
  private var untold = 0
  private var last: ContinuousClock.Instant?

  /// How many to tell of now; nil when there are none, or the last time is less than a minute ago. Asked with 0 as well: what
  /// came late in a minute is told after it.
  mutating func add(_ count: Int, at now: @autoclosure () -> ContinuousClock.Instant) -> Int? {
    untold += count
    if untold == 0 { return nil }
    let now = now()
    if let last, now - last < Self.interval { return nil }
    last = now
    return rest()
  }

  /// Those not told of yet, at the end; nil when there are none.
  mutating func rest() -> Int? {
    defer { untold = 0 }
    return untold > 0 ? untold : nil
  }
}

/// A file that is renamed when it has grown to its bound.
private struct RotatedFile {
  private let settings: AuditLog.Settings
  private var descriptor: Int32
  private var size = 0

  init(_ settings: AuditLog.Settings) throws(WeftError) {
    self.settings = settings
    descriptor = -1
    guard settings.path != "-" else {
      descriptor = dup(STDOUT_FILENO)
      return
    }
    guard open() else { throw PrivateFile.unusable(settings.path, errno) }
  }

  private mutating func open() -> Bool {
    descriptor = Glibc.open(settings.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return false }
    var info = stat()
    size = fstat(descriptor, &info) == 0 ? Int(info.st_size) : 0
    return true
  }

  mutating func close() {
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
  }

  /// Writes whole lines. Gives how many were lost, and why.
  mutating func append(_ lines: [[UInt8]]) -> (count: Int, error: Int32) {
    var next = 0
    while next < lines.count {
      if settings.path != "-", size > 0, size + lines[next].count + 1 > settings.bytesMax { turnOver() }
      if descriptor < 0, !open() { return (lines.count - next, errno) }
      var chunk: [UInt8] = []
      let start = next
      repeat {
        chunk += lines[next]
        chunk.append(10)
        next += 1
      } while next < lines.count && chunk.count < 1 << 20
        && size + chunk.count + lines[next].count + 1 <= settings.bytesMax
      if let error = write(chunk) { return (lines.count - start, error) }
    }
    return (0, 0)
  }

  private mutating func write(_ bytes: [UInt8]) -> Int32? {
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        done += count
        size += count
      } else if errno != EINTR {
        let error = errno
        // What was written of a line is taken back, so that the next begins a line of its own.
        if done > 0, settings.path != "-", ftruncate(descriptor, off_t(size - done)) == 0 { size -= done }
        return error
      }
    }
    return nil
  }

  private mutating func turnOver() {
    close()
    let (stem, suffix) = parts
    var (seconds, nanoseconds) = Timestamp.now()
    var name: String
    repeat {
      let time = Timestamp.text(seconds: seconds, nanoseconds: nanoseconds, fractionDigits: 3)
      name = "\(stem)-\(time.dropLast().replacing(":", with: "-"))\(suffix)"
      // Two in a millisecond: the second takes the next one's name.
      nanoseconds += 1_000_000
      if nanoseconds >= 1_000_000_000 { (seconds, nanoseconds) = (seconds + 1, 0) }
    } while access(name, F_OK) == 0
    rename(settings.path, name)
    prune()
    _ = open()
  }

  /// `/var/log/audit` and `.log`.
  private var parts: (stem: String, suffix: String) {
    guard let dot = settings.path.lastIndex(of: "."),
      dot > (settings.path.lastIndex(of: "/") ?? settings.path.startIndex)
    else { return (settings.path, "") }
    return (String(settings.path[..<dot]), String(settings.path[dot...]))
  }

  /// Removes old files: those too many, and those too old. Their names sort by time.
  private func prune() {
    let (stem, suffix) = parts
    let slash = stem.lastIndex(of: "/")
    let folder = slash.map { String(stem[...$0]) } ?? "./"
    let base = String(slash.map { stem[stem.index(after: $0)...] } ?? stem[...]) + "-"
    guard let directory = opendir(folder) else { return }
    defer { closedir(directory) }
    var found: [(name: String, seconds: Int64)] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard name.hasPrefix(base), name.hasSuffix(suffix), let time = Self.time(name, base, suffix) else {
        continue
      }
      found.append((name, time))
    }
    found.sort { $0.name > $1.name }
    let oldest = Timestamp.now().seconds - Int64(settings.daysMax) * 86_400
    for (index, file) in found.enumerated() {
      let isTooMany = settings.backupsMax > 0 && index >= settings.backupsMax
      let isTooOld = settings.daysMax > 0 && file.seconds < oldest
      if isTooMany || isTooOld { unlink(folder + file.name) }
    }
  }

  /// When a file was turned over; nil for files of other names.
  private static func time(_ name: String, _ base: String, _ suffix: String) -> Int64? {
    let text = name.dropFirst(base.count).dropLast(suffix.count)
    let halves = text.split(separator: "T")
    guard halves.count == 2, text.count == 23 else { return nil }
    return Timestamp.parse("\(halves[0])T\(halves[1].replacing("-", with: ":"))Z")?.seconds
  }
}

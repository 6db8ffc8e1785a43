// Container logs as `kubectl logs` wants them. Files are in the runtime interface's format, one line an entry:
//
//   2026-11-21T05:00:00.123456789Z stdout F text          F: a whole line, P: a part, more follows

import CLinux
import Diagnostics
import Glibc

/// What `kubectl logs` asks for.
public struct LogOptions: Sendable, Hashable {
  /// Lines from the end; nil for all.
  public var tailLines: Int?
  public var follow = false
  /// The instance before the last restart.
  public var previous = false
  public var timestamps = false
  public var sinceSeconds: Int?
  /// RFC 3339.
  public var sinceTime: String?
  public var limitBytes: Int?
  /// `Stdout`, `Stderr`, or nil for both.
  public var stream: String?
  public init() {}
}

/// Turns entries of a log file into what is shown. Pure; feed it bytes in any pieces.
struct LogFilter {
  var options: LogOptions
  private var rest: [UInt8] = []
  private var sentBytes = 0
  private let sinceText: String?
  /// Entries longer than this are cut; the runtime splits at 16 KiB.
  private static let lineMax = 1 << 20

  /// `now` is in seconds since 1970.
  init(_ options: LogOptions, now: Int64) {
    self.options = options
    // RFC 3339 times of one length and zone sort as text; the fraction is compared as far as both have it.
    if let seconds = options.sinceSeconds {
      sinceText = String(Timestamp.text(seconds: now - Int64(seconds)).dropLast())
    } else if let time = options.sinceTime, let parsed = Timestamp.parse(time) {
      sinceText = String(Timestamp.text(seconds: parsed.seconds).dropLast())
    } else {
      sinceText = nil
    }
  }

  var isFull: Bool { options.limitBytes.map { sentBytes >= $0 } ?? false }

  mutating func add(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    for byte in bytes {
      rest.append(byte)
      if byte == 10 || rest.count >= Self.lineMax {
        out += show(rest)
        rest.removeAll(keepingCapacity: true)
      }
    }
    if let limit = options.limitBytes, sentBytes + out.count > limit {
      out.removeLast(sentBytes + out.count - limit)
    }
    sentBytes += out.count
    return out
  }

  private func show(_ line: [UInt8]) -> [UInt8] {
    let parts = line.split(separator: 32, maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 4 else { return line }
    let time = String(decoding: parts[0], as: UTF8.self)
    if let sinceText, time.prefix(sinceText.count) < sinceText { return [] }
    if let stream = options.stream, !stream.isEmpty, stream != "All",
      String(decoding: parts[1], as: UTF8.self) != stream.lowercased()
    {
      return []
    }
    var text = Array(parts[3])
    if parts[2].first == UInt8(ascii: "P"), text.last == 10 { text.removeLast() }
    return options.timestamps ? Array(parts[0]) + [32] + text : text
  }
}

/// Where to begin so that `lines` whole lines are left; 0 when there are fewer.
func tailOffset(_ bytes: [UInt8], lines: Int) -> Int {
  guard lines > 0 else { return bytes.count }
  var seen = 0
  var index = bytes.count - 1
  if index >= 0, bytes[index] == 10 { index -= 1 }
  while index >= 0 {
    if bytes[index] == 10 {
      seen += 1
      if seen == lines { return index + 1 }
    }
    index -= 1
  }
  return 0
}

/// Reads and follows the log of one container.
enum LogReader {
  /// Numbers of the instances with a log, ascending.
  static func instances(_ directory: String) -> [Int] {
    Files.list(directory).compactMap { $0.hasSuffix(".log") ? Int($0.dropLast(4)) : nil }.sorted()
  }

  /// The bytes to show, in pieces, read when they are asked for. With `follow` the stream ends when `isRunning` says the
  /// container ended and the file has no more, or when nobody listens.
  static func read(
    _ path: String, _ options: LogOptions, isRunning: @escaping @Sendable () async -> Bool
  ) -> AsyncStream<[UInt8]> {
    let cursor = LogCursor(path, options, isRunning: isRunning)
    return AsyncStream { await cursor.next() }
  }
}

/// Where one reader is in a log.
private actor LogCursor {
  private static let pieceBytesMax = 64 << 10
  /// So much of the end is searched for the beginning of the tail.
  private static let tailBytesMax = 16 << 20
  private static let lookInterval: Duration = .milliseconds(50)
  /// The runtime is asked about a silent container every so many looks.
  private static let looksPerQuestion = 5

  private let path: String
  private var descriptor: Int32
  private var inode: UInt64
  private let options: LogOptions
  private let isRunning: @Sendable () async -> Bool
  private var filter: LogFilter
  private var isStarted = false
  private var isLast: Bool

  init(_ path: String, _ options: LogOptions, isRunning: @escaping @Sendable () async -> Bool) {
    self.path = path
    (descriptor, inode) = Self.open(path)
    self.options = options
    self.isRunning = isRunning
    filter = LogFilter(options, now: Timestamp.now().seconds)
    isLast = !options.follow
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  func next() async -> [UInt8]? {
    guard descriptor >= 0 else { return nil }
    if !isStarted {
      isStarted = true
      seekToTail()
    }
    var looks = 0
    while !Task.isCancelled {
      if filter.isFull { return nil }
      let bytes = drain(limit: Self.pieceBytesMax)
      if !bytes.isEmpty {
        looks = 0
        let text = filter.add(bytes)
        if !text.isEmpty { return text }
        continue
      }
      if options.follow, reopenWhenRotated() { continue }
      if isLast { return nil }
      if looks % Self.looksPerQuestion == 0, await !isRunning() {
        // What was written up to its end is still read.
        isLast = true
        continue
      }
      looks += 1
      do { try await Task.sleep(for: Self.lookInterval) } catch { return nil }
    }
    return nil
  }

  private static func open(_ path: String) -> (Int32, UInt64) {
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    return (descriptor, Files.info("/proc/self/fd/\(descriptor)", followingLinks: true)?.inode ?? 0)
  }

  /// The file under the name is another one: everything of the old one was read, so the new one goes on from its beginning.
  private func reopenWhenRotated() -> Bool {
    guard let now = Files.info(path)?.inode, now != inode else { return false }
    let (fresh, number) = Self.open(path)
    guard fresh >= 0 else { return false }
    close(descriptor)
    (descriptor, inode) = (fresh, number)
    return true
  }

  private func seekToTail() {
    guard let lines = options.tailLines else { return }
    let size = lseek(descriptor, 0, Int32(SEEK_END))
    let from = max(size - off_t(Self.tailBytesMax), 0)
    lseek(descriptor, from, Int32(SEEK_SET))
    let bytes = drain(limit: Self.tailBytesMax)
    lseek(descriptor, from + off_t(tailOffset(bytes, lines: lines)), Int32(SEEK_SET))
  }

  private func drain(limit: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
      count = 0
      guard let base = buffer.baseAddress else { return }
      while count < limit {
        let got = Glibc.read(descriptor, base + count, limit - count)
        if got < 0, errno == EINTR { continue }
        if got <= 0 { break }
        count += got
      }
    }
  }
}

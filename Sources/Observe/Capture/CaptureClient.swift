// The asking end of a capture: frames off the socket, blocks into a sink, until the sink has enough, a time is over or a signal comes.

import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets

/// Where blocks of a capture go. The first are a section and its interfaces.
public protocol CaptureSink {
  /// Takes a whole block. False: it has enough; blocks that come after are not wanted.
  mutating func take(_ block: PcapngBlock) throws(WeftError) -> Bool
  /// What has come so far is to be seen now.
  mutating func flush() throws(WeftError)
}

public enum CaptureClient {
  /// What the node process says before the first packet.
  public struct Beginning: Sendable, Hashable {
    public var links: [String] = []
    public var remarks: [String] = []
  }

  /// How long the rest is waited for once the end was asked for.
  static let endSeconds = 10

  /// Captures until the sink has enough, `seconds` are over, `stop` can be read from, or it ends by itself. Blocks the thread.
  ///
  /// Throws `CAP0005` when no node process answers, what the node process refuses with, and what the sink throws.
  public static func run(
    _ question: CaptureQuestion, at path: String, seconds: Double? = nil, stop: Int32 = -1,
    into sink: inout some CaptureSink, begun: (Beginning) -> Void = { _ in }
  ) throws(WeftError) -> CaptureSummary {
    let descriptor = UnixSocket.connect(path)
    guard descriptor >= 0 else { throw unreachable(path, errno) }
    defer { close(descriptor) }
    // Who is refused at the door may find it closed already; why is still to be read.
    let isAsked = UnixSocket.send(descriptor, line: question.json.bytes)
    let reason = errno
    var exchange = Exchange(descriptor: descriptor, stop: stop, seconds: seconds)
    var isSatisfied = false
    while try exchange.read(path) {
      while let (kind, content) = exchange.nextFrame() {
        if kind == CaptureFrame.line {
          guard let line = try? JSON(parsing: Array(content)) else { continue }
          if line["end"] != nil {
            try sink.flush()
            return CaptureSummary(line)
          }
          if let failure = WeftError(captureLine: line) { throw failure }
          begun(
            Beginning(
              links: (line["links"]?.array ?? []).compactMap(\.string),
              remarks: (line["remarks"]?.array ?? []).compactMap(\.string)))
        } else if !isSatisfied {
          // What was captured before the end was asked for is still on its way, and wanted.
          if try !give(content, &sink) {
            isSatisfied = true
            exchange.end()
          }
        } else {
          // Statistics are the file's last word.
          try giveStatistics(content, &sink)
        }
      }
      try sink.flush()
    }
    if let failure = exchange.refusal { throw failure }
    if !isAsked { throw unreachable(path, reason) }
    guard exchange.isEnding else {
      var summary = CaptureSummary()
      summary.failure = WeftError(
        "CAP0010", object: path, cause: "the node process has gone; what was captured is whole",
        next: "see: systemctl status weft", exit: .finding)
      return summary
    }
    return CaptureSummary()
  }

  /// False when the sink has enough.
  private static func give(_ content: [UInt8], _ sink: inout some CaptureSink) throws(WeftError) -> Bool {
    try forEach(content) { (block) throws(WeftError) in try sink.take(block) }
  }

  private static func giveStatistics(_ content: [UInt8], _ sink: inout some CaptureSink) throws(WeftError) {
    _ = try forEach(content) { (block) throws(WeftError) in
      if block.isStatistics { _ = try sink.take(block) }
      return true
    }
  }

  /// False when `body` says so. Throws `CAP0006` for bytes that are no blocks.
  private static func forEach(
    _ content: [UInt8], _ body: (PcapngBlock) throws(WeftError) -> Bool
  ) throws(WeftError) -> Bool {
    var isWanted = true
    do {
      _ = try content.withUnsafeBytes { bytes in
        try PcapngBlocks.read(bytes) {
          isWanted = try body($0)
          return isWanted
        }
      }
    } catch let error as WeftError {
      throw error
    } catch {
      throw WeftError(
        "CAP0006", object: "node process", cause: "sends what is no capture (\(error))",
        next: "see that it is of the same version: weft --version", underlying: error)
    }
    return isWanted
  }

  private static func unreachable(_ path: String, _ reason: Int32) -> WeftError {
    WeftError(
      "CAP0005", object: path, cause: "cannot be asked for packets: \(String(cString: strerror(reason)))",
      next: reason == EACCES || reason == EPERM
        ? "run as root" : "run it where `weft up`, `weft node` or `weft proxy` runs, or give its --run-dir",
      exit: .unreachable)
  }
}

/// Bytes of the socket, cut into frames; and when to end.
private struct Exchange {
  let descriptor: Int32
  let stop: Int32
  private var deadline: ContinuousClock.Instant?
  private(set) var isEnding = false
  private var waiting: [UInt8] = []
  private var at = 0
  private var chunk = [UInt8](repeating: 0, count: 1 << 20)

  init(descriptor: Int32, stop: Int32, seconds: Double?) {
    self.descriptor = descriptor
    self.stop = stop
    deadline = seconds.map { ContinuousClock.now + .seconds($0) }
  }

  /// A node process with too many captures answers with a plain line.
  var refusal: WeftError? {
    guard waiting.first == UInt8(ascii: "{"),
      let line = try? JSON(parsing: Array(waiting.prefix { $0 != 10 }))
    else { return nil }
    return WeftError(captureLine: line)
  }

  /// Asks for the end; what is on its way still comes.
  mutating func end() {
    guard !isEnding else { return }
    isEnding = true
    shutdown(descriptor, Int32(SHUT_WR))
    deadline = .now + .seconds(CaptureClient.endSeconds)
  }

  /// Waits for bytes. False when there will be none.
  mutating func read(_ path: String) throws(WeftError) -> Bool {
    while true {
      var watched = [pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)]
      if stop >= 0, !isEnding { watched.append(pollfd(fd: stop, events: Int16(POLLIN), revents: 0)) }
      var patience: Int32 = -1
      if let deadline {
        let left = deadline - .now
        if left <= .zero {
          if isEnding { return false }
          end()
          continue
        }
        patience = Int32(clamping: Int64(left / .milliseconds(1)) + 1)
      }
      let count = poll(&watched, nfds_t(watched.count), patience)
      if count < 0, errno != EINTR { return false }
      if watched.count > 1, watched[1].revents != 0 {
        end()
        continue
      }
      guard count > 0, watched[0].revents != 0 else { continue }
      let received = recv(descriptor, &chunk, chunk.count, 0)
      if received < 0, errno == EINTR { continue }
      guard received > 0 else { return false }
      if at > 0 {
        waiting.removeFirst(at)
        at = 0
      }
      waiting.append(contentsOf: chunk[..<received])
      return true
    }
  }

  /// Nil when none is whole, or what comes is no frame.
  mutating func nextFrame() -> (kind: UInt32, content: [UInt8])? {
    guard waiting.count - at >= CaptureFrame.headBytes else { return nil }
    let head = waiting.withUnsafeBytes { bytes in
      UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    }
    let count = Int(head >> 32)
    let start = at + CaptureFrame.headBytes
    guard count <= CaptureFrame.bytesMax, waiting.count - start >= count else { return nil }
    at = start + count
    return (UInt32(truncatingIfNeeded: head), Array(waiting[start..<at]))
  }
}

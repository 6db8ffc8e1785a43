// The asking end of a capture at one or several nodes: waits for their bytes, cuts them into frames, and asks for the end when it is
// time.

import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets

/// One capture of several nodes, on one thread.
struct CaptureExchange {
  private struct Part {
    var source: CaptureClient.Source
    var bytes = FrameBytes()
    /// Errno of a question that could not be sent whole; 0: it was.
    var sendFailure: Int32 = 0
    var isOpen = true
    /// It has said what it captures.
    var hasBegun = false
    var summary: CaptureSummary?
    var refusal: WeftError?
  }

  private let stop: Int32
  private var deadline: ContinuousClock.Instant?
  private var isEnding = false
  private var isSatisfied = false
  private var parts: [Part] = []
  private var merger: CaptureMerger
  private var chunk = [UInt8](repeating: 0, count: 1 << 20)
  /// Between looks at what may go out.
  private static let lookMilliseconds: Int32 = 200

  init(_ asked: [(question: CaptureQuestion, source: CaptureClient.Source)], stop: Int32, seconds: Double?) {
    self.stop = stop
    deadline = seconds.map { ContinuousClock.now + .seconds($0) }
    merger = CaptureMerger(sources: asked.count)
    for (question, source) in asked {
      var part = Part(source: source)
      // Who is refused at the door may find it closed already; why is still to be read.
      if !UnixSocket.send(source.descriptor, line: question.json.bytes) { part.sendFailure = errno }
      parts.append(part)
    }
  }

  mutating func run(
    into sink: inout some CaptureSink, begun: (CaptureClient.Beginning) -> Void
  ) throws(WeftError) -> CaptureSummary {
    var beginning = CaptureClient.Beginning()
    var isBegun = false
    while parts.contains(where: \.isOpen) {
      for index in wait() { try take(index, &beginning, into: &sink) }
      if !isBegun, parts.allSatisfy({ $0.hasBegun || !$0.isOpen }) {
        isBegun = true
        if parts.contains(where: \.hasBegun) {
          for refused in parts.compactMap(\.refusal) { beginning.remarks.append("\(refused)") }
          begun(beginning)
        }
      }
      if !isSatisfied, try !merger.release(now: CaptureSession.now(), into: &sink) { satisfy() }
      try sink.flush()
    }
    try merger.finish(withPackets: !isSatisfied, into: &sink)
    try sink.flush()
    return try summary()
  }

  private mutating func satisfy() {
    isSatisfied = true
    end()
  }

  /// Asks for the end; what is on its way still comes.
  private mutating func end() {
    guard !isEnding else { return }
    isEnding = true
    for part in parts where part.isOpen { shutdown(part.source.descriptor, Int32(SHUT_WR)) }
    deadline = .now + .seconds(CaptureClient.endSeconds)
  }

  // MARK: Waiting

  /// Parts with something to read, after at most a look's time. Past the last deadline all parts are closed.
  private mutating func wait() -> [Int] {
    let open = parts.indices.filter { parts[$0].isOpen }
    var watched = open.map { pollfd(fd: parts[$0].source.descriptor, events: Int16(POLLIN), revents: 0) }
    let watchesStop = stop >= 0 && !isEnding
    if watchesStop { watched.append(pollfd(fd: stop, events: Int16(POLLIN), revents: 0)) }
    var patience = parts.count > 1 ? Self.lookMilliseconds : -1
    if let deadline {
      let left = deadline - .now
      if left <= .zero {
        if isEnding {
          for index in open {
            parts[index].refusal = parts[index].refusal ?? Self.late(parts[index].source)
            parts[index].isOpen = false
          }
        } else {
          end()
        }
        return []
      }
      let milliseconds = Int32(clamping: Int64(left / .milliseconds(1)) + 1)
      patience = patience < 0 ? milliseconds : min(patience, milliseconds)
    }
    let count = poll(&watched, nfds_t(watched.count), patience)
    if count < 0, errno != EINTR {
      for index in open { parts[index].isOpen = false }
      return []
    }
    guard count > 0 else { return [] }
    if watchesStop, watched[watched.count - 1].revents != 0 { end() }
    return zip(open, watched).filter { $0.1.revents != 0 }.map(\.0)
  }

  // MARK: Reading

  private mutating func take(
    _ index: Int, _ beginning: inout CaptureClient.Beginning, into sink: inout some CaptureSink
  ) throws(WeftError) {
    let received = recv(parts[index].source.descriptor, &chunk, chunk.count, 0)
    if received < 0, errno == EINTR || errno == EAGAIN { return }
    guard received > 0 else { return close(index) }
    // However much is on its way: only silence is an end.
    if isEnding, !isSatisfied { deadline = .now + .seconds(CaptureClient.endSeconds) }
    parts[index].bytes.append(chunk[..<received])
    while let (kind, content) = parts[index].bytes.nextFrame() {
      if kind == CaptureFrame.line {
        guard let line = try? JSON(parsing: content) else { continue }
        if line["end"] != nil {
          parts[index].summary = CaptureSummary(line)
          return close(index)
        }
        if let notes = line["notes"]?.array {
          for note in notes { CaptureNotes.Behind(note).map { merger.take($0) } }
          continue
        }
        if let refusal = WeftError(captureLine: line) {
          parts[index].refusal = refusal
          return close(index)
        }
        parts[index].hasBegun = true
        beginning.links += (line["links"]?.array ?? []).compactMap(\.string)
        beginning.remarks += (line["remarks"]?.array ?? []).compactMap(\.string)
      } else {
        try give(content, of: index, into: &sink)
      }
    }
    if parts[index].bytes.isStrange {
      parts[index].refusal = Self.strange(parts[index].source)
      close(index)
    }
  }

  private mutating func close(_ index: Int) {
    parts[index].isOpen = false
    // A node process with too many captures answers with a plain line.
    parts[index].refusal = parts[index].refusal ?? parts[index].bytes.refusal
    merger.end(source: index)
  }

  private mutating func give(_ content: [UInt8], of index: Int, into sink: inout some CaptureSink)
    throws(WeftError)
  {
    do {
      _ = try content.withUnsafeBytes { bytes in
        try PcapngBlocks.read(bytes) { block in
          if !isSatisfied {
            // What was captured before the end was asked for is still on its way, and wanted.
            if try !merger.take(block, from: index, into: &sink) { satisfy() }
          } else if block.isStatistics {
            // Wanted when packets are not any more.
            _ = try merger.take(block, from: index, into: &sink)
          }
          return true
        }
      }
    } catch let error as WeftError {
      throw error
    } catch {
      throw Self.strange(parts[index].source, error)
    }
  }

  private static func late(_ source: CaptureClient.Source) -> WeftError {
    WeftError(
      "CAP0010", object: source.name,
      cause:
        "has not sent the rest within \(CaptureClient.endSeconds) s: packets may be missing, what is there is whole",
      next: "try again; look at: weft status", exit: .finding)
  }

  private static func strange(_ source: CaptureClient.Source, _ underlying: (any Error)? = nil) -> WeftError {
    WeftError(
      "CAP0006", object: source.name,
      cause: "sends what is no capture" + (underlying.map { " (\($0))" } ?? ""),
      next: "see that it is of the same version: weft --version", underlying: underlying)
  }

  // MARK: The end

  private func summary() throws(WeftError) -> CaptureSummary {
    var whole = CaptureSummary()
    for part in parts {
      if let summary = part.summary {
        whole.received += summary.received
        whole.lost += summary.lost
        // Of several nodes one may have nothing left; the others tell more.
        if whole.failure == nil || parts.count == 1 { whole.failure = summary.failure }
      } else if let failure = failure(of: part) {
        // What was captured elsewhere is whole.
        guard parts.contains(where: \.hasBegun) else { throw failure }
        if part.hasBegun { whole.failure = failure }
      }
    }
    return whole
  }

  private func failure(of part: Part) -> WeftError? {
    if let refusal = part.refusal ?? part.source.failure() { return refusal }
    if part.sendFailure != 0, !part.hasBegun {
      return CaptureClient.unreachable(part.source.name, part.sendFailure)
    }
    if isEnding { return nil }
    return WeftError(
      "CAP0010", object: part.source.name,
      cause: "the node process has gone; what was captured is whole",
      next: "see: systemctl status weft", exit: .finding)
  }
}

/// Bytes of a connection, cut into frames.
private struct FrameBytes {
  private var waiting: [UInt8] = []
  private var at = 0

  mutating func append(_ bytes: ArraySlice<UInt8>) {
    if at > 0 {
      waiting.removeFirst(at)
      at = 0
    }
    waiting.append(contentsOf: bytes)
  }

  /// A line without a frame.
  var refusal: WeftError? {
    guard waiting.first == UInt8(ascii: "{"),
      let line = try? JSON(parsing: Array(waiting.prefix { $0 != 10 }))
    else { return nil }
    return WeftError(captureLine: line)
  }

  /// What has come is neither a frame nor a refusal: nothing that follows can be told apart either.
  var isStrange: Bool {
    guard let head, refusal == nil else { return false }
    // A plain line may still be on its way.
    if waiting[at] == UInt8(ascii: "{") { return waiting.count - at > CaptureFrame.bytesMax }
    return head >> 32 > UInt64(CaptureFrame.bytesMax)
  }

  private var head: UInt64? {
    guard waiting.count - at >= CaptureFrame.headBytes else { return nil }
    return waiting.withUnsafeBytes { bytes in
      UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    }
  }

  /// Nil when none is whole, or what comes is no frame.
  mutating func nextFrame() -> (kind: UInt32, content: [UInt8])? {
    guard let head else { return nil }
    let count = Int(head >> 32)
    let start = at + CaptureFrame.headBytes
    guard count <= CaptureFrame.bytesMax, waiting.count - start >= count else { return nil }
    at = start + count
    return (UInt32(truncatingIfNeeded: head), Array(waiting[start..<at]))
  }
}

// What an exchange tells the access log: what was asked is kept when it is read, what became of it is known at the end. Nothing of
// this is done without a log: `log` is nil then, and that is one comparison.

import Diagnostics
import Reactor

/// One worker's side of the access log.
final class AccessLogWriter {
  /// Bytes of a request that are kept for its line; more is cut.
  static let textBytesMax = 4 << 10
  private static let lineBytesMax = 32 << 10

  let format: AccessLogFormat
  /// Texts of requests that run.
  let texts = BufferPool(bufferBytes: textBytesMax, buffersMax: 65_536, keptMax: 1024)
  private let buffer: AccessLogBuffer
  private let space = UnsafeMutableRawBufferPointer.allocate(byteCount: lineBytesMax, alignment: 16)
  private var clock = AccessLogClock()

  init(_ log: AccessLog) {
    format = log.format
    buffer = log.share()
  }

  deinit { space.deallocate() }

  func write(_ entry: AccessLogEntry, _ text: UnsafeRawBufferPointer) {
    let now = Timestamp.now()
    clock.set(now.seconds)
    var out = HeadSpace(space)
    out.writeLine(entry, text, as: format, clock, milliseconds: now.nanoseconds / 1_000_000)
    if !out.isFull { buffer.append(out.bytes) }
  }
}

/// A request as its line will tell it.
final class LoggedRequest {
  var entry = AccessLogEntry()
  var text = PooledBuffer()
  /// A rule took it.
  var isRouted = false
  /// The client sent a trace context of its own.
  var hasTrace = false
  /// The endpoint that was asked last, and whether it has answered.
  var pool: UpstreamPool?
  var hasUpstreamStatus = false

  /// Keeps bytes, cut to the room there is.
  fileprivate func keep(_ bytes: UnsafeRawBufferPointer, _ place: Range<Int>) -> Range<Int> {
    let start = text.count
    let kept = text.append(UnsafeRawBufferPointer(rebasing: bytes[place.prefix(1024)]))
    return start..<start + kept
  }
}

extension Exchange {
  /// Begins the line of a request of which nothing is known yet.
  func logUnread(client: String) {
    guard let log = worker.log else { return }
    let logged = LoggedRequest()
    logged.text = log.texts.take()
    logged.entry.client = client
    self.logged = logged
  }

  /// Keeps of the request that was just read what its line tells.
  /// - Parameter head: what `worker.reader` has read.
  func logRequest(_ head: UnsafeRawBufferPointer, isHTTP2: Bool, client: String) {
    logUnread(client: client)
    guard let logged else { return }
    let reader = worker.reader
    logged.entry.isHTTP2 = isHTTP2
    logged.entry.minor = reader.facts.minor
    logged.entry.method = logged.keep(head, 0..<reader.methodEnd)
    logged.entry.target = logged.keep(head, reader.target)
    logged.entry.host = logged.keep(head, reader.host)
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      let value = line.valueStart..<line.valueEnd
      switch line.nameEnd - line.start {
      case 7 where HeadReader.equals(head, line.start..<line.nameEnd, "referer"):
        logged.entry.referer = logged.keep(head, value)
      case 10 where HeadReader.equals(head, line.start..<line.nameEnd, "user-agent"):
        logged.entry.userAgent = logged.keep(head, value)
      case 11 where HeadReader.equals(head, line.start..<line.nameEnd, "traceparent"): logged.hasTrace = true
      default: continue
      }
    }
    self.logged = logged
  }

  /// Ends the head that was written for the endpoint, which lacks its empty line: with a trace context (W3C Trace Context,
  /// version 00, not sampled) when the client sent none. Keeps the ids by which the endpoint knows the request.
  func endLoggedHead() {
    guard let logged else { return }
    var out = HeadSpace(request.writable)
    if !logged.hasTrace {
      let (trace, parent) = (worker.nextRequestID(), worker.nextRequestID().0)
      out.write("traceparent: 00-")
      out.write(hexadecimal: trace.0)
      out.write(hexadecimal: trace.1)
      out.write("-")
      out.write(hexadecimal: parent)
      out.write("-00\r\n")
    }
    out.write("\r\n")
    request.produced(out.count)
    let head = request.readable
    Trailers.forEachLine(in: head) { name, value in
      if HeadReader.equals(head, name, "x-request-id") { logged.entry.requestID = logged.keep(head, value) }
      if HeadReader.equals(head, name, "traceparent") { logged.entry.traceParent = logged.keep(head, value) }
    }
  }

  /// Writes the line.
  /// - Parameter code: what the client got.
  func logEnd(_ code: Int) {
    guard let logged, let log = worker.log else { return }
    self.logged = nil
    logged.entry.status = code
    logged.entry.requestBytes = requestBodyBytes
    logged.entry.bodyBytes = responseBytes
    logged.entry.nanoseconds = worker.reactor.now &- startedAt
    logged.entry.tries = tries
    if let pool = logged.pool {
      logged.entry.endpoint = "\(pool.endpoint)"
      logged.entry.upstreamNanoseconds = worker.reactor.now &- triedAt
      logged.entry.upstreamStatus = logged.hasUpstreamStatus ? code : 0
    }
    if logged.isRouted {
      logged.entry.backend = snapshot.table.backends[match.backend]
      logged.entry.route = snapshot.route(match)
    }
    log.write(logged.entry, logged.text.readable)
  }
}

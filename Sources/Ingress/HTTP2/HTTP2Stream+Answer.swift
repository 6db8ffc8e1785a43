// The answer as frames: an endpoint's, held back when the windows do not admit it, or one of our own.

import Diagnostics
import Reactor

extension HTTP2Stream {
  /// The fields of the head that the worker's reader has just read.
  func writeFields(
    _ head: UnsafeRawBufferPointer, to block: inout HeadSpace, hidesLength: Bool = false
  ) {
    let reader = worker.reader
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      if dropsAnswerLine(line, head) { continue }
      switch line.kind {
      case .connection, .hopByHop, .upgrade, .transferEncoding: continue
      case .contentLength: if hidesLength || reader.status < 200 || reader.status == 204 { continue }
      default: if reader.facts.hasConnectionOptions, reader.isConnectionOption(line, head) { continue }
      }
      block.writeField(head, name: line.start..<line.nameEnd, value: line.valueStart..<line.valueEnd)
    }
  }

  func writeHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    noteHead(worker.reader)
    responseHeadBytes = head.count
    let ends = responseBody.isDone
    let strict = session.client.tls == nil ? [] : snapshot.strictTransportSecurity(match)
    var block = HeadSpace(worker.headSpace)
    block.writeStatus(status)
    if !strict.isEmpty {
      // "Name: value" CR LF.
      strict.withUnsafeBytes { block.writeField($0, name: 0..<25, value: 27..<($0.count - 2)) }
    }
    if let action {
      block.writeFields(answerLines)
      if let edit = action.answer { block.writeFields(edit.lines) }
    }
    writeFields(head, to: &block, hidesLength: connection.hidesLength)
    guard !block.isFull else { throw unsent() }
    session.headers(block.bytes, ends: ends, stream: id)
    guard state == .running else { return }
    try writeBody(rest, connection)
  }

  func writeBody(
    _ bytes: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    let hadBody = !responseBody.isDone
    var length = 0
    let used = try responseBody.take(UnsafeRawBufferPointer(bytes)) { range in
      guard let base = bytes.baseAddress else { return }
      if length != range.lowerBound {
        (base + length).copyMemory(from: base + range.lowerBound, byteCount: range.count)
      }
      length += range.count
    } trailer: { byte in
      if !trailers.isAllocated { trailers = worker.reactor.buffers.take() }
      withUnsafeBytes(of: byte) { _ = trailers.append($0) }
    }
    responseBytes += UInt64(length)
    let ends = hadBody && responseBody.isDone
    let count = min(length, max(0, min(window, session.window)))
    let isAll = ends && count == length
    if count > 0 || (isAll && trailers.isEmpty) {
      window -= count
      session.data(
        UnsafeRawBufferPointer(rebasing: bytes[..<count]), ends: isAll && trailers.isEmpty, stream: id)
      session.askFlush()
    }
    if isAll, state == .running { writeTrailers() }
    guard state == .running else { return }
    if count < length {
      held = length - count > worker.requests.bufferBytes ? worker.bulk.take() : worker.requests.take()
      let left = UnsafeRawBufferPointer(rebasing: bytes[count..<length])
      guard held.append(left) == left.count else { return fail(503) }
      isWaiting = true
      wait(worker.limits.clientMilliseconds)
    }
    connection.input = PooledBuffer()
    guard responseBody.isDone else { return }
    finish(isReusable: upstreamKeepsAlive && used == bytes.count)
  }

  /// The last of the body is out: what stands behind it.
  private func writeTrailers() {
    guard !trailers.isEmpty else { return }
    var block = HeadSpace(worker.headSpace)
    block.writeTrailers(trailers.readable)
    trailers = PooledBuffer()
    if block.count > 0 { return session.headers(block.bytes, ends: true, stream: id) }
    session.data(UnsafeRawBufferPointer(start: nil, count: 0), ends: true, stream: id)
    session.askFlush()
  }

  /// A window has opened, or the client has taken what was sent.
  func resume() {
    guard state != .closed, session.client.output.isEmpty else { return }
    if !held.isEmpty {
      let count = min(held.count, min(window, session.window))
      guard count > 0 else { return }
      let ends = responseBody.isDone && count == held.count
      window -= count
      session.data(
        UnsafeRawBufferPointer(rebasing: held.readable[..<count]), ends: ends && trailers.isEmpty, stream: id)
      if ends { writeTrailers() }
      guard state != .closed else { return }
      held.consumed(count)
      wait(worker.limits.clientMilliseconds)
      session.askFlush()
      guard held.isEmpty else { return }
      held = PooledBuffer()
    }
    isWaiting = false
    if state == .holding { return close() }
    if let upstream, upstream.isReadable { readResponse(upstream) }
  }

  /// An answer of our own, in full.
  func answer(_ code: Int, lines: [UInt8] = []) {
    status = code
    if isGRPC, !(200..<400).contains(code) { return answerGRPC(code) }
    let content = OwnResponse.content(status: code)
    var block = HeadSpace(worker.headSpace)
    block.writeStatus(code)
    block.writeField("server", "weft")
    block.writeField("date", OwnResponse.date(seconds: Timestamp.now().seconds))
    if code != 204 {
      block.writeField("content-type", content.type)
      block.writeField("content-length", String(content.body.utf8.count))
    }
    block.writeFields(lines)
    let isHead = method == .head || code == 204
    session.headers(block.bytes, ends: isHead, stream: id)
    guard state == .running else { return }
    letGo()
    state = .holding
    responseBody = BodyScanner(.none)
    guard !isHead else { return close() }
    held = worker.requests.take()
    var body = content.body
    let fits = body.withUTF8 { held.append(UnsafeRawBufferPointer($0)) == $0.count }
    guard fits else { return end(with: .internalError) }
    isWaiting = true
    wait(worker.limits.clientMilliseconds)
    resume()
  }

  /// An error as gRPC's callers read it: status 200, and why in one block that is head and trailers.
  private func answerGRPC(_ code: Int) {
    var block = HeadSpace(worker.headSpace)
    block.writeStatus(200)
    block.writeField("content-type", "application/grpc")
    block.writeField("grpc-status", String(OwnResponse.grpcStatus(code)))
    block.writeField("grpc-message", "weft ingress: \(code) \(OwnResponse.reasons[code] ?? "Error")")
    session.headers(block.bytes, ends: true, stream: id)
    guard state == .running else { return }
    letGo()
    close()
  }
}

// A request as the client's stream brings it: its head, its body as the windows admit, its trailers.

import Diagnostics
import Reactor

extension HTTP2Stream {
  /// - Parameter head: as HTTP/1.1 has it.
  func begin(_ head: UnsafeRawBufferPointer) {
    beginMeasures()
    requestHeadBytes = head.count
    let reader = worker.reader
    do throws(HTTPRefusal) {
      try reader.readRequest(head)
      method = reader.method
      if method == .post { noteGRPC(head) }
      if worker.log != nil { logRequest(head, isHTTP2: true, client: session.client.clientText) }
      if case .length(let length) = reader.facts.framing {
        expected = length
        guard !hasEnded else { return malformed() }
      } else {
        expected = reader.facts.hasLength ? 0 : nil
        wrapsChunks = reader.facts.framing == .chunked
      }
      requestBody = BodyScanner(hasEnded ? .none : .untilClose)
      if session.client.isMisdirected(RouteRequest(head, reader)) { throw HTTPRefusal(421) }
      guard
        let found = snapshot.table.match(
          RouteRequest(head, reader), at: session.client.place(in: snapshot.table), worker.matchSpace)
      else { throw HTTPRefusal(404) }
      match = found
      isCounted = false
      logged?.isRouted = true
      if session.client.tls == nil, match.redirectsToHTTPS, let port = worker.securePort {
        let place = try ClientConnection.secureLocation(port, head, reader)
        status = 308
        count()
        return answer(308, lines: FieldEdit.line("Location", place))
      }
      var edit = RequestEdit()
      if match.action >= 0,
        let own = applyAction(
          RouteRequest(head, reader), session.client.origin, client: session.client.fixedLines, &edit),
        !keepsError(own.status)
      {
        status = own.status
        count()
        return answer(own.status, lines: own.lines)
      }
      if let expected, expected > bodyBytesMax { throw HTTPRefusal(413) }
      request = worker.requests.take()
      guard request.isAllocated else { throw HTTPRefusal(503) }
      var out = HeadSpace(request.writable)
      reader.writeRequest(
        head, to: &out, client: session.client.fixedLines, requestID: worker.nextRequestID(),
        isUpgrade: false,
        edit: edit)
      if out.isFull { throw HTTPRefusal(431) }
      request.produced(logged == nil ? out.count : out.count - 2)
      if logged != nil { endLoggedHead() }
      guardian?.headBytes = request.readable.count
      if reader.facts.expectsContinue, !hasEnded {
        session.frame(.headers, flags: HTTP2FrameHeader.endHeaders, stream: id) { $0.writeStatus(100) }
      }
      sendOn()
    } catch {
      refuse(error.status)
    }
  }

  /// Whether the request is one of gRPC, and the time that its caller gives it.
  private func noteGRPC(_ head: UnsafeRawBufferPointer) {
    let reader = worker.reader
    for index in 0..<reader.lineCount {
      let line = reader.lines[index]
      let name = line.start..<line.nameEnd
      guard name.count == 12 else { continue }
      let value = line.valueStart..<line.valueEnd
      if value.count >= 16, HeadReader.equals(head, name, "content-type") {
        let start = value.lowerBound..<value.lowerBound + 16
        isGRPC = HeadReader.equals(head, start, "application/grpc")
      } else if HeadReader.equals(head, name, "grpc-timeout") {
        clientLimit = Self.grpcTimeout(UnsafeRawBufferPointer(rebasing: head[value]))
      }
    }
    if !isGRPC { clientLimit = 0 }
  }

  /// Answers a request that no endpoint sees.
  func refuse(_ code: Int) {
    worker.metrics.refusedRequests.child(String(code)).increment()
    isCounted = true
    if worker.log != nil {
      if logged == nil { logUnread(client: session.client.clientText) }
      logEnd(code)
    }
    answer(code)
  }

  private func malformed() {
    if (try? session.noteMischief()) == nil { return session.end(.enhanceYourCalm) }
    end(with: .protocolError)
  }

  /// Takes account of a DATA frame. False when the client had no room for it.
  func receive(_ bytes: Int) -> Bool {
    receiveRoom -= bytes
    return receiveRoom >= 0
  }

  /// Takes body. Bytes go to the endpoint as soon as it takes them.
  func takeData(
    _ bytes: UnsafeRawBufferPointer, ends: Bool,
    trailers: UnsafeRawBufferPointer = .init(start: nil, count: 0)
  ) {
    if ends { hasEnded = true }
    // The answer was given already: what still comes is thrown away.
    guard state == .running else {
      return giveBack(bytes.count)
    }
    if let left = expected {
      guard bytes.count <= left, !ends || bytes.count == left else { return malformed() }
      expected = left - UInt64(bytes.count)
    }
    do throws(HTTPRefusal) { try countBody(bytes.count) } catch {
      giveBack(bytes.count)
      return fail(error.status)
    }
    unpassed += bytes.count
    if !bytes.isEmpty || (ends && wrapsChunks) {
      if !pendingBody.isAllocated { pendingBody = worker.bulk.take() }
      guard append(bytes, ends: ends, trailers) else { return fail(503) }
    }
    if ends { requestBody = BodyScanner(.none) }
    guard let upstream, upstream.isConnected else { return }
    // The client has said all: from here on the endpoint's time counts.
    if ends, status == 0 { wait(readMilliseconds) }
    sendRequest(upstream)
  }

  private func append(
    _ bytes: UnsafeRawBufferPointer, ends: Bool, _ trailers: UnsafeRawBufferPointer
  ) -> Bool {
    // With a length there is no place for trailers.
    guard wrapsChunks else { return pendingBody.append(bytes) == bytes.count }
    pendingBody.compact()
    var out = HeadSpace(pendingBody.writable)
    if !bytes.isEmpty {
      out.writeChunkSize(bytes.count)
      out.write(bytes, 0..<bytes.count)
      out.write("\r\n")
    }
    if ends { out.writeLastChunk(trailers: trailers) }
    guard !out.isFull else { return false }
    pendingBody.produced(out.count)
    return true
  }

  /// The fields behind the body: its end.
  /// - Parameter lines: nil when they are malformed.
  func takeTrailers(_ lines: UnsafeRawBufferPointer?) {
    guard let lines else { return malformed() }
    takeData(UnsafeRawBufferPointer(start: nil, count: 0), ends: true, trailers: lines)
  }

  /// Bytes that are gone: the windows open again.
  func giveBack(_ bytes: Int) {
    guard bytes > 0 else { return }
    session.giveBack(bytes)
    credit += bytes
    guard !hasEnded, state == .running, credit >= HTTP2Session.streamWindow / 4 else { return }
    let increment = UInt32(credit)
    receiveRoom += credit
    credit = 0
    session.frame(.windowUpdate, stream: id) { $0.write(bigEndian: increment) }
    session.askFlush()
  }
}

// The way of an answer back, as far as every client's is the same: reading, finding the head's end.

import Glibc
import Reactor

extension Exchange {
  /// Interim answers to one request; an endpoint with more to say is not trusted.
  private static let interimsMax = 32

  /// Reads from the endpoint while the client takes what is read.
  func readResponse(_ connection: UpstreamConnection) {
    var reads = 0
    while isRunning, connection === upstream, connection.isReadable {
      let room = responseRoom
      guard room > 0 else { return }
      reads += 1
      if reads > worker.limits.readsPerTurnMax { return connection.callAgain() }
      let keepsHead = connection.input.isAllocated
      let space =
        keepsHead
        ? UnsafeMutableRawBufferPointer(rebasing: connection.input.writable.prefix(room))
        : UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<room])
      switch connection.receive(into: space) {
      case .bytes(let count):
        wait(readMilliseconds)
        if keepsHead {
          connection.input.produced(count)
          takeResponse(connection.input.readable, connection, isKept: true)
        } else {
          takeResponse(UnsafeRawBufferPointer(rebasing: space[..<count]), connection, isKept: false)
        }
      case .wouldBlock: return
      case .end: return responseEnded(connection, isBroken: false)
      case .failed: return responseEnded(connection, isBroken: true)
      }
    }
  }

  private func responseEnded(_ connection: UpstreamConnection, isBroken: Bool) {
    if status == 0 {
      connection.input.isEmpty ? upstreamFailed(status: 502) : fail(502)
    } else if responseBody.endsWithConnection, !isBroken {
      responseIsOver(isReusable: false)
    } else {
      fail(502)
    }
  }

  /// - Parameter isKept: the bytes are those of `connection.input`: a head that came in pieces.
  private func takeResponse(_ bytes: UnsafeRawBufferPointer, _ connection: UpstreamConnection, isKept: Bool) {
    var rest = bytes
    do throws(HTTPRefusal) {
      while status == 0 {
        var end: Int?
        do throws(HTTPRefusal) { end = try HeadReader.end(of: rest) } catch { throw HTTPRefusal(502) }
        guard let end else {
          if isKept, rest.count == bytes.count { return }
          keepHead(rest, connection, isKept: isKept)
          return
        }
        let head = UnsafeRawBufferPointer(rebasing: rest[..<end])
        try worker.reader.readResponse(head, toHead: method == .head)
        rest = UnsafeRawBufferPointer(rebasing: rest[end...])
        let code = worker.reader.status
        if code == 101 {
          guard wantsUpgrade else { throw HTTPRefusal(502) }
          return becomeTunnel(head, rest, connection)
        }
        if code < 200 {
          // 100 was given by us.
          interims += 1
          guard interims <= Self.interimsMax else { throw HTTPRefusal(502) }
          if code != 100 { passInterim(head) }
          guard isRunning, connection === upstream else { return }
          continue
        }
        if retriesStatuses, isRetried(code, connection) { return }
        if action != nil, tellsError(code) { return }
        // Nothing of it is with the client yet: a body that is broken as far as it has come is a 502, not half an answer.
        var body = BodyScanner(worker.reader.facts.framing)
        _ = try body.take(rest)
        return try passHead(head, UnsafeMutableRawBufferPointer(mutating: rest), connection)
      }
      try passBody(UnsafeMutableRawBufferPointer(mutating: rest), connection)
    } catch {
      // What nobody can read is as bad as no answer.
      if status == 0, watchesOutcome { noteOutcome(connection.pool, isFailure: true) }
      fail(502)
    }
  }

  private func keepHead(_ rest: UnsafeRawBufferPointer, _ connection: UpstreamConnection, isKept: Bool) {
    if isKept {
      connection.input.consumed(connection.input.count - rest.count)
      connection.input.compact()
      return
    }
    connection.input = worker.reactor.buffers.take()
    if connection.input.append(rest) < rest.count { fail(502) }
  }
}

// The way of an answer back, and of an upgraded connection's bytes.

import Glibc
import Reactor

extension ClientConnection {
  /// Reads from the endpoint while the client takes what is read.
  func readResponse(_ connection: UpstreamConnection) {
    var reads = 0
    while state == .exchange, connection === upstream, connection.isReadable, output.isEmpty {
      reads += 1
      if reads > worker.limits.readsPerTurnMax { return connection.channel.callAgain(.readable) }
      let keepsHead = connection.input.isAllocated
      let space =
        keepsHead
        ? connection.input.writable
        : UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<worker.limits.readBytesMax])
      switch connection.channel.receive(into: space) {
      case .bytes(let count):
        if count < space.count, !connection.isFinished { connection.isReadable = false }
        wait(worker.limits.readMilliseconds)
        if keepsHead {
          connection.input.produced(count)
          takeResponse(connection.input.readable, connection, isKept: true)
        } else {
          takeResponse(UnsafeRawBufferPointer(rebasing: space[..<count]), connection, isKept: false)
        }
      case .wouldBlock:
        connection.isReadable = false
        return
      case .end: return responseEnded(connection, isBroken: false)
      case .failed: return responseEnded(connection, isBroken: true)
      }
    }
  }

  private func responseEnded(_ connection: UpstreamConnection, isBroken: Bool) {
    if status == 0 {
      connection.input.isEmpty ? upstreamFailed(status: 502) : fail(502)
    } else if responseBody.endsWithConnection, !isBroken {
      finishExchange(isReusable: false)
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
        // Other interim answers: 100 was given by us, and nobody waits for the rest.
        if code < 200 { continue }
        return try passHead(head, rest, connection)
      }
      try passBody(UnsafeMutableRawBufferPointer(mutating: rest), head: nil, connection)
    } catch {
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

  private func passHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    let reader = worker.reader
    let facts = reader.facts
    status = reader.status
    upstreamKeepsAlive = facts.minor == 1 ? !facts.closes : facts.keepsAlive
    responseBody = BodyScanner(facts.framing)
    // HTTP/1.0 knows no chunks; and an end that only the connection tells is told by closing ours.
    unwrapsChunks = facts.framing == .chunked && minor == 0
    if unwrapsChunks || responseBody.endsWithConnection || !requestBody.isDone || worker.reactor.isDraining {
      keepsAlive = false
    }
    var out = HeadSpace(worker.headSpace)
    reader.writeResponse(
      head, to: &out, extra: tls == nil ? [] : snapshot.strictTransportSecurity(match),
      connection: keepsAlive ? (minor == 0 ? "Connection: keep-alive\r\n" : "") : "Connection: close\r\n",
      keepsChunks: facts.framing == .chunked && !unwrapsChunks)
    if out.isFull { throw HTTPRefusal(502) }
    try passBody(UnsafeMutableRawBufferPointer(mutating: rest), head: out.bytes, connection)
  }

  private func passBody(
    _ bytes: UnsafeMutableRawBufferPointer, head: UnsafeRawBufferPointer?, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    var length = 0
    let used: Int
    if unwrapsChunks {
      used = try responseBody.take(UnsafeRawBufferPointer(bytes)) { range in
        guard let base = bytes.baseAddress else { return }
        (base + length).copyMemory(from: base + range.lowerBound, byteCount: range.count)
        length += range.count
      }
    } else {
      used = try responseBody.take(UnsafeRawBufferPointer(bytes))
      length = used
    }
    send(
      head ?? UnsafeRawBufferPointer(start: nil, count: 0), UnsafeRawBufferPointer(rebasing: bytes[..<length])
    )
    connection.input = PooledBuffer()
    guard state == .exchange, responseBody.isDone else { return }
    // Bytes behind the answer belong to nothing: such a connection is not used again.
    finishExchange(isReusable: upstreamKeepsAlive && used == bytes.count)
  }

  private func finishExchange(isReusable: Bool) {
    count()
    // An answer before the body's end leaves the endpoint in the middle of a request.
    let isWhole = requestBody.isDone && requestSent == request.count && pendingBody.isEmpty
    upstream?.finish(isReusable: isReusable && isWhole)
    upstream = nil
    request = PooledBuffer()
    pendingBody = PooledBuffer()
    if keepsAlive, isWhole, !(isFinished && input.isEmpty && !isReadable) {
      state = .head
      wait(worker.limits.keepAliveMilliseconds)
      if isReadable || !input.isEmpty { readHead() }
    } else {
      close()
    }
  }

  // MARK: - Tunnels

  private func becomeTunnel(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeRawBufferPointer, _ connection: UpstreamConnection
  ) {
    status = 101
    var out = HeadSpace(worker.headSpace)
    worker.reader.writeResponse(
      head, to: &out, connection: "Connection: upgrade\r\n", keepsChunks: false, isUpgrade: true)
    if out.isFull { return fail(502) }
    state = .tunnel
    request = PooledBuffer()
    count()
    send(out.bytes, rest)
    connection.input = PooledBuffer()
    guard state == .tunnel else { return }
    // What the client sent behind its head was meant for the other protocol.
    if !input.isEmpty {
      pendingBody = worker.bulk.take()
      if pendingBody.append(input.readable) < input.count { return abort() }
      input = PooledBuffer()
    }
    pumpTunnel()
  }

  /// Moves bytes both ways while the reader of each takes them. A side that has finished closes the other
  /// direction.
  func pumpTunnel() {
    guard state == .tunnel, let connection = upstream else { return }
    let most = worker.limits.readBytesMax
    let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<most])
    for _ in 0..<worker.limits.readsPerTurnMax {
      var moved = false
      while !pendingBody.isEmpty {
        guard case .bytes(let count) = connection.channel.send(pendingBody.readable) else { break }
        pendingBody.consumed(count)
      }
      if isReadable, pendingBody.isEmpty {
        if pendingBody.isAllocated { pendingBody = PooledBuffer() }
        switch readClient(into: space) {
        case .bytes(let count):
          moved = true
          sendUp(UnsafeRawBufferPointer(rebasing: space[..<count]), connection)
        case .wouldBlock: break
        case .end:
          isReadable = false
          if connection.isFinished && !connection.isReadable { return abort() }
          isFinished = true
          connection.channel.finishSending()
        case .failed: return abort()
        }
      }
      guard state == .tunnel else { return }
      if connection.isReadable, output.isEmpty {
        switch connection.channel.receive(into: space) {
        case .bytes(let count):
          moved = true
          send(
            UnsafeRawBufferPointer(rebasing: space[..<count]), UnsafeRawBufferPointer(start: nil, count: 0))
        case .wouldBlock: connection.isReadable = false
        case .end, .failed:
          connection.isReadable = false
          return close()
        }
      }
      guard state == .tunnel else { return }
      if !moved { return }
      wait(worker.limits.readMilliseconds)
    }
    channel.callAgain(.readable)
  }

  private func sendUp(_ bytes: UnsafeRawBufferPointer, _ connection: UpstreamConnection) {
    var sent = 0
    switch connection.channel.send(bytes) {
    case .bytes(let count): sent = count
    case .wouldBlock: break
    case .end, .failed: return abort()
    }
    guard sent < bytes.count else { return }
    pendingBody = worker.bulk.take()
    let left = UnsafeRawBufferPointer(rebasing: bytes[sent...])
    if pendingBody.append(left) < left.count { abort() }
  }
}

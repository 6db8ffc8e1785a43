// The answer as HTTP/1.1 has it, and an upgraded connection's bytes.

import Glibc
import Reactor

extension ClientConnection {
  func writeHead(
    _ head: UnsafeRawBufferPointer, _ rest: UnsafeMutableRawBufferPointer, _ connection: UpstreamConnection
  ) throws(HTTPRefusal) {
    let reader = worker.reader
    let facts = reader.facts
    noteHead(reader)
    // HTTP/1.0 knows no chunks; and an end that only the connection tells is told by closing ours.
    unwrapsChunks = facts.framing == .chunked && minor == 0
    if unwrapsChunks || responseBody.endsWithConnection || !requestBody.isDone || worker.reactor.isDraining {
      keepsAlive = false
    }
    var out = HeadSpace(worker.headSpace)
    reader.writeResponse(
      head, to: &out, extra: tls == nil ? [] : snapshot.strictTransportSecurity(match),
      connection: keepsAlive ? (minor == 0 ? "Connection: keep-alive\r\n" : "") : "Connection: close\r\n",
      keepsChunks: facts.framing == .chunked && !unwrapsChunks, of: action == nil ? nil : self)
    guard !out.isFull else { throw unsent() }
    responseHeadBytes = out.count
    try writeBody(rest, head: out.bytes, connection)
  }

  func writeInterim(_ head: UnsafeRawBufferPointer) {
    // HTTP/1.0 knows one answer to a request.
    guard minor == 1 else { return }
    var out = HeadSpace(worker.headSpace)
    worker.reader.writeResponse(head, to: &out, connection: "", keepsChunks: false)
    if !out.isFull { send(out.bytes, UnsafeRawBufferPointer(start: nil, count: 0)) }
  }

  func writeBody(
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
    responseBytes += UInt64(length)
    send(
      head ?? UnsafeRawBufferPointer(start: nil, count: 0), UnsafeRawBufferPointer(rebasing: bytes[..<length])
    )
    connection.input = PooledBuffer()
    guard state == .exchange, responseBody.isDone else { return }
    // Bytes behind the answer belong to nothing: such a connection is not used again.
    finishExchange(isReusable: upstreamKeepsAlive && used == bytes.count)
  }

  func finishExchange(isReusable: Bool) {
    count()
    tickets = []
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

  func startTunnel(
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
  func moveBytes() {
    guard state == .tunnel, let connection = upstream else { return }
    let most = worker.limits.readBytesMax
    let space = UnsafeMutableRawBufferPointer(rebasing: worker.reactor.scratch[..<most])
    for _ in 0..<worker.limits.readsPerTurnMax {
      var moved = false
      while !pendingBody.isEmpty {
        guard case .bytes(let count) = connection.send(pendingBody.readable) else { break }
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
          connection.finishSending()
        case .failed: return abort()
        }
      }
      guard state == .tunnel else { return }
      if connection.isReadable, output.isEmpty {
        switch connection.receive(into: space) {
        case .bytes(let count):
          moved = true
          send(
            UnsafeRawBufferPointer(rebasing: space[..<count]), UnsafeRawBufferPointer(start: nil, count: 0))
        case .wouldBlock: break
        case .end, .failed: return close()
        }
      }
      guard state == .tunnel else { return }
      if !moved { return }
      wait(readMilliseconds)
    }
    channel.callAgain(.readable)
  }

  private func sendUp(_ bytes: UnsafeRawBufferPointer, _ connection: UpstreamConnection) {
    var sent = 0
    switch connection.send(bytes) {
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

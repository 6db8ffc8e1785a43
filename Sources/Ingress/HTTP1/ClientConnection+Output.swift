// What goes to the client: answers of our own, bytes it has not taken yet, and the end of the connection.

import Diagnostics
import Glibc
import Reactor

extension ClientConnection {
  // MARK: - Answers of our own

  /// Answers a request that was understood, and goes on with the next one if its body is over.
  func refuseGently(
    _ code: Int, end: Int, _ message: UnsafeRawBufferPointer, lines: [UInt8] = []
  ) throws(HTTPRefusal) -> Int {
    let used = try requestBody.take(UnsafeRawBufferPointer(rebasing: message[end...]))
    if !requestBody.isDone { keepsAlive = false }
    if logged != nil { logEnd(code) }
    say(code, lines: lines)
    if !keepsAlive { close() }
    return end + used
  }

  /// Sends the client to the same place over https (308, which keeps method and body).
  func redirect(
    _ port: UInt16, _ head: UnsafeRawBufferPointer, end: Int, _ message: UnsafeRawBufferPointer
  ) throws(HTTPRefusal) -> Int {
    let location = try Self.secureLocation(port, head, worker.reader)
    status = 308
    count()
    return try refuseGently(308, end: end, message, lines: FieldEdit.line("Location", location))
  }

  static func secureLocation(
    _ port: UInt16, _ head: UnsafeRawBufferPointer, _ reader: HeadReader
  ) throws(HTTPRefusal) -> String {
    let host = HostIndex.withoutPort(UnsafeRawBufferPointer(rebasing: head[reader.host]))
    // HTTP/1.0 without a Host says nowhere to go.
    guard !host.isEmpty else { throw HTTPRefusal(400) }
    return "https://" + String(decoding: host, as: UTF8.self) + (port == 443 ? "" : ":\(port)")
      + String(decoding: head[reader.target], as: UTF8.self)
  }

  /// Answers what cannot be understood or is too much, and closes.
  func refuse(_ code: Int) {
    worker.metrics.refusedRequests.child(String(code)).increment()
    isCounted = true
    keepsAlive = false
    status = code
    if worker.log != nil {
      if logged == nil { logUnread(client: clientText) }
      logEnd(code)
    }
    say(code)
    close()
  }

  /// Ends the present request with an error of ours, if its answer has not begun.
  func answerFailure(_ code: Int, lines: [UInt8] = []) {
    upstream?.finish(isReusable: false)
    upstream = nil
    request = PooledBuffer()
    pendingBody = PooledBuffer()
    tickets = []
    letGuardianGo()
    guard status == 0 else {
      // Half an answer must not look like a whole one.
      channel.resetOnClose()
      return abort()
    }
    status = code
    count()
    if !requestBody.isDone { keepsAlive = false }
    say(code, lines: lines)
    guard state != .closed else { return }
    if keepsAlive {
      state = .head
      wait(worker.limits.keepAliveMilliseconds)
      readHead()
    } else {
      close()
    }
  }

  func say(_ code: Int, lines: [UInt8] = []) {
    let text = OwnResponse.bytes(
      status: code, seconds: Timestamp.now().seconds, closes: !keepsAlive, isHead: method == .head,
      lines: lines)
    text.withUnsafeBytes { send($0, UnsafeRawBufferPointer(start: nil, count: 0)) }
  }

  // MARK: - Writing to the client

  /// Sends both pieces, sealed on a connection with TLS, keeping what the client does not take now.
  func send(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) {
    guard state != .closed else { return }
    guard let tls else { return sendBytes(first, second) }
    guard let sealed = tls.seal(first, second, scratch: worker.sealSpace) else { return abort() }
    sendBytes(sealed)
  }

  /// Sends bytes as they are. `output` holds such bytes: on a connection with TLS they are sealed already.
  func sendBytes(
    _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer = .init(start: nil, count: 0)
  ) {
    guard state != .closed else { return }
    var sent = 0
    if output.isEmpty {
      switch channel.send(first, second) {
      case .bytes(let count): sent = count
      case .wouldBlock: break
      case .end, .failed: return abort()
      }
      if sent == first.count + second.count { return }
      if !output.isAllocated { output = worker.bulk.take() }
      wait(worker.limits.clientMilliseconds)
    }
    let fromFirst = min(sent, first.count)
    let fromSecond = sent - fromFirst
    let one = UnsafeRawBufferPointer(rebasing: first[fromFirst...])
    let two = UnsafeRawBufferPointer(rebasing: second[fromSecond...])
    // No buffer left, or more than a buffer's worth: this client cannot be served.
    if output.append(one) < one.count || output.append(two) < two.count { abort() }
  }

  /// Sends what is kept. True when the connection can go on: everything is out.
  func flush() -> Bool {
    while !output.isEmpty {
      switch channel.send(output.readable) {
      case .bytes(let count):
        output.consumed(count)
        wait(worker.limits.clientMilliseconds)
      case .wouldBlock: return false
      case .end, .failed:
        abort()
        return false
      }
    }
    output = PooledBuffer()
    switch state {
    case .handshake: shakeHands()
    case .http2:
      http2?.outputTaken()
    case .exchange:
      wait(readMilliseconds)
      if let upstream { readResponse(upstream) }
    case .tunnel: pumpTunnel()
    case .lingering: finishSending()
    case .head:
      wait(worker.limits.keepAliveMilliseconds)
      readHead()
    case .closed: return false
    }
    return state != .closed
  }

  /// Ends the connection after what is kept has been sent.
  func close() {
    guard state != .closed, state != .lingering else { return }
    state = .lingering
    http2 = nil
    input = PooledBuffer()
    wait(worker.limits.clientMilliseconds)
    if output.isEmpty { finishSending() }
  }

  /// Closing with unread bytes makes the kernel send a reset, which can overtake the answer: read on for a
  /// while.
  private func finishSending() {
    if let tls, !hasSaidClose {
      hasSaidClose = true
      sendBytes(tls.close())
      guard state == .lingering, output.isEmpty else { return }
    }
    channel.finishSending()
    wait(worker.limits.lingerMilliseconds)
    discardInput()
  }

  func discardInput() {
    for _ in 0..<worker.limits.readsPerTurnMax {
      switch channel.receive(into: worker.reactor.scratch) {
      case .bytes: continue
      case .wouldBlock: return
      case .end, .failed: return abort()
      }
    }
    channel.callAgain(.readable)
  }
}

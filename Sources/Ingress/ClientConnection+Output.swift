// What goes to the client: answers of our own, bytes it has not taken yet, and the end of the connection.

import Diagnostics
import Glibc
import Reactor

extension ClientConnection {
  // MARK: - Answers of our own

  /// Answers a request that was understood, and goes on with the next one if its body is over.
  func refuseGently(
    _ code: Int, end: Int, _ message: UnsafeRawBufferPointer
  ) throws(HTTPRefusal) -> Int {
    let used = try requestBody.take(UnsafeRawBufferPointer(rebasing: message[end...]))
    if !requestBody.isDone { keepsAlive = false }
    say(code)
    if !keepsAlive { close() }
    return end + used
  }

  /// Answers what cannot be understood or is too much, and closes.
  func refuse(_ code: Int) {
    worker.metrics.refusedRequests.child(String(code)).increment()
    keepsAlive = false
    status = code
    say(code)
    close()
  }

  /// Ends the present request with an error of ours, if its answer has not begun.
  func fail(_ code: Int) {
    upstream?.finish(isReusable: false)
    upstream = nil
    request = PooledBuffer()
    pendingBody = PooledBuffer()
    guard status == 0 else {
      // Half an answer must not look like a whole one.
      channel.resetOnClose()
      return abort()
    }
    status = code
    count()
    if !requestBody.isDone { keepsAlive = false }
    say(code)
    guard state != .closed else { return }
    if keepsAlive {
      state = .head
      wait(worker.limits.keepAliveMilliseconds)
      readHead()
    } else {
      close()
    }
  }

  func say(_ code: Int) {
    let text = OwnResponse.bytes(
      status: code, seconds: Timestamp.now().seconds, closes: !keepsAlive, isHead: method == .head)
    text.withUnsafeBytes { send($0, UnsafeRawBufferPointer(start: nil, count: 0)) }
  }

  func count() {
    snapshot.backends[match.backend].count(
      match, snapshot.table.hosts, method, status, nanoseconds: worker.reactor.now &- startedAt,
      worker.metrics)
  }

  // MARK: - Writing to the client

  /// Sends both pieces, keeping what the client does not take now.
  func send(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) {
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
    case .exchange:
      wait(worker.limits.readMilliseconds)
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
    input = PooledBuffer()
    wait(worker.limits.clientMilliseconds)
    if output.isEmpty { finishSending() }
  }

  /// Closing with unread bytes makes the kernel send a reset, which can overtake the answer: read on for a
  /// while.
  private func finishSending() {
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

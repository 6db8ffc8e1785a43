// The client's side of a connection with TLS: the handshake, and reads that may be of either kind.

import Diagnostics
import Reactor

extension ClientConnection {
  /// Goes on with the handshake as far as the client's bytes lead.
  func shakeHands() {
    guard state == .handshake, isReadable, let tls else { return }
    let step = tls.handshake()
    if !tls.output.isEmpty { sendBytes(tls.output) }
    guard state == .handshake else { return }
    switch step {
    case .unfinished: isReadable = false
    case .failed:
      worker.metrics.handshakes.failed.increment()
      // The alert is out; nothing more can be said in a protocol that was not agreed on.
      self.tls = nil
      close()
    case .done:
      let metrics = worker.metrics.handshakes
      (tls.isResumed ? metrics.resumed : metrics.full).increment()
      shown = tls.shown
      state = .head
      wait(worker.limits.headMilliseconds)
      isReadable = tls.hasMore
      if tls.isHTTP2 { return becomeHTTP2(UnsafeRawBufferPointer(start: nil, count: 0)) }
      readHead()
    }
  }

  /// One read of what the client says. Keeps account of whether another read may give something.
  func readClient(into space: UnsafeMutableRawBufferPointer) -> Transfer {
    let transfer = channel.receive(
      into: space, through: tls, isReadable: &isReadable, isFinished: isFinished)
    // What the protocol itself answers, such as a change of keys.
    if let tls, !tls.output.isEmpty { sendBytes(tls.output) }
    return transfer
  }

  /// Whether a request came over a connection that was made for another listener's name.
  func isMisdirected(_ request: RouteRequest) -> Bool {
    guard let tls else { return false }
    let table = worker.snapshot.table
    let place = place(in: table)
    guard table.hasNames(at: place) else { return false }
    return tls.withServerName { table.isMisdirected(at: place, name: $0, host: request.host) } ?? false
  }
}

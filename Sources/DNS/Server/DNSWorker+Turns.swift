// Who comes first on a busy thread. A name of the cluster costs a microsecond, a question upstream ten times that and more: a socket of
// its own, a reply, an answer. Whoever asks for the one does not wait for many of the other.
//
//   what came together -> answers that are known leave -> only then are servers asked
//   reply, reply, … repliesPerLook of them -> what has come meanwhile -> reply, reply, …

import Reactor

/// Datagram sockets of a thread. The reactor keeps them; here they are only known.
struct ListeningSocket {
  weak var socket: UDPSocket?
}

extension DNSWorker {
  /// Replies of upstream servers that are taken before the thread looks whether somebody has asked meanwhile.
  static let repliesPerLook = 16

  /// Asks a server, once what came together with the question has been answered.
  func ask(_ exchange: ForwardExchange) {
    if isAnswering { unasked.append(exchange) } else { exchange.begin() }
  }

  /// Everybody who came with the last questions and can be answered at once has been.
  func askUpstream() {
    isAnswering = false
    guard !unasked.isEmpty else { return }
    for index in unasked.indices { unasked[index].begin() }
    unasked.removeAll(keepingCapacity: true)
  }

  /// A reply of an upstream server has been dealt with. Of those that came together each has a socket, and the kernel hands these out
  /// before the one on which questions came last.
  func noteTurn() {
    if reactor.now != turn { (turn, turnReplies) = (reactor.now, 0) }
    turnReplies += 1
    guard turnReplies % Self.repliesPerLook == 0, !isAnswering else { return }
    for index in sockets.indices { sockets[index].socket?.look() }
  }
}

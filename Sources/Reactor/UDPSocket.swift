// Datagrams in batches: one recvmmsg(2) for what waits, answers written in place, one sendmmsg(2) for them
// all.

import Addresses
import CLinux
import Glibc

/// Serves the datagrams of a `UDPSocket`.
public protocol DatagramHandler: AnyObject {
  /// One datagram. Write an answer to `reply` and return its length; 0 sends none now (answer later with
  /// `UDPSocket.send`). Both buffers are valid only during the call.
  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int

  /// What came together, perhaps one alone; `received` follows for each of them, in this order. A handler may have the processor fetch
  /// what it will read for all, where it would wait for each.
  func expects(_ batch: DatagramBatch)

  /// The answers to what came together have left. Work that nobody of these waits for belongs here, not in `received`.
  func answered()
}

extension DatagramHandler {
  public func expects(_ batch: DatagramBatch) {}
  public func answered() {}
}

/// What one system call brought. Valid during the call that hands it out.
public struct DatagramBatch {
  fileprivate let messages: UnsafeMutablePointer<weft_datagram>
  /// At most 64.
  public let count: Int
  /// Octets of one.
  @inline(__always) public subscript(_ index: Int) -> UnsafeRawBufferPointer {
    precondition(index >= 0 && index < count)
    return UnsafeRawBufferPointer(start: messages[index].payload, count: Int(messages[index].length))
  }
}

/// A received datagram.
public struct Datagram {
  public let payload: UnsafeRawBufferPointer
  public let peer: SocketAddress
  /// The address it was sent to; nil when the kernel did not say. Its port is not set.
  public let local: SocketAddress?
  /// It was longer than the receive space.
  public let isTruncated: Bool
}

/// A UDP socket on a reactor.
public final class UDPSocket: ReadinessHandler {
  /// Batches read in one go before others get their turn.
  public static let batchesPerTurnMax = 8

  private var channel = Channel()
  private let handler: any DatagramHandler
  private let incoming: UnsafeMutablePointer<weft_datagram>
  private let outgoing: UnsafeMutablePointer<weft_datagram>
  private let memory: UnsafeMutableRawPointer
  private let batch: Int
  private let receiveBytes: Int
  private let replyBytes: Int
  /// Answers that the full send buffer of the socket made us drop: the client asks again.
  public private(set) var dropped: UInt64 = 0
  public let endpoint: SocketEndpoint?

  /// - Parameters:
  ///   - batch: datagrams a system call, at most 64.
  ///   - receiveBytes: longer datagrams arrive truncated.
  ///   - replyBytes: space for one answer.
  public init(
    _ descriptor: consuming Descriptor, reactor: Reactor, batch: Int = 32, receiveBytes: Int = 4096,
    replyBytes: Int = 4096, handler: any DatagramHandler
  ) throws(SocketError) {
    precondition(batch > 0 && batch <= Int(weft_datagram_batch_max))
    self.handler = handler
    self.batch = batch
    self.receiveBytes = receiveBytes
    self.replyBytes = replyBytes
    endpoint = Sockets.localEndpoint(descriptor)
    incoming = .allocate(capacity: batch)
    outgoing = .allocate(capacity: batch)
    incoming.initialize(repeating: weft_datagram(), count: batch)
    outgoing.initialize(repeating: weft_datagram(), count: batch)
    memory = .allocate(byteCount: batch * (receiveBytes + replyBytes), alignment: 16)
    for index in 0..<batch {
      incoming[index].payload = memory + index * receiveBytes
      incoming[index].capacity = UInt32(receiveBytes)
      outgoing[index].payload = memory + batch * receiveBytes + index * replyBytes
      outgoing[index].capacity = UInt32(replyBytes)
    }
    channel = try reactor.register(descriptor, handler: self, readsOnly: true)
  }

  deinit {
    incoming.deallocate()
    outgoing.deallocate()
    memory.deallocate()
  }

  public func close() { channel.close() }
  public func cancel() { close() }

  /// Takes what waits now, before its turn comes: for a handler of other channels that keeps the loop busy for long. Not to be
  /// called while this socket's own handler is being called.
  public func look() { ready(.readable) }

  public func ready(_ readiness: Readiness) {
    guard !readiness.isDisjoint(with: [.readable, .error, .hangUp]) else { return }
    for _ in 0..<Self.batchesPerTurnMax {
      guard channel.isOpen else { return }
      let received = Int(weft_receive_datagrams(channel.raw, incoming, Int32(batch)))
      if received < 0 {
        // A pending ICMP error of a connected socket is reported once, and hides nothing behind it.
        if -received == ECONNREFUSED || -received == EHOSTUNREACH || -received == ENETUNREACH { continue }
        return
      }
      answer(received)
      if received > 0 { handler.answered() }
      if received < batch { return }
    }
    channel.callAgain(.readable)
  }

  private func answer(_ received: Int) {
    var answers = 0
    if received > 0 { handler.expects(DatagramBatch(messages: incoming, count: received)) }
    for index in 0..<received {
      let message = incoming[index]
      let hasLocal = message.local.sin6_family != 0
      let datagram = Datagram(
        payload: UnsafeRawBufferPointer(start: message.payload, count: Int(message.length)),
        peer: SocketAddress(storage: message.peer, length: message.peer_length),
        local: hasLocal ? SocketAddress(storage: message.local, length: message.peer_length) : nil,
        isTruncated: message.truncated != 0)
      let space = UnsafeMutableRawBufferPointer(start: outgoing[answers].payload, count: replyBytes)
      let length = handler.received(datagram, reply: space, on: self)
      precondition(length >= 0 && length <= replyBytes)
      guard length > 0 else { continue }
      outgoing[answers].length = UInt32(length)
      outgoing[answers].peer = message.peer
      outgoing[answers].peer_length = message.peer_length
      outgoing[answers].local = message.local
      outgoing[answers].interface = message.interface
      answers += 1
    }
    var sent = 0
    while sent < answers, channel.isOpen {
      let count = Int(weft_send_datagrams(channel.raw, outgoing + sent, Int32(answers - sent)))
      if count == -EAGAIN {
        dropped += UInt64(answers - sent)
        return
      }
      // An answer that this peer cannot get must not hold back the next one's.
      if count <= 0 { dropped += 1 }
      sent += max(1, count)
    }
  }

  /// Sends one datagram, from the address `local` when given. False when it could not be sent now.
  @discardableResult
  public func send(
    _ payload: UnsafeRawBufferPointer, to peer: SocketAddress, from local: SocketAddress? = nil
  ) -> Bool {
    guard channel.isOpen else { return false }
    var message = weft_datagram()
    message.payload = UnsafeMutableRawPointer(mutating: payload.baseAddress)
    message.length = UInt32(payload.count)
    message.peer = peer.storage
    message.peer_length = peer.length
    if let local { message.local = local.storage }
    return weft_send_datagrams(channel.raw, &message, 1) == 1
  }

  /// Sends one datagram to the peer of a connected socket.
  @discardableResult
  public func send(_ payload: UnsafeRawBufferPointer) -> Bool {
    channel.isOpen && channel.send(payload) == .bytes(payload.count)
  }
}

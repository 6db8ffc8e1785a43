// Bytes from one socket to another through a pipe (splice), so that none is copied here. One direction of a relay; two make a
// connection. A pipe is held only while bytes wait in it.
//
//   source --recv buffer--> [pipe] --send buffer--> sink

import Diagnostics
import Glibc

/// What the relays of one reactor share.
public struct RelayGear {
  public let reactor: Reactor
  public let pipes: PipePool
  /// Bytes passed on by splice.
  let spliced: Counter
  /// Pieces that were copied because no pipe was free.
  let copied: Counter

  public init(reactor: Reactor, pipes: PipePool, spliced: Counter, copied: Counter) {
    self.reactor = reactor
    self.pipes = pipes
    self.spliced = spliced
    self.copied = copied
  }
}

/// Owner of two `RelayEnd`s.
public protocol RelayOwner: AnyObject {
  /// One of its sockets is ready: `mayRead` and `mayWrite` say for what.
  func ready(_ end: RelayEnd, _ readiness: Readiness)
  /// The reactor will not wait longer.
  func cancel()
}

/// One of the two sockets of a relay. The reactor keeps it while its channel is open.
public final class RelayEnd: ReadinessHandler {
  public private(set) var channel = Channel()
  /// Let go when the channel closes: until then they keep each other.
  private var owner: (any RelayOwner)?
  /// Edges that were seen, until a read or a write would block.
  public internal(set) var mayRead = false
  public internal(set) var mayWrite = false

  /// An end that is closed.
  public init() {}

  /// Takes a socket over.
  /// - Throws: `SocketError` when the reactor has no place for it; the socket is closed then.
  public init(_ descriptor: consuming Descriptor, of owner: any RelayOwner, reactor: Reactor)
    throws(SocketError)
  {
    channel = try reactor.register(descriptor, handler: self)
    self.owner = owner
  }

  public func ready(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.readable, .peerFinished, .error, .hangUp]) { mayRead = true }
    if !readiness.isDisjoint(with: [.writable, .error, .hangUp]) { mayWrite = true }
    owner?.ready(self, readiness)
  }

  /// What runs goes on.
  public func drain() {}
  public func cancel() { owner?.cancel() }

  /// Closes with a reset: the peer must not take what it has for everything.
  public func reset() {
    if channel.isOpen { channel.resetOnClose() }
    close()
  }

  public func close() {
    owner = nil
    mayRead = false
    mayWrite = false
    channel.close()
  }
}

/// The state of one direction. End it with `giveBack(to:)`.
public struct RelayFlow: ~Copyable {
  /// Pieces moved in one go before others get their turn.
  public static let piecesPerTurnMax = 16

  private enum Step { case again, waits, finished, broken }

  private var pipe: Pipe?
  /// The source has finished sending, and the sink was told so.
  public private(set) var isFinished = false
  /// Bytes that the sink took.
  public private(set) var moved: UInt64 = 0

  public init() {}

  /// Moves what can be moved now. False when the connection is broken.
  public mutating func move(from source: RelayEnd, to sink: RelayEnd, _ gear: RelayGear) -> Bool {
    for _ in 0..<Self.piecesPerTurnMax {
      if isFinished { return true }
      if pipe == nil {
        guard source.mayRead else { return true }
        pipe = gear.pipes.take()
      }
      guard var held = pipe.take() else {
        // Slow readers hold all pipes: what they do must not stop others.
        switch copy(source, sink, gear) {
        case .again: continue
        case .waits: return true
        case .finished:
          isFinished = true
          return true
        case .broken: return false
        }
      }
      let outcome = held.count > 0 ? push(&held, sink, gear) : pull(&held, source, sink, gear)
      if held.count > 0, outcome != .broken { pipe = consume held } else { gear.pipes.giveBack(held) }
      switch outcome {
      case .again: break
      case .waits: return true
      case .finished:
        isFinished = true
        return true
      case .broken: return false
      }
    }
    // Others get their turn first.
    source.channel.callAgain([])
    return true
  }

  /// Ends the flow: what waits in its pipe is lost.
  public mutating func giveBack(to pipes: PipePool) {
    if let held = pipe.take() { pipes.giveBack(held) }
  }

  private mutating func pull(
    _ held: inout Pipe, _ source: RelayEnd, _ sink: RelayEnd, _ gear: RelayGear
  ) -> Step {
    switch held.fill(from: source.channel) {
    case .bytes: return push(&held, sink, gear)
    case .wouldBlock:
      source.mayRead = false
      return .waits
    case .end:
      sink.channel.finishSending()
      return .finished
    case .failed: return .broken
    }
  }

  private mutating func push(_ held: inout Pipe, _ sink: RelayEnd, _ gear: RelayGear) -> Step {
    guard sink.mayWrite else { return .waits }
    switch held.drain(to: sink.channel) {
    case .bytes(let count):
      gear.spliced.increment(by: UInt64(count))
      moved += UInt64(count)
      return .again
    case .wouldBlock:
      sink.mayWrite = false
      return .waits
    case .end, .failed: return .broken
    }
  }

  /// Without a pipe: no more is taken from the source than the sink took.
  private mutating func copy(_ source: RelayEnd, _ sink: RelayEnd, _ gear: RelayGear) -> Step {
    guard sink.mayWrite else { return .waits }
    gear.copied.increment()
    let scratch = gear.reactor.scratch
    switch source.channel.peek(into: scratch) {
    case .bytes(let count):
      switch sink.channel.send(UnsafeRawBufferPointer(rebasing: scratch[..<count])) {
      case .bytes(let sent):
        guard source.channel.discard(sent) else { return .broken }
        moved += UInt64(sent)
        if sent == count { return .again }
        sink.mayWrite = false
        return .waits
      case .wouldBlock:
        sink.mayWrite = false
        return .waits
      case .end, .failed: return .broken
      }
    case .wouldBlock:
      source.mayRead = false
      return .waits
    case .end:
      sink.channel.finishSending()
      return .finished
    case .failed: return .broken
    }
  }
}

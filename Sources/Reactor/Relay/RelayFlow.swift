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
      guard pipe != nil || source.mayRead else { return true }
      switch step(from: source, to: sink, gear) {
      case .again: continue
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

  /// One piece, through a pipe while there is one.
  private mutating func step(from source: RelayEnd, to sink: RelayEnd, _ gear: RelayGear) -> Step {
    if pipe == nil { pipe = gear.pipes.take() }
    // Slow readers hold all pipes: what they do must not stop others.
    guard var held = pipe.take() else { return copy(source, sink, gear) }
    let outcome = held.count > 0 ? push(&held, sink, gear) : pull(&held, source, sink, gear)
    if held.count > 0, outcome != .broken { pipe = consume held } else { gear.pipes.giveBack(held) }
    return outcome
  }

  private mutating func pull(
    _ held: inout Pipe, _ source: RelayEnd, _ sink: RelayEnd, _ gear: RelayGear
  ) -> Step {
    let filled = held.fill(from: source.channel)
    guard case .bytes = filled else { return Self.nothingRead(filled, from: source, for: sink) }
    return push(&held, sink, gear)
  }

  private mutating func push(_ held: inout Pipe, _ sink: RelayEnd, _ gear: RelayGear) -> Step {
    guard sink.mayWrite else { return .waits }
    let drained = held.drain(to: sink.channel)
    guard case .bytes(let count) = drained else { return Self.nothingTaken(drained, by: sink) }
    gear.spliced.increment(by: UInt64(count))
    moved += UInt64(count)
    return .again
  }

  /// Without a pipe: no more is taken from the source than the sink took.
  private mutating func copy(_ source: RelayEnd, _ sink: RelayEnd, _ gear: RelayGear) -> Step {
    guard sink.mayWrite else { return .waits }
    gear.copied.increment()
    let scratch = gear.reactor.scratch
    let peeked = source.channel.peek(into: scratch)
    guard case .bytes(let count) = peeked else { return Self.nothingRead(peeked, from: source, for: sink) }
    let taken = sink.channel.send(UnsafeRawBufferPointer(rebasing: scratch[..<count]))
    guard case .bytes(let sent) = taken else { return Self.nothingTaken(taken, by: sink) }
    guard source.channel.discard(sent) else { return .broken }
    moved += UInt64(sent)
    return sent == count ? .again : Self.nothingTaken(.wouldBlock, by: sink)
  }

  /// What follows from a read that gave no bytes.
  private static func nothingRead(_ transfer: Transfer, from source: RelayEnd, for sink: RelayEnd) -> Step {
    switch transfer {
    case .bytes: return .again
    case .wouldBlock:
      source.mayRead = false
      return .waits
    case .end:
      sink.channel.finishSending()
      return .finished
    case .failed: return .broken
    }
  }

  /// What follows from a write that took no bytes.
  private static func nothingTaken(_ transfer: Transfer, by sink: RelayEnd) -> Step {
    switch transfer {
    case .bytes: return .again
    case .wouldBlock:
      sink.mayWrite = false
      return .waits
    case .end, .failed: return .broken
    }
  }
}

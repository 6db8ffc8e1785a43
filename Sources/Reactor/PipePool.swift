// Pipes for splice(2), lent to connections only while bytes are on their way: an idle connection holds none.

import CLinux
import Glibc

/// A pipe with one owner. Closed when the value ends; give an empty one back to its pool instead.
public struct Pipe: ~Copyable {
  let reading: Descriptor
  let writing: Descriptor
  /// Bytes it can hold.
  public let room: Int
  /// Bytes that are in it now.
  public private(set) var count = 0

  init(room wanted: Int) throws(SocketError) {
    var numbers: (Int32, Int32) = (-1, -1)
    let room = withUnsafeMutablePointer(to: &numbers) { pointer in
      pointer.withMemoryRebound(to: Int32.self, capacity: 2) { weft_pipe($0, Int32(wanted)) }
    }
    guard room > 0 else { throw SocketError("pipe2", -room) }
    reading = Descriptor(owning: numbers.0)
    writing = Descriptor(owning: numbers.1)
    self.room = Int(room)
  }

  /// Moves bytes from a socket into an empty pipe, without copying them through this process.
  public mutating func fill(from channel: borrowing Channel) -> Transfer {
    let moved = weft_splice(channel.raw, writing.raw, room)
    if moved > 0 {
      count += moved
      return .bytes(moved)
    }
    return Self.outcome(moved, reading: true)
  }

  /// Moves what is in the pipe to a socket, as much as it takes.
  public mutating func drain(to channel: borrowing Channel) -> Transfer {
    let moved = weft_splice(reading.raw, channel.raw, count)
    if moved > 0 {
      count -= moved
      return .bytes(moved)
    }
    return Self.outcome(moved, reading: false)
  }

  private static func outcome(_ moved: Int, reading: Bool) -> Transfer {
    if moved == 0 { return reading ? .end : .wouldBlock }
    return moved == -Int(EAGAIN) ? .wouldBlock : .failed(Int32(-moved))
  }
}

/// The pipes of one reactor.
public final class PipePool {
  public let pipesMax: Int
  private let room: Int
  private let keptMax: Int
  private var kept: [KeptPipe] = []
  /// Pipes that are lent.
  public private(set) var inUse = 0

  /// - Parameters:
  ///   - pipesMax: lent at once; further ones have to wait.
  ///   - keptMax: empty ones kept for the next.
  public init(pipesMax: Int, room: Int = 256 << 10, keptMax: Int = 64) {
    self.pipesMax = pipesMax
    self.room = room
    self.keptMax = keptMax
  }

  private final class KeptPipe {
    var pipe: Pipe?
    init(_ pipe: consuming Pipe) { self.pipe = consume pipe }
  }

  /// An empty pipe; nil when `pipesMax` are lent or descriptors have run out.
  public func take() -> Pipe? {
    guard inUse < pipesMax else { return nil }
    if let box = kept.popLast() {
      inUse += 1
      return box.pipe.take()
    }
    guard let pipe = try? Pipe(room: room) else { return nil }
    inUse += 1
    return pipe
  }

  /// Takes a pipe back. One that still holds bytes is closed: they were meant for a connection that is gone.
  public func giveBack(_ pipe: consuming Pipe) {
    inUse -= 1
    guard pipe.count == 0, kept.count < keptMax else { return }
    kept.append(KeptPipe(pipe))
  }
}

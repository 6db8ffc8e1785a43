// Writers that have something to send, gathered for their event loop: one wake-up for all watches that an event reaches.

import NIOCore
import Synchronization

/// The writers of one event loop that wait for it.
final class StreamDrain: Sendable {
  /// Writers that are served before the loop sees to its other work.
  static let turnMax = 256

  private let loop: any EventLoop
  private let waiting = Mutex<[StreamWriter]>([])

  init(loop: any EventLoop) { self.loop = loop }

  /// From any thread. The writer is flushed on the loop.
  func add(_ writer: StreamWriter) {
    let isFirst = waiting.withLock { waiting in
      waiting.append(writer)
      return waiting.count == 1
    }
    if isFirst { loop.execute { self.turn() } }
  }

  private func turn() {
    let writers = waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
    serve(writers[...])
  }

  private func serve(_ writers: ArraySlice<StreamWriter>) {
    for writer in writers.prefix(Self.turnMax) { writer.flush() }
    let rest = writers.dropFirst(Self.turnMax)
    if !rest.isEmpty { loop.execute { self.serve(rest) } }
  }
}

/// One drain an event loop.
struct StreamDrains: Sendable {
  private let drains: [ObjectIdentifier: StreamDrain]

  init(_ group: any EventLoopGroup) {
    drains = Dictionary(
      uniqueKeysWithValues: group.makeIterator().map { (ObjectIdentifier($0), StreamDrain(loop: $0)) })
  }

  subscript(_ loop: any EventLoop) -> StreamDrain {
    drains[ObjectIdentifier(loop)] ?? StreamDrain(loop: loop)
  }
}

// The child's side of the socket pair: frames, and descriptors that come beside them.

import CLinux
import Glibc
import Reactor
import Synchronization

/// Why a stream of snapshots cannot be read on.
enum SnapshotStreamError: Error, Hashable {
  case tooLong(Int)
  case cutShort
  case failed(Int32)
}

/// Reads frames from the parent. A descriptor comes with the first byte of the frame that it belongs to.
struct FrameSource: ~Copyable {
  private let socket: Descriptor
  /// What came beside the last frame; -1: nothing. The next frame closes what nobody took.
  private var beside: Int32 = -1

  init(_ socket: consuming Descriptor) { self.socket = socket }

  deinit { if beside >= 0 { _ = Glibc.close(beside) } }

  var raw: Int32 { socket.raw }

  /// The descriptor of the last frame, owned by the caller from then on; -1 for none.
  mutating func takeDescriptor() -> Int32 {
    defer { beside = -1 }
    return beside
  }

  /// One frame; nil at the stream's end. Waits for it.
  mutating func next() throws(SnapshotStreamError) -> [UInt8]? {
    if beside >= 0 { _ = Glibc.close(takeDescriptor()) }
    var header = [UInt8](repeating: 0, count: 4)
    guard try readFully(&header) else { return nil }
    let length = header.reversed().reduce(0) { $0 << 8 | Int($1) }
    guard length <= RouteTable.encodedBytesMax else { throw .tooLong(length) }
    var frame = [UInt8](repeating: 0, count: length)
    if length == 0 { return frame }
    guard try readFully(&frame) else { throw .cutShort }
    return frame
  }

  private mutating func readFully(_ bytes: inout [UInt8]) throws(SnapshotStreamError) -> Bool {
    var done = 0
    while done < bytes.count {
      var found: Int32 = -1
      let raw = socket.raw
      let count = bytes.withUnsafeMutableBytes {
        weft_receive_beside(raw, $0.baseAddress.map { $0 + done }, $0.count - done, &found)
      }
      if found >= 0 {
        if beside >= 0 { _ = Glibc.close(beside) }
        beside = found
      }
      if count > 0 {
        done += count
      } else if count == 0 {
        if done == 0 { return false }
        throw .cutShort
      } else if count == -Int(ECONNRESET), done == 0 {
        // The parent went without having read what was confirmed.
        return false
      } else {
        throw .failed(Int32(-count))
      }
    }
    return true
  }
}

/// How many frames came.
final class FrameCount: Sendable {
  let value = Atomic<UInt32>(0)
}

/// Counts workers that have done what a frame asks for.
final class Confirmation: Sendable {
  private let left: Atomic<Int>
  init(workers: Int) { left = Atomic(workers) }
  /// Whether the caller is the last.
  func countDown() -> Bool { left.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 }
}

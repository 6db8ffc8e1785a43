// Pooled buffers of one reactor. An idle connection holds none: bytes pass through the reactor's scratch
// space, and a connection takes a buffer only for what the other side could not take at once.

/// Memory of one pool, with one owner; returned to the pool when the value ends. `start..<end` holds bytes.
public struct PooledBuffer: ~Copyable {
  private let pool: BufferPool?
  private let base: UnsafeMutableRawPointer?
  public let capacity: Int
  /// Where the unread bytes begin and end.
  public private(set) var start = 0
  public private(set) var end = 0

  /// A buffer without memory: always empty, always full.
  public init() {
    pool = nil
    base = nil
    capacity = 0
  }

  init(pool: BufferPool, base: UnsafeMutableRawPointer) {
    self.pool = pool
    self.base = base
    capacity = pool.bufferBytes
  }

  public var isAllocated: Bool { base != nil }
  public var count: Int { end - start }
  public var isEmpty: Bool { end == start }
  /// Bytes that can still be appended behind `end`.
  public var room: Int { capacity - end }

  /// The unread bytes, valid until the next mutation.
  public var readable: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base.map { $0 + start }, count: count)
  }
  /// The free space behind `end`, valid until the next mutation.
  public var writable: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base.map { $0 + end }, count: room)
  }

  public mutating func produced(_ bytes: Int) {
    precondition(bytes >= 0 && bytes <= room)
    end += bytes
  }

  public mutating func consumed(_ bytes: Int) {
    precondition(bytes >= 0 && bytes <= count)
    start += bytes
    if start == end {
      start = 0
      end = 0
    }
  }

  /// Moves the unread bytes to the front.
  public mutating func compact() {
    guard let base, start > 0 else { return }
    base.copyMemory(from: base + start, byteCount: count)
    end -= start
    start = 0
  }

  /// Copies as much as fits and returns how much that was.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard let base, let from = bytes.baseAddress else { return 0 }
    if bytes.count > room { compact() }
    let count = min(bytes.count, room)
    (base + end).copyMemory(from: from, byteCount: count)
    end += count
    return count
  }

  deinit {
    if let pool, let base { pool.giveBack(base) }
  }
}

/// Buffers of one size for one reactor's thread. Not thread-safe.
public final class BufferPool {
  public let bufferBytes: Int
  /// Buffers that may be out at once; `take` answers with an unallocated buffer beyond that.
  public let buffersMax: Int
  /// Returned buffers kept for reuse; further ones are freed.
  public let keptMax: Int
  public private(set) var inUse = 0
  private var kept: [UnsafeMutableRawPointer] = []

  public init(bufferBytes: Int, buffersMax: Int, keptMax: Int) {
    self.bufferBytes = bufferBytes
    self.buffersMax = buffersMax
    self.keptMax = keptMax
  }

  /// A buffer, or one with `isAllocated == false` when `buffersMax` are out: apply back-pressure or refuse.
  public func take() -> PooledBuffer {
    guard inUse < buffersMax else { return PooledBuffer() }
    inUse += 1
    let base = kept.popLast() ?? .allocate(byteCount: bufferBytes, alignment: 16)
    return PooledBuffer(pool: self, base: base)
  }

  fileprivate func giveBack(_ base: UnsafeMutableRawPointer) {
    inUse -= 1
    if kept.count < keptMax { kept.append(base) } else { base.deallocate() }
  }

  deinit { for base in kept { base.deallocate() } }
}

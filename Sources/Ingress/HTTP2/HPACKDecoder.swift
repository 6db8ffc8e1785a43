// Header blocks read (RFC 7541): integers, Huffman code, the table that grows with what was sent. Bounded by the table's
// size that we announce, by the block's size, and by what the caller takes of the fields.

/// A block that cannot be read. The connection ends with COMPRESSION_ERROR: its table is lost.
struct HPACKError: Error, Equatable {}

/// The receiving side of one connection's compression.
struct HPACKDecoder: ~Copyable {
  /// Bytes of the dynamic table as HPACK counts them: what we announce, the protocol's default.
  static let tableBytesMax = 4096
  private static let entriesMax = tableBytesMax / 32
  /// Bytes kept behind the live ones before they are moved to the front.
  private static let storageBytes = 2 * tableBytesMax
  /// Space that one block's strings need, twice: a byte of Huffman code gives at most 1.6 bytes.
  static let scratchBytes = 128 << 10

  private struct Entry {
    var start: Int32
    var name: Int32
    var value: Int32
  }
  private let tables: HPACKTables
  /// Made with the first entry.
  private var storage: UnsafeMutableRawPointer?
  private var entries: UnsafeMutablePointer<Entry>?
  private var newest = 0
  private(set) var count = 0
  private(set) var tableBytes = 0
  private var tableMax = HPACKDecoder.tableBytesMax
  private var storageEnd = 0

  init(_ tables: HPACKTables) { self.tables = tables }

  deinit {
    storage?.deallocate()
    entries?.deallocate()
  }

  /// Reads one whole block, field by field in its order.
  /// - Parameters:
  ///   - scratch: `scratchBytes` of space.
  ///   - field: gets pointers that are good during the call.
  mutating func decode(
    _ block: UnsafeRawBufferPointer, scratch: UnsafeMutableRawBufferPointer,
    field: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void
  ) throws(HPACKError) {
    var at = 0
    var mayResize = true
    let half = scratch.count / 2
    let nameSpace = UnsafeMutableRawBufferPointer(rebasing: scratch[..<half])
    let valueSpace = UnsafeMutableRawBufferPointer(rebasing: scratch[half...])
    while at < block.count {
      let byte = block[at]
      if byte & 0x80 != 0 {
        mayResize = false
        let index = try integer(block, &at, bits: 7)
        let (name, value) = try entry(index)
        field(name, value)
        continue
      }
      if byte & 0xe0 == 0x20 {
        // Only at the block's beginning (section 4.2), and never above what we announced.
        let size = try integer(block, &at, bits: 5)
        guard mayResize, size <= Self.tableBytesMax else { throw HPACKError() }
        tableMax = size
        evict(for: 0)
        continue
      }
      mayResize = false
      let isIndexed = byte & 0x40 != 0
      let index = try integer(block, &at, bits: isIndexed ? 6 : 4)
      var name: UnsafeRawBufferPointer
      if index == 0 {
        name = try string(block, &at, nameSpace)
      } else {
        name = try entry(index).name
        // Making room may move the table's bytes.
        if isIndexed, index > HPACKTables.staticCount {
          nameSpace.copyMemory(from: name)
          name = UnsafeRawBufferPointer(rebasing: nameSpace[..<name.count])
        }
      }
      let value = try string(block, &at, valueSpace)
      field(name, value)
      if isIndexed { insert(name, value) }
    }
  }

  // MARK: - The pieces of a block

  private func integer(
    _ block: UnsafeRawBufferPointer, _ at: inout Int, bits: UInt8
  ) throws(HPACKError) -> Int {
    let mask = UInt8(1) << bits - 1
    var value = Int(block[at] & mask)
    at += 1
    if value < Int(mask) { return value }
    var shift = 0
    while true {
      // Four more bytes say 268 million: enough for anything that could be true.
      guard at < block.count, shift < 28 else { throw HPACKError() }
      let byte = block[at]
      at += 1
      value += Int(byte & 0x7f) << shift
      if byte & 0x80 == 0 { return value }
      shift += 7
    }
  }

  private func string(
    _ block: UnsafeRawBufferPointer, _ at: inout Int, _ space: UnsafeMutableRawBufferPointer
  ) throws(HPACKError) -> UnsafeRawBufferPointer {
    guard at < block.count else { throw HPACKError() }
    let isCoded = block[at] & 0x80 != 0
    let length = try integer(block, &at, bits: 7)
    guard length <= block.count - at else { throw HPACKError() }
    let bytes = UnsafeRawBufferPointer(rebasing: block[at..<at + length])
    at += length
    return isCoded ? try huffman(bytes, space) : bytes
  }

  private func huffman(
    _ bytes: UnsafeRawBufferPointer, _ space: UnsafeMutableRawBufferPointer
  ) throws(HPACKError) -> UnsafeRawBufferPointer {
    var accumulator: UInt64 = 0
    var bits = 0
    var at = 0
    var written = 0
    while true {
      while bits <= 48, at < bytes.count {
        accumulator = accumulator << 8 | UInt64(bytes[at])
        bits += 8
        at += 1
      }
      if bits == 0 { break }
      let next =
        bits >= 8 ? accumulator >> UInt64(bits - 8) : accumulator << UInt64(8 - bits) | 0xff >> UInt64(bits)
      let found = tables.short[Int(next & 0xff)]
      var length = Int(found >> 8)
      var symbol = found & 0xff
      if length == 0 || length > bits {
        length = 9
        repeat {
          length += 1
          guard length <= HPACKTables.longestCode, length <= bits else {
            // What is left must be padding: less than a byte, all ones (section 5.2).
            guard at == bytes.count, bits < 8, accumulator & (1 << UInt64(bits) - 1) == 1 << UInt64(bits) - 1
            else {
              throw HPACKError()
            }
            return UnsafeRawBufferPointer(rebasing: space[..<written])
          }
          let code =
            UInt32(truncatingIfNeeded: accumulator >> UInt64(bits - length)) & (1 << UInt32(length) - 1)
          let offset = code &- tables.first[length]
          if code >= tables.first[length], offset < tables.counts[length] {
            symbol = tables.symbols[tables.starts[length] + Int(offset)]
            break
          }
        } while true
        guard symbol != HPACKTables.endOfString else { throw HPACKError() }
      }
      guard written < space.count else { throw HPACKError() }
      space[written] = UInt8(truncatingIfNeeded: symbol)
      written += 1
      bits -= length
    }
    return UnsafeRawBufferPointer(rebasing: space[..<written])
  }

  // MARK: - The table

  private func entry(
    _ index: Int
  ) throws(HPACKError) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    guard index > 0 else { throw HPACKError() }
    if index <= HPACKTables.staticCount { return tables.entry(index) }
    let back = index - HPACKTables.staticCount - 1
    guard back < count, let entries, let storage else { throw HPACKError() }
    let entry = entries[(newest - back + Self.entriesMax) % Self.entriesMax]
    let start = storage + Int(entry.start)
    return (
      UnsafeRawBufferPointer(start: start, count: Int(entry.name)),
      UnsafeRawBufferPointer(start: start + Int(entry.name), count: Int(entry.value))
    )
  }

  /// Lets the oldest go until `bytes` more fit.
  private mutating func evict(for bytes: Int) {
    guard let entries else { return }
    while count > 0, tableBytes + bytes > tableMax {
      let oldest = entries[(newest - (count - 1) + Self.entriesMax) % Self.entriesMax]
      tableBytes -= Int(oldest.name + oldest.value) + 32
      count -= 1
    }
  }

  private mutating func insert(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    let bytes = name.count + value.count
    evict(for: bytes + 32)
    // Larger than the table: it is empty then, and stays so (section 4.4).
    guard bytes + 32 <= tableMax else { return }
    let entries = self.entries ?? .allocate(capacity: Self.entriesMax)
    let storage = self.storage ?? .allocate(byteCount: Self.storageBytes, alignment: 1)
    self.entries = entries
    self.storage = storage
    if storageEnd + bytes > Self.storageBytes { compact(entries, storage) }
    let start = storage + storageEnd
    if let base = name.baseAddress { start.copyMemory(from: base, byteCount: name.count) }
    if let base = value.baseAddress { (start + name.count).copyMemory(from: base, byteCount: value.count) }
    newest = (newest + 1) % Self.entriesMax
    entries[newest] = Entry(start: Int32(storageEnd), name: Int32(name.count), value: Int32(value.count))
    storageEnd += bytes
    tableBytes += bytes + 32
    count += 1
  }

  /// Live bytes lie in the order of their entries, at most half of the storage.
  private mutating func compact(
    _ entries: UnsafeMutablePointer<Entry>, _ storage: UnsafeMutableRawPointer
  ) {
    var end = 0
    for back in stride(from: count - 1, through: 0, by: -1) {
      let index = (newest - back + Self.entriesMax) % Self.entriesMax
      let bytes = Int(entries[index].name + entries[index].value)
      (storage + end).copyMemory(from: storage + Int(entries[index].start), byteCount: bytes)
      entries[index].start = Int32(end)
      end += bytes
    }
    storageEnd = end
  }
}

// Which addresses of a range set are free, answered in constant time whatever the number of leases.
//
// The file is an index, not the truth: the lease files are. It says of itself when it may be wrong (dirty,
// another boot, another shape, a folder of leases that was changed since) and is then rebuilt from them. Read and
// written with pread and pwrite: a full disk is an error.
//
//   0     8       12    16      32    40       48   56   64   72   80           4096
//   +-----+-------+-----+-------+-----+--------+----+----+----+----+--------+---+--------+-----------------------+
//   | tag | vers. |dirty|boot id|shape|capacity|next|head|tail|used|changed |...| bitmap | ring of released, u32 |
//   +-----+-------+-----+-------+-----+--------+----+----+----+----+--------+---+--------+-----------------------+
//
// `changed` is when the folder of leases was changed last, as the file system has it. It is not synced: after a power
// cut under a process that lives on (a disk that went away and came back) the folder is newer than its index.
import Addresses
import Glibc

/// The index of one range set. Use it under the network's lock.
final class AddressPool {
  let space: AddressSpace
  private let descriptor: Int32
  private let path: String
  private let leaseFolder: String
  private var next = 0
  private var head = 0
  private var tail = 0
  private(set) var used = 0

  /// Addresses that can be leased at all: without the gateways.
  var total: Int {
    space.capacity - Set(space.ranges.compactMap { space.offset(of: $0.gateway) }).count
  }

  private static let name: [UInt8] = Array("WEFTIPAM".utf8)
  private static let formatVersion: UInt32 = 2
  private static let headerBytes = 88
  private static let bitmapOffset = 4096
  private var ringOffset: Int { Self.bitmapOffset + (space.capacity + 63) / 64 * 8 }

  /// Opens the index at `path`; `leased` is asked for the truth only when the index cannot be trusted.
  init(
    _ path: String, space: AddressSpace, bootID: [UInt8], leaseFolder: String,
    leased: () throws(CNIError) -> [IPAddress]
  ) throws(CNIError) {
    self.space = space
    self.path = path
    self.leaseFolder = leaseFolder
    let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard opened >= 0 else { throw Files.failure("open", path) }
    descriptor = opened
    if try !load(bootID: bootID) { try rebuild(bootID: bootID, leased: try leased()) }
  }

  deinit { close(descriptor) }

  /// Takes the address that has been free for longest: one never used, else the one released first.
  func take() throws(CNIError) -> Int? {
    while next < space.capacity {
      let offset = next
      next += 1
      if try !isUsed(offset) {
        try setUsed(offset, true)
        return offset
      }
    }
    while head < tail {
      let raw: UInt32 = try load(at: ringOffset + head % space.capacity * 4)
      head += 1
      // An address that was asked for by name may stand here although it is in use.
      if Int(raw) < space.capacity, try !isUsed(Int(raw)) {
        try setUsed(Int(raw), true)
        return Int(raw)
      }
    }
    return nil
  }

  /// Takes that very address. Returns false when it is in use.
  func take(_ offset: Int) throws(CNIError) -> Bool {
    if try isUsed(offset) { return false }
    try setUsed(offset, true)
    return true
  }

  /// Gives an address back, to the end of the queue.
  func give(_ offset: Int) throws(CNIError) {
    guard try isUsed(offset), offset < space.capacity else { return }
    try setUsed(offset, false)
    guard offset < next else { return }
    if tail - head >= space.capacity { return try compact() }
    try store(UInt32(offset), at: ringOffset + tail % space.capacity * 4)
    tail += 1
  }

  /// Says that what follows may be cut short: until `commit`, whoever opens the index rebuilds it.
  func begin() throws(CNIError) { try store(UInt32(1), at: 12) }

  /// Writes what changed and trusts the index again.
  func commit() throws(CNIError) {
    try writeCounters()
    try store(UInt32(0), at: 12)
  }

  /// The ring filled up with addresses listed twice: list each free one once, in address order.
  private func compact() throws(CNIError) {
    head = 0
    tail = 0
    for offset in 0..<next where try !isUsed(offset) {
      try store(UInt32(offset), at: ringOffset + tail * 4)
      tail += 1
    }
  }

  private func rebuild(bootID: [UInt8], leased: [IPAddress]) throws(CNIError) {
    guard ftruncate(descriptor, 0) == 0, ftruncate(descriptor, off_t(ringOffset + space.capacity * 4)) == 0
    else {
      throw Files.failure("resize", path)
    }
    (next, head, tail, used) = (0, 0, 0, 0)
    try store(UInt32(1), at: 12)
    for range in space.ranges {
      if let gateway = space.offset(of: range.gateway), try !isUsed(gateway) {
        try setUsed(gateway, true)
        used -= 1
      }
    }
    var highest = -1
    for address in leased {
      guard let offset = space.offset(of: address) else { continue }
      if try !isUsed(offset) { try setUsed(offset, true) }
      highest = max(highest, offset)
    }
    next = highest + 1
    try compact()
    try write(Self.name, at: 0)
    try store(Self.formatVersion, at: 8)
    try write(bootID, at: 16)
    try store(space.shape, at: 32)
    try store(UInt64(space.capacity), at: 40)
    try commit()
  }

  /// Reads the header; false when the index may not be trusted.
  private func load(bootID: [UInt8]) throws(CNIError) -> Bool {
    guard lseek(descriptor, 0, SEEK_END) == off_t(ringOffset + space.capacity * 4) else { return false }
    let header = try read(Self.headerBytes, at: 0)
    guard header.count == Self.headerBytes, header[0..<8].elementsEqual(Self.name),
      header[16..<32].elementsEqual(bootID)
    else { return false }
    func word(_ offset: Int) -> UInt64 {
      header.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    }
    let formatAndDirt = word(8)
    guard formatAndDirt == UInt64(Self.formatVersion), word(32) == space.shape,
      word(40) == UInt64(space.capacity), word(80) == Files.changed(leaseFolder)
    else { return false }
    guard let next = Int(exactly: word(48)), let head = Int(exactly: word(56)),
      let tail = Int(exactly: word(64)),
      let used = Int(exactly: word(72)), next <= space.capacity, head <= tail, tail - head <= space.capacity,
      tail < 1 << 62, used <= space.capacity
    else { return false }
    (self.next, self.head, self.tail, self.used) = (next, head, tail, used)
    return true
  }

  private func writeCounters() throws(CNIError) {
    var bytes: [UInt8] = []
    for value in [UInt64(next), UInt64(head), UInt64(tail), UInt64(used), Files.changed(leaseFolder)] {
      withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }
    try write(bytes, at: 48)
  }

  private func isUsed(_ offset: Int) throws(CNIError) -> Bool {
    let byte: UInt8 = try load(at: Self.bitmapOffset + offset / 8)
    return byte & (1 << (offset % 8)) != 0
  }

  private func setUsed(_ offset: Int, _ isUsed: Bool) throws(CNIError) {
    let position = Self.bitmapOffset + offset / 8
    let byte: UInt8 = try load(at: position)
    let bit: UInt8 = 1 << (offset % 8)
    try store(isUsed ? byte | bit : byte & ~bit, at: position)
    used += isUsed ? 1 : -1
  }

  private func load<Value: FixedWidthInteger>(at position: Int) throws(CNIError) -> Value {
    let bytes = try read(MemoryLayout<Value>.size, at: position)
    guard bytes.count == MemoryLayout<Value>.size else {
      throw CNIError(
        .inputOutput, "\(path) is cut short", details: "remove it: it is rebuilt from the leases")
    }
    return bytes.withUnsafeBytes { $0.loadUnaligned(as: Value.self) }
  }

  private func store(_ value: some FixedWidthInteger, at position: Int) throws(CNIError) {
    try write(withUnsafeBytes(of: value) { [UInt8]($0) }, at: position)
  }

  private func read(_ count: Int, at position: Int) throws(CNIError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let got = pread(descriptor, &bytes, count, off_t(position))
    guard got >= 0 else { throw Files.failure("read", path) }
    return Array(bytes[0..<got])
  }

  private func write(_ bytes: [UInt8], at position: Int) throws(CNIError) {
    guard pwrite(descriptor, bytes, bytes.count, off_t(position)) == bytes.count else {
      throw Files.failure("write", path)
    }
  }
}

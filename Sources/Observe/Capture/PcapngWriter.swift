// A capture as pcapng has it (draft-ietf-opsawg-pcapng), little-endian, times in nanoseconds.
//
//   | section | interface 0 | interface 1 | names | packet | packet | names | packet … | statistics |
//   every block: type u32, length u32, body padded to four bytes, length u32

import Addresses

/// What the numbers of a pcapng block mean.
enum Pcapng {
  static let section: UInt32 = 0x0a0d_0d0a
  static let interface: UInt32 = 1
  static let names: UInt32 = 4
  static let statistics: UInt32 = 5
  static let packet: UInt32 = 6
  static let byteOrder: UInt32 = 0x1a2b_3c4d
  static let ethernet: UInt16 = 1

  enum Option {
    static let end: UInt16 = 0
    static let comment: UInt16 = 1
    static let (interfaceName, interfaceDescription, resolution): (UInt16, UInt16, UInt16) = (2, 3, 9)
    static let (system, application): (UInt16, UInt16) = (3, 4)
    static let flags: UInt16 = 2
    static let (received, dropped): (UInt16, UInt16) = (4, 5)
  }
}

/// Blocks in one piece of memory that is taken once: writing a packet allocates nothing. Of one thread at a time.
public final class PcapngWriter {
  /// Longer texts are cut: names as pcapng readers hold them, remarks as people read them.
  public static let nameMax = 255
  public static let remarkMax = 1024
  /// More than one packet with its remark takes.
  private static let blockMax = 280 << 10

  private let memory: UnsafeMutableRawPointer
  private let room: Int
  /// Bytes that wait to be taken.
  public private(set) var count = 0
  private var blockAt = 0

  /// - Parameter room: what may wait; a writer that has less than one block's room left must be emptied first.
  public init(room: Int = 1 << 20) {
    self.room = max(room, 2 * Self.blockMax)
    memory = .allocate(byteCount: self.room, alignment: 8)
  }

  deinit { memory.deallocate() }

  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory, count: count) }
  /// Past it what waits is worth a system call.
  public var roomWanted: Int { room / 4 }
  /// Whether another block may not find room.
  public var isFull: Bool { room - count < Self.blockMax }
  /// Forgets what waits: it was taken.
  public func empty() { count = 0 }

  // MARK: Blocks

  /// The head of a file or stream.
  public func section(application: String, system: String) {
    begin(Pcapng.section)
    put(Pcapng.byteOrder)
    put(UInt16(1))
    put(UInt16(0))
    put(UInt64.max)
    option(Pcapng.Option.system, text: system)
    option(Pcapng.Option.application, text: application)
    endOptions()
    end()
  }

  /// A link with Ethernet frames; packets name it by its number from 0.
  public func interface(name: String, description: String, snapLength: UInt32) {
    begin(Pcapng.interface)
    put(Pcapng.ethernet)
    put(UInt16(0))
    put(snapLength)
    option(Pcapng.Option.interfaceName, text: name)
    option(Pcapng.Option.interfaceDescription, text: description)
    // 10^-9 seconds.
    put(Pcapng.Option.resolution)
    put(UInt16(1))
    put(UInt32(9))
    endOptions()
    end()
  }

  /// The name of an address.
  public func name(_ address: IPAddress, _ name: String) {
    begin(Pcapng.names)
    let text = Array(name.utf8.prefix(Self.nameMax)) + [0]
    switch address {
    case .v4(let four):
      put(UInt16(1))
      put(UInt16(4 + text.count))
      put(four.bits.bigEndian)
    case .v6(let six):
      put(UInt16(2))
      put(UInt16(16 + text.count))
      put(UInt64(truncatingIfNeeded: six.bits >> 64).bigEndian)
      put(UInt64(truncatingIfNeeded: six.bits).bigEndian)
    }
    text.withUnsafeBytes { padded($0) }
    put(UInt32(0))
    end()
  }

  /// A packet. Costs a copy of its bytes.
  /// - Parameters:
  ///   - isInbound: nil: not known.
  ///   - remark: UTF-8; none when empty.
  public func packet(
    interface: UInt32, nanoseconds: UInt64, bytes: UnsafeRawBufferPointer, length: Int, isInbound: Bool?,
    remark: [UInt8]
  ) {
    begin(Pcapng.packet)
    put(interface)
    put(UInt32(truncatingIfNeeded: nanoseconds >> 32))
    put(UInt32(truncatingIfNeeded: nanoseconds))
    let taken = UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.blockMax - 8192))
    put(UInt32(taken.count))
    put(UInt32(clamping: length))
    padded(taken)
    if let isInbound {
      put(Pcapng.Option.flags)
      put(UInt16(4))
      put(UInt32(isInbound ? 1 : 2))
    }
    if !remark.isEmpty {
      let count = min(remark.count, Self.remarkMax)
      put(Pcapng.Option.comment)
      put(UInt16(count))
      remark.withUnsafeBytes { padded(UnsafeRawBufferPointer(rebasing: $0.prefix(count))) }
    }
    if isInbound != nil || !remark.isEmpty { endOptions() }
    end()
  }

  /// What came in all and what was lost on the way to here.
  public func statistics(interface: UInt32, nanoseconds: UInt64, received: UInt64, dropped: UInt64) {
    begin(Pcapng.statistics)
    put(interface)
    put(UInt32(truncatingIfNeeded: nanoseconds >> 32))
    put(UInt32(truncatingIfNeeded: nanoseconds))
    for (option, value) in [(Pcapng.Option.received, received), (Pcapng.Option.dropped, dropped)] {
      put(option)
      put(UInt16(8))
      put(value)
    }
    endOptions()
    end()
  }

  // MARK: Bytes

  private func begin(_ type: UInt32) {
    precondition(!isFull, "a writer is emptied before it is full")
    blockAt = count
    put(type)
    put(UInt32(0))
  }

  private func end() {
    let length = UInt32(count - blockAt + 4)
    put(length)
    memory.storeBytes(of: length.littleEndian, toByteOffset: blockAt + 4, as: UInt32.self)
  }

  private func option(_ code: UInt16, text: String) {
    let bytes = Array(text.utf8.prefix(Self.nameMax))
    guard !bytes.isEmpty else { return }
    put(code)
    put(UInt16(bytes.count))
    bytes.withUnsafeBytes { padded($0) }
  }

  private func endOptions() { put(UInt32(Pcapng.Option.end)) }

  private func put(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { raw($0) }
  }

  private func raw(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
    precondition(bytes.count <= room - count)
    (memory + count).copyMemory(from: start, byteCount: bytes.count)
    count += bytes.count
  }

  private func padded(_ bytes: UnsafeRawBufferPointer) {
    raw(bytes)
    while count % 4 != 0 {
      memory.storeBytes(of: 0, toByteOffset: count, as: UInt8.self)
      count += 1
    }
  }
}

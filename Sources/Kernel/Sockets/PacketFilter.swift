// Which frames a packet socket takes: programs of classic BPF, compiled from pcap's language or put together here, and joined.
//
//   links(4, 7)   joined   endpoints(10.43.0.9:80)   joined   "tcp[tcpflags] & tcp-syn != 0"

import Addresses
import CPacket
import Glibc

/// A program for frames with an Ethernet header. The kernel checks it before it runs it.
public struct PacketFilter: Sendable, Hashable {
  /// `struct sock_filter`.
  public struct Instruction: Sendable, Hashable {
    public var code: UInt16
    public var whenTrue: UInt8
    public var whenFalse: UInt8
    public var operand: UInt32
    public init(_ code: UInt16, whenTrue: UInt8 = 0, whenFalse: UInt8 = 0, _ operand: UInt32) {
      self.code = code
      self.whenTrue = whenTrue
      self.whenFalse = whenFalse
      self.operand = operand
    }
  }

  /// An address, and a port of a protocol of it, in either direction.
  public struct Endpoint: Sendable, Hashable {
    public var address: IPAddress
    /// Nil: whatever it speaks.
    public var port: UInt16?
    public var transport: TransportProtocol?
    public init(_ address: IPAddress, port: UInt16? = nil, transport: TransportProtocol? = nil) {
      self.address = address
      self.port = port
      self.transport = transport
    }
  }

  /// `BPF_MAXINSNS`.
  public static let instructionsMax = 4096
  /// More than any frame has.
  public static let wholeFrame: UInt32 = 262_144

  public var instructions: [Instruction]

  public init(instructions: [Instruction]) { self.instructions = instructions }

  /// Every frame, as much of it as this.
  public static func all(snapLength: UInt32 = wholeFrame) -> PacketFilter {
    PacketFilter(instructions: [Instruction(Code.leave, snapLength)])
  }

  // linux/bpf_common.h
  private enum Code {
    static let loadWord: UInt16 = 0x20
    static let loadHalf: UInt16 = 0x28
    static let loadByte: UInt16 = 0x30
    /// At the offset in X.
    static let loadHalfBehind: UInt16 = 0x48
    /// X becomes the length of the IPv4 header at an offset.
    static let headerLength: UInt16 = 0xb1
    static let isEqual: UInt16 = 0x15
    static let hasBits: UInt16 = 0x45
    static let jump: UInt16 = 0x05
    static let leave: UInt16 = 0x06
    /// `SKF_AD_OFF + SKF_AD_IFINDEX`: the link, instead of bytes of the frame.
    static let linkOffset: UInt32 = 0xffff_f008
  }

  /// Frames of these links.
  public static func links(_ indices: some Sequence<Int32>) -> PacketFilter {
    var program = [Instruction(Code.loadWord, Code.linkOffset)]
    for index in indices {
      program.append(Instruction(Code.isEqual, whenFalse: 1, UInt32(bitPattern: index)))
      program.append(Instruction(Code.leave, wholeFrame))
    }
    program.append(Instruction(Code.leave, 0))
    return PacketFilter(instructions: program)
  }

  /// Packets from or to one of these. Later fragments count by their addresses, IPv6 with extension headers does not count.
  public static func endpoints(_ list: some Sequence<Endpoint>) -> PacketFilter {
    var four: [Instruction] = []
    var six: [Instruction] = []
    for endpoint in list {
      for isSource in [true, false] {
        switch endpoint.address {
        case .v4(let address): four += Self.test(address, endpoint, isSource)
        case .v6(let address): six += Self.test(address, endpoint, isSource)
        }
      }
    }
    let refusal = Instruction(Code.leave, 0)
    var program = [Instruction(Code.loadHalf, 12), Instruction(Code.isEqual, whenFalse: 1, 0x0800)]
    // A conditional jump reaches 255 instructions far, an unconditional one as far as is wanted.
    program.append(Instruction(Code.jump, 3))
    program.append(Instruction(Code.isEqual, whenTrue: 1, 0x86dd))
    program.append(refusal)
    program.append(Instruction(Code.jump, UInt32(four.count + 1)))
    return PacketFilter(instructions: program + four + [refusal] + six + [refusal])
  }

  /// Takes the frame, or goes on behind itself.
  private static func test(_ address: IPv4Address, _ endpoint: Endpoint, _ isSource: Bool) -> [Instruction] {
    var rest: [Instruction] = []
    if let transport = endpoint.transport {
      rest.append(Instruction(Code.loadByte, 23))
      rest.append(Instruction(Code.isEqual, whenFalse: .max, UInt32(transport.number)))
    }
    if let port = endpoint.port {
      // A later fragment has no ports: taken by its addresses.
      rest.append(Instruction(Code.loadHalf, 20))
      rest.append(Instruction(Code.hasBits, whenTrue: 3, 0x1fff))
      rest.append(Instruction(Code.headerLength, 14))
      rest.append(Instruction(Code.loadHalfBehind, isSource ? 14 : 16))
      rest.append(Instruction(Code.isEqual, whenFalse: .max, UInt32(port)))
    }
    return closed(
      [
        Instruction(Code.loadWord, isSource ? 26 : 30),
        Instruction(Code.isEqual, whenFalse: .max, address.bits),
      ] + rest)
  }

  private static func test(_ address: IPv6Address, _ endpoint: Endpoint, _ isSource: Bool) -> [Instruction] {
    var all: [Instruction] = []
    for word in 0..<4 {
      let bits = UInt32(truncatingIfNeeded: address.bits >> UInt128(96 - 32 * word))
      all.append(Instruction(Code.loadWord, UInt32((isSource ? 22 : 38) + 4 * word)))
      all.append(Instruction(Code.isEqual, whenFalse: .max, bits))
    }
    if let transport = endpoint.transport {
      all.append(Instruction(Code.loadByte, 20))
      all.append(Instruction(Code.isEqual, whenFalse: .max, UInt32(transport.number)))
    }
    if let port = endpoint.port {
      all.append(Instruction(Code.loadHalf, isSource ? 54 : 56))
      all.append(Instruction(Code.isEqual, whenFalse: .max, UInt32(port)))
    }
    return closed(all)
  }

  /// Ends a test: what jumps to `.max` goes on behind it, the rest has the frame taken.
  private static func closed(_ test: [Instruction]) -> [Instruction] {
    var test = test + [Instruction(Code.leave, wholeFrame)]
    for index in test.indices where test[index].whenFalse == .max {
      test[index].whenFalse = UInt8(test.count - index - 1)
    }
    return test
  }

  /// Takes what both take; as much of it as `next` says.
  public func joined(with next: PacketFilter) -> PacketFilter {
    var first = instructions
    for index in first.indices where first[index].code == Code.leave && first[index].operand != 0 {
      first[index] = Instruction(Code.jump, UInt32(instructions.count - index - 1))
    }
    return PacketFilter(instructions: first + next.instructions)
  }
}

extension PacketFilter {
  /// Why a text gives no program.
  public enum Refusal: Error, Sendable, Hashable {
    /// libpcap is not on this machine.
    case noLibrary
    /// In libpcap's words.
    case text(String)
    case tooLong
  }

  /// Compiles pcap-filter(7) by the machine's libpcap. An empty text takes everything. Names of hosts are looked up, which waits.
  public init(pcap text: String, snapLength: UInt32 = wholeFrame) throws(Refusal) {
    let room = Self.instructionsMax
    var program = [weft_instruction](repeating: weft_instruction(), count: room)
    var message = [CChar](repeating: 0, count: 512)
    let count = weft_filter_compile(
      text, Int32(clamping: snapLength), &program, UInt32(room), &message, message.count)
    switch Int(count) {
    case weft_filter_no_library: throw .noLibrary
    case weft_filter_too_long: throw .tooLong
    case ..<0:
      throw .text(
        String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    default:
      instructions = program.prefix(Int(count)).map {
        Instruction($0.code, whenTrue: $0.when_true, whenFalse: $0.when_false, $0.operand)
      }
    }
  }

  var program: [weft_instruction] {
    instructions.map {
      weft_instruction(
        code: $0.code, when_true: $0.whenTrue, when_false: $0.whenFalse, operand: $0.operand)
    }
  }
}

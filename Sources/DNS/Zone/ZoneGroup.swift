// The names of one Service with their answers, encoded once into one block of memory.
//
//   0   key length u16 | node count u16 | bytes u32
//   8   nodes, by hash of the prefix: hash u32 | prefix at u32 | prefix length u16 | answers u16 | answers at u32
//   ..  key (wire form, folded, with the root), prefixes (wire form, folded, without the rest)
//   ..  answers: type u16 | records u16 | additional u16 | unit u16 | answer bytes u32 | all bytes u32 | octets
//
// A name is a prefix (labels below the group's name, often none) and the key. The octets of an answer are what follows
// the question of a reply: owners are pointers to octet 12, so they fit every query for the name, whatever its case.

import Addresses
import Glibc

/// One immutable block. Readers get its address from the zone's table, so a query counts no references.
final class ZoneGroup: @unchecked Sendable {
  let base: UnsafeRawPointer
  let byteCount: Int
  let hash: UInt64

  /// Nothing writes after this: the class is safe to share for the same reason a constant is.
  init(bytes: [UInt8], hash: UInt64) {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: max(bytes.count, 8), alignment: 8)
    bytes.withUnsafeBytes {
      if let from = $0.baseAddress { memory.copyMemory(from: from, byteCount: $0.count) }
    }
    base = UnsafeRawPointer(memory)
    byteCount = bytes.count
    self.hash = hash
  }

  deinit { base.deallocate() }

  var view: GroupView { GroupView(base: base) }

  func holdsSame(as other: ZoneGroup) -> Bool {
    byteCount == other.byteCount && hash == other.hash && memcmp(base, other.base, byteCount) == 0
  }
}

/// Reads a group's block. Offsets in it come from `ZoneGroupBuilder` alone, never from outside.
struct GroupView {
  let base: UnsafeRawPointer

  @inline(__always) func u16(_ at: Int) -> Int {
    Int(base.loadUnaligned(fromByteOffset: at, as: UInt16.self))
  }
  @inline(__always) func u32(_ at: Int) -> Int {
    Int(base.loadUnaligned(fromByteOffset: at, as: UInt32.self))
  }
  @inline(__always) var keyLength: Int { u16(0) }
  @inline(__always) var nodeCount: Int { u16(2) }
  @inline(__always) var key: UnsafeRawPointer { base + (8 &+ nodeCount &* 16) }

  struct Node {
    var prefix: UnsafeRawPointer
    var prefixLength: Int
    var answers: Int
    var answersAt: Int
  }

  struct Answer {
    var type: RecordType
    var records: Int
    var additional: Int
    /// Octets of each record when all are of one length and may be rotated; 0 otherwise.
    var unit: Int
    var answerBytes: Int
    var allBytes: Int
    var octets: UnsafeRawPointer
  }

  @inline(__always)
  func node(_ index: Int) -> Node {
    let at = 8 &+ index &* 16
    return Node(
      prefix: base + u32(at &+ 4), prefixLength: u16(at &+ 8), answers: u16(at &+ 10),
      answersAt: u32(at &+ 12))
  }

  /// The node of a prefix, given its folded hash; nil when there is none.
  @inline(__always)
  func find(_ packet: RawSpan, at offset: Int, count: Int, hash: UInt32) -> Node? {
    var low = 0
    var high = nodeCount
    while low < high {
      let middle = (low &+ high) / 2
      if UInt32(truncatingIfNeeded: u32(8 &+ middle &* 16)) < hash {
        low = middle &+ 1
      } else {
        high = middle
      }
    }
    while low < nodeCount, UInt32(truncatingIfNeeded: u32(8 &+ low &* 16)) == hash {
      let candidate = node(low)
      if candidate.prefixLength == count, packet.foldedEquals(at: offset, count: count, candidate.prefix) {
        return candidate
      }
      low &+= 1
    }
    return nil
  }

  @inline(__always)
  func answer(at: Int) -> Answer {
    Answer(
      type: RecordType(rawValue: UInt16(truncatingIfNeeded: u16(at))), records: u16(at &+ 2),
      additional: u16(at &+ 4), unit: u16(at &+ 6), answerBytes: u32(at &+ 8), allBytes: u32(at &+ 12),
      octets: base + (at &+ 16))
  }

  /// The answer of a type at a node, or its alias. Four types at most stand at one name, so a scan is fastest.
  @inline(__always)
  func answer(_ node: Node, _ type: RecordType) -> Answer? {
    var at = node.answersAt
    for _ in 0..<node.answers {
      let answer = answer(at: at)
      if answer.type == type || answer.type == .cname { return answer }
      at &+= 16 &+ answer.allBytes
    }
    return nil
  }

  /// Every address that one of the names answers with; some more than once.
  var addresses: [IPAddress] {
    var result: [IPAddress] = []
    for index in 0..<nodeCount {
      let node = node(index)
      var at = node.answersAt
      for _ in 0..<node.answers {
        let answer = answer(at: at)
        // Behind a pointer, type, class, TTL and length.
        for record in 0..<(answer.unit == 0 ? 0 : answer.records) {
          let octets = answer.octets + (record &* answer.unit &+ 12)
          if answer.type == .a {
            result.append(
              .v4(IPv4Address(bits: UInt32(bigEndian: octets.loadUnaligned(as: UInt32.self)))))
          } else {
            result.append(
              .v6(IPv6Address(bits: UInt128(bigEndian: octets.loadUnaligned(as: UInt128.self)))))
          }
        }
        at &+= 16 &+ answer.allBytes
      }
    }
    return result
  }
}

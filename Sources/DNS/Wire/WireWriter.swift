// Writes records into an array, with name compression. For planning, forwarding and tests: it allocates.

import Addresses

/// Appends names and records. Names are compressed where RFC 1035 and RFC 3597 allow it: owners, and the targets of the
/// types of RFC 1035 itself; the target of SRV is written whole (RFC 2782).
public struct WireWriter: Sendable {
  public private(set) var bytes: [UInt8] = []
  /// Where a suffix was written first. Bounded by the 14 bits of a pointer.
  private var places: [DomainName: Int] = [:]

  public init() {}
  public init(continuing bytes: [UInt8]) { self.bytes = bytes }

  public mutating func uint16(_ value: UInt16) {
    bytes.append(UInt8(truncatingIfNeeded: value >> 8))
    bytes.append(UInt8(truncatingIfNeeded: value))
  }

  public mutating func uint32(_ value: UInt32) {
    uint16(UInt16(truncatingIfNeeded: value >> 16))
    uint16(UInt16(truncatingIfNeeded: value))
  }

  public mutating func append(_ more: some Sequence<UInt8>) { bytes += more }

  public mutating func patch(uint16 value: UInt16, at offset: Int) {
    bytes[offset] = UInt8(truncatingIfNeeded: value >> 8)
    bytes[offset + 1] = UInt8(truncatingIfNeeded: value)
  }

  public mutating func truncate(to count: Int) {
    bytes.removeLast(bytes.count - count)
    places = places.filter { $0.value < count }
  }

  public mutating func name(_ name: DomainName, compressed: Bool = true) {
    var rest = name
    while rest.wire[0] != 0 {
      if compressed, let place = places[rest] {
        uint16(0xc000 | UInt16(place))
        return
      }
      if bytes.count < 0x4000, places[rest] == nil { places[rest] = bytes.count }
      bytes += rest.wire[0...Int(rest.wire[0])]
      rest = rest.parent ?? .root
    }
    bytes.append(0)
  }

  public mutating func record(_ record: ResourceRecord) {
    name(record.owner)
    uint16(record.data.type.rawValue)
    uint16(Header.internet)
    uint32(record.ttl)
    let lengthAt = bytes.count
    uint16(0)
    data(record.data)
    patch(uint16: UInt16(truncatingIfNeeded: bytes.count - lengthAt - 2), at: lengthAt)
  }

  private mutating func data(_ data: RecordData) {
    switch data {
    case .a(let address): append(address.bytes)
    case .aaaa(let address): append(address.bytes)
    case .cname(let target), .ns(let target), .ptr(let target): name(target)
    case .mx(let preference, let target):
      uint16(preference)
      name(target)
    case .srv(let priority, let weight, let port, let target):
      uint16(priority)
      uint16(weight)
      uint16(port)
      name(target, compressed: false)
    case .soa(let soa):
      name(soa.primary)
      name(soa.mailbox)
      for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] { uint32(number) }
    case .txt(let texts):
      for text in texts {
        bytes.append(UInt8(truncatingIfNeeded: min(text.count, 255)))
        bytes += text.prefix(255)
      }
    case .other(_, let octets): bytes += octets
    }
  }
}

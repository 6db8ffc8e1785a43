// One record as a value, for tests, explanations and re-encoding. The query path never makes one.

import Addresses

/// What a record says.
public enum RecordData: Hashable, Sendable {
  case a(IPv4Address)
  case aaaa(IPv6Address)
  case cname(DomainName)
  case ns(DomainName)
  case ptr(DomainName)
  case mx(preference: UInt16, DomainName)
  case srv(priority: UInt16, weight: UInt16, port: UInt16, DomainName)
  case soa(StartOfAuthority)
  case txt([[UInt8]])
  /// Any other type, as octets (RFC 3597).
  case other(RecordType, [UInt8])

  public var type: RecordType {
    switch self {
    case .a: .a
    case .aaaa: .aaaa
    case .cname: .cname
    case .ns: .ns
    case .ptr: .ptr
    case .mx: .mx
    case .srv: .srv
    case .soa: .soa
    case .txt: .txt
    case .other(let type, _): type
    }
  }
}

/// The start of a zone of authority (RFC 1035 section 3.3.13). Times in seconds.
public struct StartOfAuthority: Hashable, Sendable {
  public var primary: DomainName
  public var mailbox: DomainName
  public var serial: UInt32
  public var refresh: UInt32 = 7200
  public var retry: UInt32 = 1800
  public var expire: UInt32 = 86400
  /// How long a client may remember that something is absent (RFC 2308 section 4).
  public var minimum: UInt32
}

/// A record with its owner.
public struct ResourceRecord: Hashable, Sendable, CustomStringConvertible {
  public var owner: DomainName
  public var ttl: UInt32
  public var data: RecordData
  public init(owner: DomainName, ttl: UInt32, data: RecordData) {
    self.owner = owner
    self.ttl = ttl
    self.data = data
  }

  /// A line of a zone file.
  public var description: String { "\(owner) \(ttl) IN \(data.type) \(Self.text(data))" }

  static func text(_ data: RecordData) -> String {
    switch data {
    case .a(let address): "\(address)"
    case .aaaa(let address): "\(address)"
    case .cname(let name), .ns(let name), .ptr(let name): "\(name)"
    case .mx(let preference, let name): "\(preference) \(name)"
    case .srv(let priority, let weight, let port, let name): "\(priority) \(weight) \(port) \(name)"
    case .soa(let soa):
      "\(soa.primary) \(soa.mailbox) \(soa.serial) \(soa.refresh) \(soa.retry) \(soa.expire) \(soa.minimum)"
    case .txt(let texts):
      texts.map { "\"" + String(decoding: $0, as: UTF8.self) + "\"" }.joined(separator: " ")
    case .other(_, let bytes): "\\# \(bytes.count) " + bytes.map { hexadecimal($0) }.joined()
    }
  }

  private static func hexadecimal(_ byte: UInt8) -> String {
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }
}

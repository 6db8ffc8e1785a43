// The numbers of the protocol: record types, classes, response codes, header flags.

/// A record type (RFC 1035 section 3.2.2 and the IANA registry). Types without a name here print as `TYPE65` (RFC 3597).
public struct RecordType: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let a = RecordType(rawValue: 1)
  public static let ns = RecordType(rawValue: 2)
  public static let cname = RecordType(rawValue: 5)
  public static let soa = RecordType(rawValue: 6)
  public static let ptr = RecordType(rawValue: 12)
  public static let hinfo = RecordType(rawValue: 13)
  public static let mx = RecordType(rawValue: 15)
  public static let txt = RecordType(rawValue: 16)
  public static let aaaa = RecordType(rawValue: 28)
  public static let srv = RecordType(rawValue: 33)
  public static let dname = RecordType(rawValue: 39)
  public static let opt = RecordType(rawValue: 41)
  public static let ds = RecordType(rawValue: 43)
  public static let https = RecordType(rawValue: 65)
  public static let ixfr = RecordType(rawValue: 251)
  public static let axfr = RecordType(rawValue: 252)
  public static let any = RecordType(rawValue: 255)
  public static let caa = RecordType(rawValue: 257)

  private static let names: [(RecordType, String)] = [
    (.a, "A"), (.ns, "NS"), (.cname, "CNAME"), (.soa, "SOA"), (.ptr, "PTR"), (.hinfo, "HINFO"), (.mx, "MX"),
    (.txt, "TXT"), (.aaaa, "AAAA"), (.srv, "SRV"), (.dname, "DNAME"), (.opt, "OPT"), (.ds, "DS"),
    (.https, "HTTPS"), (.ixfr, "IXFR"), (.axfr, "AXFR"), (.any, "ANY"), (.caa, "CAA"),
  ]

  /// Reads `A`, `srv` or `TYPE65`.
  public init?(_ text: some StringProtocol) {
    let upper = text.uppercased()
    if let known = Self.names.first(where: { $0.1 == upper }) {
      self = known.0
    } else if upper.hasPrefix("TYPE"), let number = UInt16(upper.dropFirst(4)) {
      self.init(rawValue: number)
    } else {
      return nil
    }
  }

  public var description: String {
    Self.names.first { $0.0 == self }?.1 ?? "TYPE\(rawValue)"
  }
}

/// How a query ended (RFC 1035 section 4.1.1, RFC 6891 section 9). Values above 15 need EDNS.
public struct ResponseCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let noError = ResponseCode(rawValue: 0)
  public static let formatError = ResponseCode(rawValue: 1)
  public static let serverFailure = ResponseCode(rawValue: 2)
  public static let nameError = ResponseCode(rawValue: 3)
  public static let notImplemented = ResponseCode(rawValue: 4)
  public static let refused = ResponseCode(rawValue: 5)
  public static let badVersion = ResponseCode(rawValue: 16)

  /// By number.
  static let names = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
    "NOTAUTH", "NOTZONE",
  ]
  public var description: String {
    if self == .badVersion { return "BADVERS" }
    return Int(rawValue) < Self.names.count ? Self.names[Int(rawValue)] : "RCODE\(rawValue)"
  }
}

/// Bits and sizes of the message header (RFC 1035 section 4.1.1) that several files share.
enum Header {
  static let byteCount = 12
  static let response: UInt16 = 0x8000
  static let opcodeMask: UInt16 = 0x7800
  static let authoritative: UInt16 = 0x0400
  static let truncated: UInt16 = 0x0200
  static let recursionDesired: UInt16 = 0x0100
  static let recursionAvailable: UInt16 = 0x0080
  static let authenticData: UInt16 = 0x0020
  static let checkingDisabled: UInt16 = 0x0010
  static let codeMask: UInt16 = 0x000f
  /// Class IN.
  static let internet: UInt16 = 1
}

/// Sizes that bound what is read and written.
public enum DNSLimits {
  /// Octets of a name on the wire, root included (RFC 1035 section 3.1).
  public static let nameBytesMax = 255
  /// Labels of a name: 127 of one octet, and the root.
  public static let labelsMax = 128
  public static let labelBytesMax = 63
  /// What every client takes over UDP without EDNS (RFC 1035 section 4.2.1).
  public static let plainUDPBytesMax = 512
  /// What is sent over UDP at most: no fragment on any path with the IPv6 minimum MTU (DNS flag day 2020).
  public static let defaultUDPBytesMax = 1232
  public static let messageBytesMax = 65535
  /// Compression pointers followed for one name. 127 labels cannot need more.
  public static let pointersMax = 126
}

// Whose clients are asked for a certificate, and who has to have signed it (`auth-tls-*`). The handshake only asks and remembers;
// what is required is a matter of rules (`RouteClientCertificate`), so that a request can be answered in HTTP.

import COpenSSL

/// Certificates that a client's has to be signed by.
public struct TLSAuthority: Sendable, Hashable {
  /// Certificates in PEM.
  public var pem: [UInt8]
  /// Links that a chain may have between a client's certificate and an authority, 1 to 100.
  public var depth: UInt8
  /// Lists of revoked certificates in PEM; empty: nothing is looked up. With them each authority of a chain needs one.
  public var revoked: [UInt8]
  /// Without a good certificate the handshake fails (Gateway API's `AllowValidOnly`); else rules decide.
  public var isRequired: Bool
  /// What rules know it by; never 0. Other certificates or another depth have another.
  public let id: UInt64

  /// - Parameter source: where the text comes from.
  public init(
    source: String, pem: [UInt8], depth: UInt8 = 1, revoked: [UInt8] = [], isRequired: Bool = false
  ) {
    let text = Array("\(source) \(depth) \(isRequired) \(revoked.count) ".utf8) + revoked + pem
    self.init(
      id: text.withUnsafeBytes { weft_fingerprint($0.baseAddress, $0.count) } | 1, pem: pem, depth: depth,
      revoked: revoked, isRequired: isRequired)
  }

  init(id: UInt64, pem: [UInt8], depth: UInt8, revoked: [UInt8], isRequired: Bool) {
    self.id = id
    self.pem = pem
    self.depth = depth
    self.revoked = revoked
    self.isRequired = isRequired
  }

  /// Whether there is a certificate in it that can be read, and a list of revoked ones if there should be.
  public var isUsable: Bool { LoadedAuthority(self) != nil }
}

/// A name whose clients are asked: lower case, `*.` in front stands for one label; of a port (`TLSPort.asks`) for any number.
public struct TLSAsk: Sendable, Hashable {
  /// Of a port nobody is asked under this name.
  public static let nobody = -1

  public var name: String
  /// Index into `TLSTable.authorities`.
  public var authority: Int
  public init(_ name: String, _ authority: Int) {
    self.name = name
    self.authority = authority
  }
}

extension TLSTable {
  func writeAuthorities(_ out: inout FrameWriter) {
    out.list(authorities) {
      $1.integer($0.id)
      $1.integer($0.depth)
      $1.truth($0.isRequired)
      $1.long($0.pem)
      $1.long($0.revoked)
    }
    out.list(asks) {
      $1.text($0.name.utf8)
      $1.integer(UInt32($0.authority))
    }
  }
}

/// An authority that was read. Shared by threads: it never changes, and OpenSSL counts its parts atomically.
final class LoadedAuthority: @unchecked Sendable {
  let pointer: OpaquePointer

  /// Nil when no certificate can be read in it.
  init?(_ authority: TLSAuthority) {
    let found = authority.pem.withUnsafeBytes { pem in
      authority.revoked.withUnsafeBytes { revoked in
        weft_authority_read(
          pem.baseAddress, pem.count, revoked.baseAddress, revoked.count, authority.id,
          Int32(authority.depth), authority.isRequired ? 1 : 0)
      }
    }
    guard let found else { return nil }
    pointer = found
  }

  deinit { weft_authority_release(pointer) }
}

/// The authorities of a table, by the names they are asked for.
struct LoadedAuthorities: Sendable {
  private var authorities: [LoadedAuthority?] = []
  private var asks: [TLSAsk] = []
  private var index = HostIndex([])

  init() {}

  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    // One that cannot be read is asked for by nobody, and rules that require it let nobody in.
    authorities = try reader.list(each: 18) { (reader) throws(RouteTableUnreadable) in
      let (id, depth) = (try reader.integer(UInt64.self), try reader.integer(UInt8.self))
      guard id != 0, (1...100).contains(depth) else { throw reader.failure("no authority") }
      let isRequired = try reader.truth()
      return LoadedAuthority(
        TLSAuthority(
          id: id, pem: try reader.long(), depth: depth, revoked: try reader.long(), isRequired: isRequired))
    }
    var seen: Set<String> = []
    asks = try reader.list(each: 6) { (reader) throws(RouteTableUnreadable) in
      let ask = TLSAsk(try reader.text(), Int(try reader.integer(UInt32.self)))
      guard seen.insert(ask.name).inserted else { throw reader.failure("name \(ask.name) twice") }
      return ask
    }
    guard asks.allSatisfy({ authorities.indices.contains($0.authority) }) else {
      throw reader.failure("name of no authority")
    }
    index = HostIndex(asks.map(\.name))
  }

  var count: Int { authorities.count }

  /// Nil for one that could not be read.
  subscript(_ authority: Int) -> LoadedAuthority? { authorities[authority] }

  func find(_ name: UnsafeRawBufferPointer) -> LoadedAuthority? {
    if asks.isEmpty { return nil }
    return index.find(host: name).flatMap { authorities[asks[$0].authority] }
  }
}

/// What a client showed that was asked for a certificate. Made once for a connection.
final class ShownCertificate {
  enum Kind {
    case nothing, trusted, unknown, bad
  }
  /// `TLSAuthority.id` of who was asked for.
  let asked: UInt64
  let kind: Kind
  /// Distinguished names (RFC 2253); empty without a certificate.
  let subject: [UInt8]
  /// Lines for endpoints, `name: value` CR LF each, with ingress-nginx's names.
  let lines: [UInt8]
  let pem: [UInt8]

  init(asked: UInt64, kind: Kind, subject: [UInt8], issuer: [UInt8], reason: [UInt8], pem: [UInt8]) {
    self.asked = asked
    self.kind = kind
    self.subject = subject
    self.pem = pem
    let verdict =
      switch kind {
      case .nothing: Array("NONE".utf8)
      case .trusted: Array("SUCCESS".utf8)
      case .unknown, .bad: Array("FAILED:".utf8) + reason
      }
    lines = [
      ("ssl-client-verify", verdict), ("ssl-client-subject-dn", subject), ("ssl-client-issuer-dn", issuer),
    ]
    .flatMap { Self.line($0, $1) }
  }

  /// A line with nothing in it that could end it.
  private static func line(_ name: String, _ value: [UInt8]) -> [UInt8] {
    Array("\(name): ".utf8) + value.map { $0 < 32 || $0 == 127 ? UInt8(ascii: "?") : $0 } + [13, 10]
  }

  /// The certificate as nginx escapes it (`$ssl_client_escaped_cert`).
  var certificateLine: [UInt8] {
    var line = Array("ssl-client-cert: ".utf8)
    for byte in pem {
      let isPlain = byte | 0x20 &- 97 < 26 || byte &- 48 < 10 || [45, 46, 95, 126].contains(byte)
      if isPlain {
        line.append(byte)
      } else {
        let digits = Array("0123456789ABCDEF".utf8)
        line += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return line + [13, 10]
  }
}

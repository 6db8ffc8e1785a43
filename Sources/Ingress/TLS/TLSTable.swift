// Which certificate a client gets by the name it asks for (SNI): exact, then wildcard, then the default. A value, sent to
// the data plane in frames of its own: a certificate travels once, however often names and routes change.
//
//   "WTC1" | id u32 | chain (u32 length + bytes) | key (u32 length + bytes)
//   "WTT1" | u32 count of certificates, id u32 each | u32 count of names: name (u16 length + UTF-8), action u32 each |
//            default action u32                        action: 0 the default certificate, else index of certificate + 1
//            | u32 count of authorities: id u64, depth u8, PEM (u32 length + bytes) each
//            | u32 count of names whose clients are asked: name, authority u32 each

import COpenSSL

/// What is done with a connection that asks for a name. Passing it on unopened will be one more case.
public enum TLSAction: Sendable, Hashable {
  /// The default certificate, whatever a wildcard would give: the host is another's.
  case fallback
  /// Ended here, with this one of the table's certificates.
  case certificate(Int)
}

/// A name and what is done for it. The name is lower case, `*.` in front stands for one label.
public struct TLSName: Sendable, Hashable {
  public var name: String
  public var action: TLSAction
  public init(_ name: String, _ action: TLSAction) {
    self.name = name
    self.action = action
  }
}

/// All certificates of one controller at one moment.
public struct TLSTable: Sendable, Hashable {
  public private(set) var certificates: [TLSCertificate]
  /// Distinct names.
  public private(set) var names: [TLSName]
  /// For names that nobody claims, and for clients that ask for none. Nil: one that the data plane signs itself.
  public private(set) var defaultCertificate: Int?
  /// Who has to have signed certificates of clients.
  public private(set) var authorities: [TLSAuthority]
  /// Distinct names whose clients are asked for a certificate, with an index into `authorities`.
  public private(set) var asks: [TLSAsk]

  /// - Precondition: every index lies in `certificates` or `authorities`; names are distinct.
  public init(
    certificates: [TLSCertificate] = [], names: [TLSName] = [], defaultCertificate: Int? = nil,
    authorities: [TLSAuthority] = [], asks: [TLSAsk] = []
  ) {
    self.authorities = authorities
    self.asks = asks
    precondition(asks.allSatisfy { authorities.indices.contains($0.authority) })
    self.certificates = certificates
    self.names = names
    self.defaultCertificate = defaultCertificate
    precondition(defaultCertificate.map(certificates.indices.contains) ?? true)
    precondition(
      names.allSatisfy {
        if case .certificate(let index) = $0.action { certificates.indices.contains(index) } else { true }
      })
  }

  static let certificateMagic: [UInt8] = Array("WTC1".utf8)
  static let tableMagic: [UInt8] = Array("WTT1".utf8)

  static func frame(id: UInt32, _ certificate: TLSCertificate) -> [UInt8] {
    var out = FrameWriter(certificateMagic)
    out.integer(id)
    out.long(certificate.chain)
    out.long(certificate.key)
    return out.bytes
  }

  /// - Parameter ids: of `certificates`, in their order.
  func frame(ids: [UInt32]) -> [UInt8] {
    var out = FrameWriter(Self.tableMagic)
    out.integer(UInt32(ids.count))
    for id in ids { out.integer(id) }
    out.integer(UInt32(names.count))
    for name in names {
      out.text(name.name.utf8)
      switch name.action {
      case .fallback: out.integer(UInt32(0))
      case .certificate(let index): out.integer(UInt32(index + 1))
      }
    }
    out.integer(UInt32(defaultCertificate.map { $0 + 1 } ?? 0))
    writeAuthorities(&out)
    return out.bytes
  }
}

/// A table with its certificates read: what handshakes look into. Immutable, shared by workers, swapped whole.
final class LoadedTLS: Sendable {
  private let certificates: [LoadedCertificate?]
  private let index: HostIndex
  private let actions: [TLSAction]
  private let fallback: LoadedCertificate?
  private let authorities: LoadedAuthorities

  /// - Parameter certificates: nil for one that could not be read: its names get the default.
  init(
    certificates: [LoadedCertificate?], names: [TLSName], fallback: LoadedCertificate?,
    authorities: LoadedAuthorities = LoadedAuthorities()
  ) {
    self.authorities = authorities
    self.certificates = certificates
    self.fallback = fallback
    index = HostIndex(names.map(\.name))
    actions = names.map(\.action)
  }

  /// Nil only when not even a default could be made.
  func certificate(for name: UnsafeRawBufferPointer) -> LoadedCertificate? {
    guard let found = index.find(host: name), case .certificate(let at) = actions[found] else {
      return fallback
    }
    return certificates[at] ?? fallback
  }

  /// Who has to have signed the certificates of clients that ask for this name; nil when they are not asked.
  func authority(for name: UnsafeRawBufferPointer) -> LoadedAuthority? { authorities.find(name) }
}

/// The child's side of the frames: keeps what has come until a table no longer names it.
struct TLSReceiver {
  private var known: [UInt32: LoadedCertificate?] = [:]
  private var selfSigned: LoadedCertificate?
  /// Certificates that came and could not be read. The parent reads them first, so this is another version of OpenSSL.
  private(set) var unreadable = 0

  /// Takes a frame in; a table when it was one. Nil also for frames that are neither.
  mutating func take(_ frame: [UInt8]) throws(RouteTableUnreadable) -> LoadedTLS? {
    var reader = FrameReader(bytes: frame, offset: 4)
    if frame.starts(with: TLSTable.certificateMagic) {
      let id = try reader.integer(UInt32.self)
      let certificate = TLSCertificate(chain: try reader.long(), key: try reader.long())
      guard reader.offset == frame.count else { throw reader.failure("bytes behind the end") }
      let loaded = try? LoadedCertificate(certificate)
      if loaded == nil { unreadable += 1 }
      known[id] = .some(loaded)
      return nil
    }
    guard frame.starts(with: TLSTable.tableMagic) else { throw reader.failure("no table of certificates") }
    var kept: [UInt32: LoadedCertificate?] = [:]
    var certificates: [LoadedCertificate?] = []
    for _ in 0..<(try reader.count(each: 4)) {
      let id = try reader.integer(UInt32.self)
      guard let certificate = known[id] else { throw reader.failure("certificate \(id) never came") }
      kept[id] = .some(certificate)
      certificates.append(certificate)
    }
    var names: [TLSName] = []
    var seen: Set<String> = []
    for _ in 0..<(try reader.count(each: 6)) {
      let name = try reader.text()
      guard seen.insert(name).inserted else { throw reader.failure("name \(name) twice") }
      let action = Int(try reader.integer(UInt32.self))
      guard action <= certificates.count else { throw reader.failure("name of no certificate") }
      names.append(TLSName(name, action == 0 ? .fallback : .certificate(action - 1)))
    }
    let last = Int(try reader.integer(UInt32.self))
    guard last <= certificates.count else { throw reader.failure("default certificate of no certificate") }
    let authorities = try LoadedAuthorities(&reader)
    guard reader.offset == frame.count else { throw reader.failure("bytes behind the end") }
    known = kept
    return LoadedTLS(
      certificates: certificates, names: names,
      fallback: (last > 0 ? certificates[last - 1] : nil) ?? ownCertificate(), authorities: authorities)
  }

  /// Without a table: every name gets a certificate that no client trusts.
  mutating func empty() -> LoadedTLS { LoadedTLS(certificates: [], names: [], fallback: ownCertificate()) }

  private mutating func ownCertificate() -> LoadedCertificate? {
    if selfSigned == nil { selfSigned = .selfSigned() }
    return selfSigned
  }
}

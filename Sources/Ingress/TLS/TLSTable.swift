// Which certificate a client gets by the name it asks for (SNI): exact, then wildcard, then the default. A value, sent to
// the data plane in frames of its own: a certificate travels once, however often names and routes change.
//
//   "WTC1" | id u32 | chain (u32 length + bytes) | key (u32 length + bytes)
//   "WTT4" | u32 count of certificates, id u32 each | names | default action u32 |
//            u32 count of ports: port u16, addresses (ListenerPlace), shares u8, default action u32, names,
//                                u32 count of names that ask: name, authority u32 (index + 1, 0 nobody) each
//            | u32 count of authorities: id u64, depth u8, required u8, PEM, revoked (u32 length + bytes) each
//            | u32 count of names whose clients are asked: name, authority u32 each
//   names: u32 count, name (u16 length + UTF-8), action u32 each
//   action: 0 the default certificate, else index of certificate + 1

import Addresses
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

/// What the listeners of one port serve, before the names of every port (Gateway API).
public struct TLSPort: PlacedListener, Sendable, Hashable {
  public var port: UInt16
  /// Addresses of this machine that it is for; empty: all that no other of the port names. Sorted.
  public var addresses: [IPAddress]
  /// Distinct; `*.` in front stands for any number of labels.
  public var names: [TLSName]
  /// Of a whole table.
  static let authoritiesMax = 1 << 20

  /// For clients that nothing else is for; nil: the table's.
  public var defaultCertificate: Int?
  /// Names of every port count here too, behind these.
  public var shares: Bool
  /// Every listener's name, distinct, with the authority that its clients are asked for, or `TLSAsk.nobody`; the empty name is for
  /// clients of no other. Empty where no listener asks.
  public var asks: [TLSAsk]

  public init(
    _ port: UInt16, addresses: [IPAddress] = [], names: [TLSName], defaultCertificate: Int? = nil,
    shares: Bool = false, asks: [TLSAsk] = []
  ) {
    self.port = port
    self.addresses = addresses
    self.names = names
    self.defaultCertificate = defaultCertificate
    self.shares = shares
    self.asks = asks
  }
}

/// All certificates of one controller at one moment.
public struct TLSTable: Sendable, Hashable {
  public private(set) var certificates: [TLSCertificate]
  /// Distinct names.
  public private(set) var names: [TLSName]
  /// For names that nobody claims, and for clients that ask for none. Nil: one that the data plane signs itself.
  public private(set) var defaultCertificate: Int?
  /// Ports, and addresses of ports, that have names of their own.
  public private(set) var ports: [TLSPort]
  /// Who has to have signed certificates of clients.
  public private(set) var authorities: [TLSAuthority]
  /// Distinct names whose clients are asked for a certificate, with an index into `authorities`.
  public private(set) var asks: [TLSAsk]

  /// - Precondition: every index lies in `certificates` or `authorities`; names are distinct, and so are ports.
  public init(
    certificates: [TLSCertificate] = [], names: [TLSName] = [], defaultCertificate: Int? = nil,
    ports: [TLSPort] = [], authorities: [TLSAuthority] = [], asks: [TLSAsk] = []
  ) {
    self.authorities = authorities
    self.asks = asks
    precondition(asks.allSatisfy { authorities.indices.contains($0.authority) })
    precondition(
      ports.flatMap(\.asks).allSatisfy {
        $0.authority == TLSAsk.nobody || authorities.indices.contains($0.authority)
      })
    self.certificates = certificates
    self.names = names
    self.defaultCertificate = defaultCertificate
    self.ports = ports
    var ledger = PlaceLedger()
    precondition(ports.allSatisfy { ledger.problem(of: $0, isAlone: true) == nil })
    let defaults = [defaultCertificate] + ports.map(\.defaultCertificate)
    precondition(defaults.allSatisfy { $0.map(certificates.indices.contains) ?? true })
    precondition(
      (names + ports.flatMap(\.names)).allSatisfy {
        if case .certificate(let index) = $0.action { certificates.indices.contains(index) } else { true }
      })
  }

  static let certificateMagic: [UInt8] = Array("WTC1".utf8)
  static let tableMagic: [UInt8] = Array("WTT4".utf8)

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
    Self.write(names, &out)
    out.index(defaultCertificate ?? -1)
    out.list(ports) { port, out in
      out.integer(port.port)
      out.addresses(port.addresses)
      out.truth(port.shares)
      out.index(port.defaultCertificate ?? -1)
      Self.write(port.names, &out)
      out.list(port.asks) {
        $1.text($0.name.utf8)
        $1.index($0.authority)
      }
    }
    writeAuthorities(&out)
    return out.bytes
  }

  private static func write(_ names: [TLSName], _ out: inout FrameWriter) {
    out.list(names) { name, out in
      out.text(name.name.utf8)
      switch name.action {
      case .fallback: out.index(-1)
      case .certificate(let index): out.index(index)
      }
    }
  }
}

/// A table with its certificates read: what handshakes look into. Immutable, shared by workers, swapped whole.
final class LoadedTLS: Sendable {
  private let certificates: [LoadedCertificate?]
  private let index: HostIndex
  private let actions: [TLSAction]
  private let fallback: LoadedCertificate?
  private let authorities: LoadedAuthorities

  /// Those with addresses first.
  private let ports: [Port]
  /// Whether it matters which address a connection came to.
  let namesAddresses: Bool

  /// Names of one port.
  struct Port: PlacedListener, Sendable {
    var port: UInt16
    var addresses: [IPAddress]
    var index: HostIndex
    var actions: [TLSAction]
    var fallback: LoadedCertificate?
    var shares: Bool
    var asked: HostIndex
    /// Of `asked`'s names; `TLSAsk.nobody` for nobody.
    var authorities: [Int]

    /// What is asked of a name's clients; nil: nothing by this port.
    func authority(for name: UnsafeRawBufferPointer) -> Int? {
      guard !authorities.isEmpty, let found = asked.find(host: name), authorities[found] >= 0 else {
        return nil
      }
      return authorities[found]
    }
  }

  /// - Parameter certificates: nil for one that could not be read: its names get the default.
  init(
    certificates: [LoadedCertificate?], names: [TLSName], fallback: LoadedCertificate?, ports: [TLSPort] = [],
    authorities: LoadedAuthorities = LoadedAuthorities()
  ) {
    self.authorities = authorities
    self.certificates = certificates
    self.fallback = fallback
    index = HostIndex(names.map(\.name))
    actions = names.map(\.action)
    namesAddresses = ports.nameAddresses
    self.ports = ports.addressedFirst.map { port in
      Port(
        port: port.port, addresses: port.addresses, index: HostIndex(port.names.map(\.name), isDeep: true),
        actions: port.names.map(\.action), fallback: port.defaultCertificate.flatMap { certificates[$0] },
        shares: port.shares, asked: HostIndex(port.asks.map(\.name), isDeep: true),
        authorities: port.asks.map(\.authority))
    }
  }

  /// Nil when not even a default could be made, and for a name whose clients are asked by an authority that cannot be read: nobody can
  /// be checked, so nobody is let in.
  func certificate(
    for name: UnsafeRawBufferPointer, at place: ListenerPlace = ListenerPlace(0)
  ) -> LoadedCertificate? {
    guard let own = port(place) else {
      return index.find(host: name).flatMap { certificate(actions[$0]) } ?? fallback
    }
    if let asked = own.authority(for: name), authorities[asked] == nil { return nil }
    if let found = own.index.find(host: name) {
      return certificate(own.actions[found]) ?? own.fallback ?? fallback
    }
    if own.shares, let found = index.find(host: name) { return certificate(actions[found]) ?? fallback }
    return own.fallback ?? fallback
  }

  private func port(_ place: ListenerPlace) -> Port? { ports.first { $0.isFor(place) } }

  /// The place as this table tells places apart: without an address that it does not name.
  func distinct(_ place: ListenerPlace) -> ListenerPlace {
    let isNamed = namesAddresses && port(place)?.addresses.isEmpty == false
    return isNamed ? place : ListenerPlace(place.port)
  }

  private func certificate(_ action: TLSAction) -> LoadedCertificate? {
    guard case .certificate(let at) = action else { return nil }
    return certificates[at]
  }

  /// Who has to have signed the certificates of clients that ask for this name; nil when they are not asked.
  func authority(
    for name: UnsafeRawBufferPointer, at place: ListenerPlace = ListenerPlace(0)
  ) -> LoadedAuthority? {
    guard let own = port(place) else { return authorities.find(name) }
    if let asked = own.authority(for: name) { return authorities[asked] }
    return own.shares ? authorities.find(name) : nil
  }
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
    let names = try self.names(&reader, certificates.count)
    let last = try reader.index(below: certificates.count)
    var ledger = PlaceLedger()
    let ports = try reader.list(each: 19) { (reader) throws(RouteTableUnreadable) in
      let port = try reader.integer(UInt16.self)
      let addresses = try reader.addresses()
      let shares = try reader.truth()
      let last = try reader.index(below: certificates.count)
      let names = try self.names(&reader, certificates.count)
      let made = TLSPort(
        port, addresses: addresses, names: names, defaultCertificate: last < 0 ? nil : last, shares: shares,
        asks: try asks(&reader))
      if let problem = ledger.problem(of: made, isAlone: true) { throw reader.failure(problem) }
      return made
    }
    let authorities = try LoadedAuthorities(&reader)
    guard ports.flatMap(\.asks).allSatisfy({ $0.authority < authorities.count }) else {
      throw reader.failure("name of no authority")
    }
    guard reader.offset == frame.count else { throw reader.failure("bytes behind the end") }
    known = kept
    return LoadedTLS(
      certificates: certificates, names: names,
      fallback: (last >= 0 ? certificates[last] : nil) ?? ownCertificate(), ports: ports,
      authorities: authorities)
  }

  private func names(_ reader: inout FrameReader, _ certificates: Int) throws(RouteTableUnreadable)
    -> [TLSName]
  {
    var seen: Set<String> = []
    return try reader.list(each: 6) { (reader) throws(RouteTableUnreadable) in
      let name = try reader.text()
      guard seen.insert(name).inserted else { throw reader.failure("name \(name) twice") }
      let action = try reader.index(below: certificates)
      return TLSName(name, action < 0 ? .fallback : .certificate(action))
    }
  }

  private func asks(_ reader: inout FrameReader) throws(RouteTableUnreadable) -> [TLSAsk] {
    var seen: Set<String> = []
    return try reader.list(each: 6) { (reader) throws(RouteTableUnreadable) in
      let ask = TLSAsk(try reader.text(), try reader.index(below: TLSPort.authoritiesMax))
      guard seen.insert(ask.name).inserted else { throw reader.failure("name \(ask.name) twice") }
      return ask
    }
  }

  /// Without a table: every name gets a certificate that no client trusts.
  mutating func empty() -> LoadedTLS { LoadedTLS(certificates: [], names: [], fallback: ownCertificate()) }

  private mutating func ownCertificate() -> LoadedCertificate? {
    if selfSigned == nil { selfSigned = .selfSigned() }
    return selfSigned
  }
}

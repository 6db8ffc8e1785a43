// A route table as bytes, for the socket pair between the process that knows the cluster and the one that
// meets strangers. Little-endian; the reader checks every length and index and never traps.
//
//   "WRT6" | backends | actions | listeners | Strict-Transport-Security (u16 length + bytes)
//   backend: namespace ingress service port (u16 length + UTF-8 each) | canary u8 | u16 count |
//            address length u8, address, port u16 each | policy (BackendPolicy+Codec)
//   action:   RouteAction+Codec | listener: RouteRule+Codec

import Addresses

extension RouteTable {
  /// Longest encoded table that is accepted; about 500,000 paths.
  public static let encodedBytesMax = 64 << 20
  static let magic: [UInt8] = Array("WRT6".utf8)

  public func encoded() -> [UInt8] {
    var out = FrameWriter(Self.magic)
    out.list(backends) { $0.write(to: &$1) }
    out.list(actions) { $0.write(&$1) }
    out.list(listeners) { $0.write(&$1) }
    out.text(strictTransportSecurity)
    return out.bytes
  }

  public init(encoded bytes: [UInt8]) throws(RouteTableUnreadable) {
    var reader = FrameReader(bytes: bytes)
    guard bytes.starts(with: Self.magic) else { throw reader.failure("not a route table of this version") }
    reader.offset = Self.magic.count
    var backends: [RouteBackend] = []
    let backendCount = try reader.count()
    for _ in 0..<backendCount {
      backends.append(try RouteBackend(from: &reader, backends: backendCount))
    }
    let actionCount = try reader.count()
    var actions: [RouteAction] = []
    for _ in 0..<actionCount {
      actions.append(try RouteAction(&reader, backends: backendCount, actions: actionCount))
    }
    var places: Set<Place> = []
    var ledger = PlaceLedger()
    let listeners = try reader.list(each: 21) { (reader) throws(RouteTableUnreadable) in
      let listener = try RouteListener(&reader, backends: backendCount, actions: actionCount)
      let place = Place(reach: listener.reach, hostname: listener.hostname)
      guard places.insert(place).inserted else {
        throw reader.failure("listener \(listener.hostname):\(listener.port) twice")
      }
      if let problem = ledger.problem(of: listener, isAlone: false) { throw reader.failure(problem) }
      return listener
    }
    let strictTransportSecurity = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
    guard strictTransportSecurity.allSatisfy({ $0 >= 32 && $0 != 127 }) else {
      throw reader.failure("a field value with controls")
    }
    guard reader.offset == bytes.count else { throw reader.failure("bytes behind the end") }
    self.init(
      backends: backends, actions: actions, listeners: listeners,
      strictTransportSecurity: strictTransportSecurity)
  }

  private struct Place: Hashable {
    var reach: ListenerReach
    var hostname: String
  }
}

extension RouteBackend {
  func write(to out: inout FrameWriter) {
    for text in [namespace, ingress, service, servicePort] { out.text(text.utf8) }
    out.truth(isCanary)
    out.integer(UInt16(clamping: endpoints.count))
    for endpoint in endpoints.prefix(Int(UInt16.max)) {
      out.address(endpoint.address)
      out.integer(endpoint.port)
    }
    policy.write(to: &out)
  }

  /// - Parameter backends: how many the table has.
  init(from reader: inout FrameReader, backends: Int) throws(RouteTableUnreadable) {
    self.init(
      namespace: try reader.text(), ingress: try reader.text(), service: try reader.text(),
      servicePort: try reader.text(), endpoints: [])
    isCanary = try reader.truth()
    for _ in 0..<(try reader.integer(UInt16.self)) {
      let address = try reader.address()
      endpoints.append(SocketEndpoint(address, try reader.integer(UInt16.self)))
    }
    policy = try BackendPolicy(from: &reader, backends: backends, endpoints: endpoints.count)
  }
}

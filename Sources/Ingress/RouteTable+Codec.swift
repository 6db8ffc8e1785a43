// A route table as bytes, for the socket pair between the process that knows the cluster and the one that
// meets strangers. Little-endian; the reader checks every length and index and never traps.
//
//   "WRT3" | backends | hosts | default backend + 1 | Strict-Transport-Security (u16 length + bytes)
//   backend: namespace ingress service port (u16 length + UTF-8 each) | u16 count |
//            address length u8, address, port u16 each | policy (BackendPolicy+Codec)
//   host:    name | secured u8 | u32 count | flags u8, backend u32, path (u16 length + bytes) each

import Addresses

extension RouteTable {
  /// Longest encoded table that is accepted; about 500,000 paths.
  public static let encodedBytesMax = 64 << 20
  static let magic: [UInt8] = Array("WRT3".utf8)

  public func encoded() -> [UInt8] {
    var out = FrameWriter(Self.magic)
    out.integer(UInt32(backends.count))
    for backend in backends {
      for text in [backend.namespace, backend.ingress, backend.service, backend.servicePort] {
        out.text(text.utf8)
      }
      out.integer(UInt16(clamping: backend.endpoints.count))
      for endpoint in backend.endpoints.prefix(Int(UInt16.max)) {
        let address = endpoint.address.bytes
        out.integer(UInt8(address.count))
        out.raw(address)
        out.integer(endpoint.port)
      }
      backend.policy.write(to: &out)
    }
    out.integer(UInt32(hosts.count))
    for host in hosts {
      out.text(host.name.utf8)
      out.integer(UInt8(host.isSecured ? 1 : 0))
      out.integer(UInt32(host.paths.count))
      for path in host.paths {
        out.integer(UInt8((path.isExact ? 1 : 0) | (path.redirectsToHTTPS ? 2 : 0)))
        out.integer(UInt32(path.backend))
        out.text(path.path)
      }
    }
    out.integer(UInt32(defaultBackend.map { $0 + 1 } ?? 0))
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
      var backend = RouteBackend(
        namespace: try reader.text(), ingress: try reader.text(), service: try reader.text(),
        servicePort: try reader.text(), endpoints: [])
      for _ in 0..<(try reader.integer(UInt16.self)) {
        guard let address = IPAddress(bytes: try reader.bytes(Int(try reader.integer(UInt8.self)))) else {
          throw reader.failure("address of a wrong length")
        }
        backend.endpoints.append(SocketEndpoint(address, try reader.integer(UInt16.self)))
      }
      backend.policy = try BackendPolicy(
        from: &reader, backends: backendCount, endpoints: backend.endpoints.count)
      backends.append(backend)
    }
    var hosts: [RouteHost] = []
    var names: Set<String> = []
    for _ in 0..<(try reader.count()) {
      let name = try reader.text()
      guard names.insert(name).inserted else { throw reader.failure("host \(name) twice") }
      let isSecured = try reader.integer(UInt8.self)
      guard isSecured <= 1 else { throw reader.failure("no truth value") }
      var paths: [RoutePath] = []
      for _ in 0..<(try reader.count()) {
        let flags = try reader.integer(UInt8.self)
        let backend = Int(try reader.integer(UInt32.self))
        guard flags <= 3, backend < backends.count else { throw reader.failure("path of no backend") }
        let path = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
        paths.append(
          RoutePath(path: path, isExact: flags & 1 == 1, backend: backend, redirectsToHTTPS: flags & 2 == 2))
      }
      hosts.append(RouteHost(name: name, paths: paths, isSecured: isSecured == 1))
    }
    let last = Int(try reader.integer(UInt32.self))
    guard last <= backends.count else { throw reader.failure("default backend of no backend") }
    let strictTransportSecurity = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
    guard strictTransportSecurity.allSatisfy({ $0 >= 32 && $0 != 127 }) else {
      throw reader.failure("a field value with controls")
    }
    guard reader.offset == bytes.count else { throw reader.failure("bytes behind the end") }
    self.init(
      backends: backends, hosts: hosts, defaultBackend: last == 0 ? nil : last - 1,
      strictTransportSecurity: strictTransportSecurity)
  }
}

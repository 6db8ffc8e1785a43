// A route table as bytes, for the socket pair between the process that knows the cluster and the one that meets
// strangers. Little-endian; the reader checks every length and index and never traps.
//
//   "WRT1" | backends | hosts | default backend + 1
//   backend: namespace ingress service port (u16 length + UTF-8 each) | u16 count | family, address, port each
//   host:    name | u32 count | flags u8, backend u32, path (u16 length + bytes) each

import Addresses

/// Why bytes are no route table.
public struct RouteTableUnreadable: Error, Hashable, Sendable {
  public var offset: Int
  public var reason: String
}

extension RouteTable {
  /// Longest encoded table that is accepted; about 500,000 paths.
  public static let encodedBytesMax = 64 << 20
  private static let magic: [UInt8] = Array("WRT1".utf8)

  public func encoded() -> [UInt8] {
    var out = Self.magic
    func integer<Value: FixedWidthInteger>(_ value: Value) {
      withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) }
    }
    /// What is longer than its length field can say is cut; Kubernetes names and paths are far shorter.
    func bytes(_ value: some Collection<UInt8>) {
      integer(UInt16(clamping: value.count))
      out.append(contentsOf: value.prefix(Int(UInt16.max)))
    }
    integer(UInt32(backends.count))
    for backend in backends {
      for text in [backend.namespace, backend.ingress, backend.service, backend.servicePort] { bytes(text.utf8) }
      integer(UInt16(clamping: backend.endpoints.count))
      for endpoint in backend.endpoints.prefix(Int(UInt16.max)) {
        let address = endpoint.address.bytes
        out.append(UInt8(address.count))
        out.append(contentsOf: address)
        integer(endpoint.port)
      }
    }
    integer(UInt32(hosts.count))
    for host in hosts {
      bytes(host.name.utf8)
      integer(UInt32(host.paths.count))
      for path in host.paths {
        out.append(path.isExact ? 1 : 0)
        integer(UInt32(path.backend))
        bytes(path.path)
      }
    }
    integer(UInt32(defaultBackend.map { $0 + 1 } ?? 0))
    return out
  }

  public init(encoded bytes: [UInt8]) throws(RouteTableUnreadable) {
    var reader = Reader(bytes: bytes)
    guard bytes.starts(with: Self.magic) else { throw reader.failure("not a route table of this version") }
    reader.offset = Self.magic.count
    var backends: [RouteBackend] = []
    for _ in 0..<(try reader.count()) {
      var backend = RouteBackend(
        namespace: try reader.text(), ingress: try reader.text(), service: try reader.text(),
        servicePort: try reader.text(), endpoints: [])
      for _ in 0..<(try reader.integer(UInt16.self)) {
        guard let address = IPAddress(bytes: try reader.bytes(Int(try reader.integer(UInt8.self)))) else {
          throw reader.failure("address of a wrong length")
        }
        backend.endpoints.append(SocketEndpoint(address, try reader.integer(UInt16.self)))
      }
      backends.append(backend)
    }
    var hosts: [RouteHost] = []
    var names: Set<String> = []
    for _ in 0..<(try reader.count()) {
      let name = try reader.text()
      guard names.insert(name).inserted else { throw reader.failure("host \(name) twice") }
      var paths: [RoutePath] = []
      for _ in 0..<(try reader.count()) {
        let flags = try reader.integer(UInt8.self)
        let backend = Int(try reader.integer(UInt32.self))
        guard flags <= 1, backend < backends.count else { throw reader.failure("path of no backend") }
        let path = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
        paths.append(RoutePath(path: path, isExact: flags == 1, backend: backend))
      }
      hosts.append(RouteHost(name: name, paths: paths))
    }
    let last = Int(try reader.integer(UInt32.self))
    guard last <= backends.count else { throw reader.failure("default backend of no backend") }
    guard reader.offset == bytes.count else { throw reader.failure("bytes behind the end") }
    self.init(backends: backends, hosts: hosts, defaultBackend: last == 0 ? nil : last - 1)
  }

  private struct Reader {
    let bytes: [UInt8]
    var offset = 0

    func failure(_ reason: String) -> RouteTableUnreadable { RouteTableUnreadable(offset: offset, reason: reason) }

    mutating func bytes(_ count: Int) throws(RouteTableUnreadable) -> ArraySlice<UInt8> {
      guard count <= bytes.count - offset else { throw failure("cut short") }
      offset += count
      return bytes[offset - count..<offset]
    }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(RouteTableUnreadable) -> Value {
      var value: Value = 0
      for (index, byte) in try bytes(MemoryLayout<Value>.size).enumerated() {
        value |= Value(truncatingIfNeeded: UInt64(byte)) << (8 * index)
      }
      return value
    }

    /// A count of things that take at least five bytes each: one that cannot be true is refused before any memory.
    mutating func count() throws(RouteTableUnreadable) -> Int {
      let count = Int(try integer(UInt32.self))
      guard count <= (bytes.count - offset) / 5 else { throw failure("count beyond the end") }
      return count
    }

    mutating func text() throws(RouteTableUnreadable) -> String {
      let slice = try bytes(Int(try integer(UInt16.self)))
      guard let text = String(validating: slice, as: UTF8.self) else { throw failure("not UTF-8") }
      return text
    }
  }
}

// A socket that the data plane listens on, as a value. The process that knows the cluster opens it, for it may; the one that meets
// strangers gets it beside a frame (SCM_RIGHTS), or finds it open when it starts.
//
//   "WLO1" | transport u8 (protocol number) | serves u8 | address length u8, address, port u16      and a descriptor beside it
//   "WLC1" | the same                                                                       closed, connections leave

import Addresses

/// Where the data plane listens and what it serves there. Equal values are one socket.
public struct IngressListener: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// What connections to it are taken for.
  public enum Service: UInt8, Sendable, Hashable, CaseIterable {
    /// HTTP/1.1, and HTTP/2 by prior knowledge.
    case http = 0
    /// TLS that ends here, and HTTP in it.
    case https = 1
    /// What the table of streams says of the port.
    case streams = 2
  }

  public var transport: TransportProtocol
  public var endpoint: SocketEndpoint
  public var serves: Service

  public init(_ endpoint: SocketEndpoint, transport: TransportProtocol = .tcp, serves: Service) {
    self.transport = transport
    self.endpoint = endpoint
    self.serves = serves
  }

  /// What the kernel tells sockets apart by.
  public struct Place: Sendable, Hashable {
    public var transport: TransportProtocol
    public var endpoint: SocketEndpoint
  }
  public var place: Place { Place(transport: transport, endpoint: endpoint) }

  /// Sockets that a data plane has open besides those it began with.
  public static let countMax = 1024

  public static func < (a: Self, b: Self) -> Bool {
    (a.endpoint, a.transport, a.serves.rawValue) < (b.endpoint, b.transport, b.serves.rawValue)
  }

  public var description: String { "\(transport.rawValue) \(endpoint)" }

  static let openMagic: [UInt8] = Array("WLO1".utf8)
  static let closeMagic: [UInt8] = Array("WLC1".utf8)

  func frame(_ magic: [UInt8]) -> [UInt8] {
    var out = FrameWriter(magic)
    out.integer(transport.number)
    out.integer(serves.rawValue)
    out.address(endpoint.address)
    out.integer(endpoint.port)
    return out.bytes
  }

  /// Reads a frame behind its four letters.
  init(frame bytes: [UInt8]) throws(RouteTableUnreadable) {
    var reader = FrameReader(bytes: bytes, offset: 4)
    guard let transport = TransportProtocol(number: try reader.integer(UInt8.self)) else {
      throw reader.failure("no transport that is known")
    }
    guard let serves = Service(rawValue: try reader.integer(UInt8.self)) else {
      throw reader.failure("nothing that is served here")
    }
    self.transport = transport
    self.serves = serves
    endpoint = SocketEndpoint(try reader.address(), try reader.integer(UInt16.self))
    guard reader.offset == bytes.count else { throw reader.failure("bytes behind the end") }
  }
}

/// A connection that a listener accepted: it leaves when the listener is closed.
protocol ListenerGuest: AnyObject {
  /// The number of its `ListenerDoor`.
  var doorNumber: Int { get }
}

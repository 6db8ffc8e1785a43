// Where connections and datagrams go that are not HTTP: an immutable value, swapped whole, sent to the data plane in a frame of its own.
//
//   port, address, kind -> a listener -> its rule: the only one, or the one for the name that a client asks for (SNI) -> a target by weight
//   -> an endpoint of its backend

import Addresses

/// How connections to a listener are told apart.
public enum StreamKind: UInt8, Sendable, Hashable, CaseIterable, Comparable {
  /// By nothing.
  case tcp = 0
  /// By the name in a ClientHello.
  case tls = 1
  /// Datagrams, kept together by who sends them.
  case udp = 2

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// What becomes of a connection by TLS.
public enum StreamOpening: UInt8, Sendable, Hashable, CaseIterable {
  /// It goes on as it is.
  case passthrough = 0
  /// TLS ends here, with the certificate that the name has in `TLSTable`.
  case terminate = 1
  /// It is for the HTTPS listener of the same port.
  case http = 2
}

/// A share of a rule's connections.
public struct StreamTarget: Sendable, Hashable {
  /// Index into `StreamTable.backends`; -1: they are reset.
  public var backend: Int
  public var weight: UInt32

  public init(backend: Int, weight: UInt32 = 1) {
    self.backend = backend
    self.weight = weight
  }
}

/// What one name of a listener leads to.
public struct StreamRule: Sendable, Hashable {
  /// Lower case; empty for every name and for none, and where there are no names.
  public var name: String
  /// A wildcard stands for one label, as in Ingress, and not for any number.
  public var coversOneLabel: Bool
  public var opening: StreamOpening
  /// None, or none with a weight: connections are reset, datagrams dropped.
  public var targets: [StreamTarget]

  public init(
    name: String = "", coversOneLabel: Bool = false, opening: StreamOpening = .passthrough,
    targets: [StreamTarget] = []
  ) {
    self.name = name
    self.coversOneLabel = coversOneLabel
    self.opening = opening
    self.targets = targets
  }
}

/// A port that is not, or not only, HTTP's.
public struct StreamListener: PlacedListener, Sendable, Hashable {
  public var port: UInt16
  /// Addresses of this machine that it is for; empty: all that no other of the port and its transport names. Sorted.
  public var addresses: [IPAddress]
  public var kind: StreamKind
  /// Connections begin with a header of the PROXY protocol.
  public var acceptsProxy: Bool
  /// Distinct names; one without a name at most for `tcp` and `udp`.
  public var rules: [StreamRule]

  public init(
    port: UInt16, addresses: [IPAddress] = [], kind: StreamKind, acceptsProxy: Bool = false,
    rules: [StreamRule]
  ) {
    self.port = port
    self.addresses = addresses
    self.kind = kind
    self.acceptsProxy = acceptsProxy
    self.rules = rules
  }
}

/// All streams of one controller at one moment.
public struct StreamTable: Sendable, Hashable {
  /// Of a backend's policy count balancing, TLS, connect and idle time-outs, tries and the PROXY protocol.
  public private(set) var backends: [RouteBackend]
  public private(set) var listeners: [StreamListener]

  /// - Precondition: every index lies in `backends`; an address of a port has one listener for datagrams and one for connections;
  ///   names of a listener are distinct.
  public init(backends: [RouteBackend] = [], listeners: [StreamListener] = []) {
    self.backends = backends
    self.listeners = listeners
    precondition(problem == nil)
  }

  public var isEmpty: Bool { listeners.isEmpty }

  /// What a table must not have.
  fileprivate var problem: String? {
    var (connections, datagrams) = (PlaceLedger(), PlaceLedger())
    for listener in listeners {
      let problem =
        listener.kind == .udp
        ? datagrams.problem(of: listener, isAlone: true) : connections.problem(of: listener, isAlone: true)
      if let problem { return problem }
      var names: Set<String> = []
      for rule in listener.rules {
        if !names.insert(rule.name).inserted { return "name \(rule.name) twice" }
        if listener.kind != .tls, !rule.name.isEmpty || rule.opening != .passthrough {
          return "a name where there are none"
        }
        if !rule.targets.allSatisfy({ $0.backend == -1 || backends.indices.contains($0.backend) }) {
          return "target of no backend"
        }
      }
    }
    return nil
  }
}

// MARK: - Bytes

// "WST2" | backends (RouteTable+Codec) | listeners
// listener: port u16 | addresses (ListenerPlace) | kind u8 | PROXY u8 | rules: name (u16 length + UTF-8) one label u8 opening u8
//           | targets: backend u32 (plus one), weight u32

extension StreamTable {
  static let magic: [UInt8] = Array("WST2".utf8)
  /// Listeners of a table.
  static let listenersMax = 4096

  /// The frame that the data plane reads. Little-endian.
  public func encoded() -> [UInt8] {
    var out = FrameWriter(Self.magic)
    out.list(backends) { $0.write(to: &$1) }
    out.list(listeners) { listener, out in
      out.integer(listener.port)
      out.addresses(listener.addresses)
      out.integer(listener.kind.rawValue)
      out.truth(listener.acceptsProxy)
      out.list(listener.rules) { rule, out in
        out.text(rule.name.utf8)
        out.truth(rule.coversOneLabel)
        out.integer(rule.opening.rawValue)
        out.list(rule.targets) { target, out in
          out.index(target.backend)
          out.integer(target.weight)
        }
      }
    }
    return out.bytes
  }

  /// Checks every length and index and never traps.
  public init(encoded bytes: [UInt8]) throws(RouteTableUnreadable) {
    var reader = FrameReader(bytes: bytes)
    guard bytes.starts(with: Self.magic) else { throw reader.failure("not a table of streams") }
    reader.offset = Self.magic.count
    let backendCount = try reader.count()
    var backends: [RouteBackend] = []
    for _ in 0..<backendCount { backends.append(try RouteBackend(from: &reader, backends: backendCount)) }
    let listeners = try reader.list(each: 12) { (reader) throws(RouteTableUnreadable) in
      try StreamListener(from: &reader)
    }
    guard listeners.count <= Self.listenersMax else { throw reader.failure("too many listeners") }
    guard reader.offset == bytes.count else { throw reader.failure("bytes behind the end") }
    self.backends = backends
    self.listeners = listeners
    if let problem { throw reader.failure(problem) }
  }
}

extension StreamListener {
  fileprivate init(from reader: inout FrameReader) throws(RouteTableUnreadable) {
    let port = try reader.integer(UInt16.self)
    let addresses = try reader.addresses()
    guard let kind = StreamKind(rawValue: try reader.integer(UInt8.self)) else {
      throw reader.failure("no kind that is known")
    }
    let acceptsProxy = try reader.truth()
    let rules = try reader.list(each: 8) { (reader) throws(RouteTableUnreadable) in
      let name = try reader.text()
      let coversOneLabel = try reader.truth()
      guard let opening = StreamOpening(rawValue: try reader.integer(UInt8.self)) else {
        throw reader.failure("nothing to do that is known")
      }
      let targets = try reader.list(each: 8) { (reader) throws(RouteTableUnreadable) in
        StreamTarget(
          backend: Int(try reader.integer(UInt32.self)) - 1, weight: try reader.integer(UInt32.self))
      }
      return StreamRule(name: name, coversOneLabel: coversOneLabel, opening: opening, targets: targets)
    }
    self.init(port: port, addresses: addresses, kind: kind, acceptsProxy: acceptsProxy, rules: rules)
  }
}

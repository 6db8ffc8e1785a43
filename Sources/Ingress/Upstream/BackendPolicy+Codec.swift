// A backend's policy as bytes, for the route table's frame. Little-endian; the reader checks every length and number.
//
//   0                                  nothing was set
//   1 | version of HTTP u8 | TLS u8 [serverName u16 text, authorities, certificate, key u32 bytes each,
//       trusts the system u8, names: is URI u8, text; hides u8, depth u8, oldest u8, newest u8, ciphers u16 text]
//     | balancing u8 [name u16 text] | time-outs 4 x u32
//     | tries u8, count u8, u16 each, back-off u32, percent u8, least u16
//     | failures u16, ejection u32, percent u8, check u8 [path, host, interval u32, timeout u32, u8, u8, u16, u16]
//     | circuit 3 x u32 | slow start u32 | count u8, mirrors: backend, numerator, denominator u32 each
//     | PROXY protocol u8, 0 none | count u16, endpoints: weight u16, flags u8 each

extension BackendPolicy {
  /// Statuses that are retried, and mirrors of one backend.
  public static let statusesMax = 8
  static let mirrorsMax = 8

  func write(to out: inout FrameWriter) {
    if isPlain { return out.integer(UInt8(0)) }
    out.integer(UInt8(1))
    out.integer(speech.rawValue)
    out.integer(UInt8(tls == nil ? 0 : 1))
    if let tls {
      out.text(tls.serverName.utf8)
      for bytes in [tls.authorities, tls.certificate, tls.key] { out.long(bytes) }
      out.truth(tls.trustsSystem)
      out.list(Array(tls.names.prefix(UpstreamTLS.namesMax))) { name, out in
        switch name {
        case .dns(let text):
          out.truth(false)
          out.text(text.utf8)
        case .uri(let text):
          out.truth(true)
          out.text(text.utf8)
        }
      }
      out.truth(tls.hidesName)
      for value in [tls.depth, tls.oldest, tls.newest] { out.integer(value) }
      out.text(tls.ciphers.utf8)
    }
    let (kind, name) = balancing.code
    out.integer(kind)
    out.text(name.utf8)
    for value in [timeouts.connect, timeouts.request, timeouts.backendRequest, timeouts.idle] {
      out.integer(value)
    }
    out.integer(retry.tries)
    out.integer(UInt8(min(retry.statuses.count, Self.statusesMax)))
    for status in retry.statuses.prefix(Self.statusesMax) { out.integer(status) }
    out.integer(retry.backoff)
    out.integer(retry.budgetPercent)
    out.integer(retry.budgetMin)
    out.integer(health.failures)
    out.integer(health.ejection)
    out.integer(health.ejectedPercentMax)
    out.integer(UInt8(health.check == nil ? 0 : 1))
    if let check = health.check {
      out.text(check.path.utf8)
      out.text(check.host.utf8)
      out.integer(check.interval)
      out.integer(check.timeout)
      out.integer(check.healthy)
      out.integer(check.unhealthy)
      out.integer(check.statuses.lowerBound)
      out.integer(check.statuses.upperBound)
    }
    for value in [circuit.connections, circuit.pending, circuit.requests, slowStart] { out.integer(value) }
    out.integer(UInt8(min(mirrors.count, Self.mirrorsMax)))
    for mirror in mirrors.prefix(Self.mirrorsMax) {
      out.integer(UInt32(clamping: mirror.backend))
      out.integer(mirror.numerator)
      out.integer(mirror.denominator)
    }
    out.integer(proxy?.rawValue ?? 0)
    out.integer(UInt16(clamping: endpoints.count))
    for traits in endpoints.prefix(Int(UInt16.max)) {
      out.integer(traits.weight)
      out.integer(UInt8((traits.isDistant ? 1 : 0) | (traits.isDraining ? 2 : 0)))
    }
  }

  /// - Parameters:
  ///   - backends: how many the table has; mirrors have to be among them.
  ///   - endpoints: how many the backend has; traits are for all of them or for none.
  init(from reader: inout FrameReader, backends: Int, endpoints count: Int) throws(RouteTableUnreadable) {
    self.init()
    guard try reader.flag() else { return }
    guard let speech = UpstreamProtocol(rawValue: try reader.integer(UInt8.self)) else {
      throw reader.failure("no protocol that is known")
    }
    self.speech = speech
    if try reader.flag() {
      var tls = UpstreamTLS(
        serverName: try reader.text(), authorities: try reader.long(), certificate: try reader.long(),
        key: try reader.long(), trustsSystem: try reader.truth(),
        names: try reader.list(each: 3) { (reader) throws(RouteTableUnreadable) in
          try reader.truth() ? .uri(try reader.text()) : .dns(try reader.text())
        })
      tls.hidesName = try reader.flag()
      tls.depth = try reader.integer(UInt8.self)
      tls.oldest = try reader.integer(UInt8.self)
      tls.newest = try reader.integer(UInt8.self)
      tls.ciphers = try reader.text()
      guard tls.oldest <= tls.newest, (12...13).contains(tls.oldest), (12...13).contains(tls.newest) else {
        throw reader.failure("no versions of TLS")
      }
      self.tls = tls
    }
    let kind = try reader.integer(UInt8.self)
    guard let balancing = Balancing(code: kind, name: try reader.text()) else {
      throw reader.failure("no way of balancing that is known")
    }
    self.balancing = balancing
    timeouts = BackendTimeouts(
      connect: try reader.integer(UInt32.self), request: try reader.integer(UInt32.self),
      backendRequest: try reader.integer(UInt32.self), idle: try reader.integer(UInt32.self))
    retry.tries = try reader.integer(UInt8.self)
    let statuses = try reader.integer(UInt8.self)
    guard statuses <= Self.statusesMax else { throw reader.failure("too many statuses") }
    for _ in 0..<statuses { retry.statuses.append(try reader.integer(UInt16.self)) }
    retry.backoff = try reader.integer(UInt32.self)
    retry.budgetPercent = try reader.integer(UInt8.self)
    retry.budgetMin = try reader.integer(UInt16.self)
    health.failures = try reader.integer(UInt16.self)
    health.ejection = try reader.integer(UInt32.self)
    health.ejectedPercentMax = try reader.integer(UInt8.self)
    if try reader.flag() { health.check = try HealthPolicy.Check(from: &reader) }
    circuit = CircuitPolicy(
      connections: try reader.integer(UInt32.self), pending: try reader.integer(UInt32.self),
      requests: try reader.integer(UInt32.self))
    slowStart = try reader.integer(UInt32.self)
    let mirrorCount = try reader.integer(UInt8.self)
    guard mirrorCount <= Self.mirrorsMax else { throw reader.failure("too many mirrors") }
    for _ in 0..<mirrorCount {
      let mirror = BackendMirror(
        backend: Int(try reader.integer(UInt32.self)), numerator: try reader.integer(UInt32.self),
        denominator: try reader.integer(UInt32.self))
      guard mirror.backend < backends, mirror.denominator > 0 else {
        throw reader.failure("mirror of no backend")
      }
      mirrors.append(mirror)
    }
    let version = try reader.integer(UInt8.self)
    proxy = ProxyVersion(rawValue: version)
    guard version == 0 || proxy != nil else { throw reader.failure("no PROXY protocol that is known") }
    let traits = Int(try reader.integer(UInt16.self))
    guard traits == 0 || traits == count else { throw reader.failure("traits of other endpoints") }
    for _ in 0..<traits {
      let weight = try reader.integer(UInt16.self)
      let flags = try reader.integer(UInt8.self)
      guard flags <= 3 else { throw reader.failure("no flags of an endpoint") }
      endpoints.append(
        EndpointTraits(weight: weight, isDistant: flags & 1 == 1, isDraining: flags & 2 == 2))
    }
  }
}

extension HealthPolicy.Check {
  fileprivate init(from reader: inout FrameReader) throws(RouteTableUnreadable) {
    self.init(
      path: try reader.text(), host: try reader.text(), interval: try reader.integer(UInt32.self),
      timeout: try reader.integer(UInt32.self), healthy: try reader.integer(UInt8.self),
      unhealthy: try reader.integer(UInt8.self))
    let (low, high) = (try reader.integer(UInt16.self), try reader.integer(UInt16.self))
    guard low <= high else { throw reader.failure("no range of statuses") }
    // They are written into requests: nothing may end a line there.
    guard path.utf8.first == UInt8(ascii: "/"), (path + host).utf8.allSatisfy({ $0 > 32 && $0 != 127 }) else {
      throw reader.failure("a health check's path or host that no request can have")
    }
    statuses = low...high
  }
}

extension Balancing {
  fileprivate var code: (kind: UInt8, name: String) {
    switch self {
    case .leastRequests: (0, "")
    case .roundRobin: (1, "")
    case .consistentHash(.source): (2, "")
    case .consistentHash(.header(let name)): (3, name)
    case .consistentHash(.cookie(let name)): (4, name)
    case .consistentHash(.target): (5, "")
    case .consistentHash(.endpoint(let name)): (6, name)
    }
  }

  fileprivate init?(code: UInt8, name: String) {
    switch code {
    case 0: self = .leastRequests
    case 1: self = .roundRobin
    case 2: self = .consistentHash(.source)
    case 3: self = .consistentHash(.header(name))
    case 4: self = .consistentHash(.cookie(name))
    case 5: self = .consistentHash(.target)
    case 6: self = .consistentHash(.endpoint(cookie: name))
    default: return nil
    }
  }
}

extension FrameReader {
  /// A byte that is 0 or 1.
  fileprivate mutating func flag() throws(RouteTableUnreadable) -> Bool {
    let value = try integer(UInt8.self)
    guard value <= 1 else { throw failure("no truth value") }
    return value == 1
  }
}

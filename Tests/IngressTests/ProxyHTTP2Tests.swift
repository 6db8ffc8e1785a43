// The PROXY protocol towards endpoints of HTTP/2: a session that names a client carries no request of another, whatever the versions; and
// there are no more of them than bounds admit.

import Addresses
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

/// HTTP/2 without TLS, behind a header.
private func proxied(_ version: ProxyVersion) -> BackendPolicy {
  var policy = h2c
  policy.proxy = version
  return policy
}

/// A client of many that come through a balancer: who it is, as its header says.
private func addresses(_ number: Int) throws -> ProxyAddresses {
  ProxyAddresses(
    source: SocketEndpoint(try #require(IPAddress("192.0.2.\(number)")), UInt16(5000 + number)),
    destination: try #require(SocketEndpoint("198.51.100.1:443")))
}

extension FrameServer {
  /// The header of the PROXY protocol that the connection begins with; empty when it begins with none.
  fileprivate func header() -> [UInt8] {
    var bytes = client.read(13)
    if bytes.first == 13 {
      bytes += client.read(3)
      guard bytes.count == 16 else { return [] }
      return bytes + client.read(Int(bytes[14]) << 8 | Int(bytes[15]))
    }
    while bytes.suffix(2) != [13, 10] {
      guard bytes.count < ProxyHeader.bytesMax, let next = client.read(1).first else { return [] }
      bytes.append(next)
    }
    return bytes
  }
}

@Suite struct ProxyHTTP2Tests {
  /// An endpoint whose answers say on which of its connections they were given; and the headers of those.
  private final class Endpoint: Sendable {
    let headers = Mutex<[Int: [UInt8]]>([:])
    let ended = Mutex<Set<Int>>([])
    private let server = Mutex<FrameBackend?>(nil)

    init() throws {
      let backend = try FrameBackend { [self] server, connection in
        let header = server.header()
        headers.withLock { $0[connection] = header }
        guard server.greet() else { return }
        while let frame = server.next(1) {
          if fields(frame.payload)[":path"] != "/never" { server.say(frame.stream, "on \(connection)") }
        }
        _ = ended.withLock { $0.insert(connection) }
      }
      server.withLock { $0 = backend }
    }

    var endpoint: SocketEndpoint? { server.withLock { $0?.endpoint } }
    func stop() { server.withLock { $0?.stop() } }
  }

  private func lab(
    _ endpoint: Endpoint, _ policy: BackendPolicy, limits: (inout IngressLimits) -> Void = { _ in }
  ) throws -> StreamLab {
    try StreamLab(
      limits: limits, routes: everything(to: [try #require(endpoint.endpoint)], by: policy),
      proxy: ProxyAcceptance())
  }

  @Test(arguments: ProxyVersion.allCases)
  func `requests of one client share a connection whose header names it, and no other client's go there`(
    _ version: ProxyVersion
  ) throws {
    let endpoint = try Endpoint()
    let lab = try lab(endpoint, proxied(version))
    defer {
      lab.stop()
      endpoint.stop()
    }
    var found: [String: ProxyAddresses] = [:]
    let clients = try (1...3).map { number in
      let origin = try addresses(number)
      return (origin, FrameClient(lab.http, header: ProxyHeader.bytes(.v2, origin)))
    }
    // All at a time, again and again: a session that stands is there for the next one to take by mistake.
    for stream in stride(from: UInt32(1), to: 12, by: 2) {
      for (_, client) in clients { client.get(stream) }
      for (origin, client) in clients {
        let answer = try #require(client.answer(stream))
        #expect(answer.status == 200)
        #expect(found.updateValue(origin, forKey: text(answer.body)) ?? origin == origin)
      }
    }
    // One of HTTP/1.1, which asks twice.
    let old = Client(lab.http)
    let origin = try addresses(4)
    old.send(ProxyHeader.bytes(.v1, origin))
    for _ in 0..<2 {
      let answer = try #require(old.get())
      let line = text(answer.body).split(separator: "\r\n").first { $0.hasPrefix("on ") } ?? ""
      #expect(found.updateValue(origin, forKey: String(line)) ?? origin == origin)
    }
    // One connection each, and each said who it is for.
    #expect(found.count == 4 && Set(found.values).count == 4, "\(found)")
    let headers = endpoint.headers.withLock { $0 }
    #expect(headers.count == 4)
    for (line, origin) in found {
      let number = try #require(Int(line.dropFirst(3)))
      #expect(headers[number] == ProxyHeader.bytes(version, origin), "\(line)")
    }
  }

  @Test func `a client that comes again from another port is another one`() throws {
    let endpoint = try Endpoint()
    let lab = try lab(endpoint, proxied(.v2))
    defer {
      lab.stop()
      endpoint.stop()
    }
    var origin = try addresses(1)
    var bodies: Set<String> = []
    for port in UInt16(6001)...6003 {
      origin.source.port = port
      let client = FrameClient(lab.http, header: ProxyHeader.bytes(.v2, origin))
      client.get(1)
      bodies.insert(text(client.answer(1)?.body))
    }
    #expect(bodies.count == 3)
    let said = Set(endpoint.headers.withLock { $0.values.map(\.self) })
    #expect(said.count == 3 && said.contains(ProxyHeader.bytes(.v2, origin)))
  }

  @Test func `of sessions that nobody uses as many are kept as of connections, the last ones`() throws {
    let endpoint = try Endpoint()
    let lab = try lab(endpoint, proxied(.v2)) { $0.idlePerEndpointMax = 2 }
    defer {
      lab.stop()
      endpoint.stop()
    }
    let clients = try (1...5).map { number in
      let client = FrameClient(lab.http, header: ProxyHeader.bytes(.v2, try addresses(number)))
      client.get(1)
      #expect(text(client.answer(1)?.body) == "on \(number - 1)")
      return client
    }
    #expect(eventually { endpoint.ended.withLock { $0 } == [0, 1, 2] }, "\(endpoint.ended.withLock { $0 })")
    // Those that were kept serve their clients on, others begin anew.
    clients[4].get(3)
    #expect(text(clients[4].answer(3)?.body) == "on 4")
    clients[0].get(3)
    #expect(text(clients[0].answer(3)?.body) == "on 5")
  }

  @Test func `where connections are bounded a session that idles makes way, one at work does not`() throws {
    let endpoint = try Endpoint()
    var policy = proxied(.v1)
    policy.circuit.connections = 1
    let lab = try lab(endpoint, policy)
    defer {
      lab.stop()
      endpoint.stop()
    }
    let (first, second) = (
      FrameClient(lab.http, header: ProxyHeader.bytes(.v2, try addresses(1))),
      FrameClient(lab.http, header: ProxyHeader.bytes(.v2, try addresses(2)))
    )
    first.get(1)
    #expect(text(first.answer(1)?.body) == "on 0")
    second.get(1)
    #expect(text(second.answer(1)?.body) == "on 1")
    second.get(3, getFields.map { $0.0 == ":path" ? (":path", "/never") : $0 })
    // It is at work as soon as the endpoint has it, which what comes behind it shows.
    second.get(5)
    #expect(text(second.answer(5)?.body) == "on 1")
    first.get(3)
    #expect(first.answer(3)?.status == 503)
    #expect(endpoint.ended.withLock { $0 } == [0])
    #expect(lab.value("weft_ingress_upstream_overflows_total") >= 1)
  }

  @Test(arguments: ["nginx", "haproxy"], ProxyVersion.allCases)
  func `servers that people have are told each request's client`(name: String, version: ProxyVersion) throws {
    let server = try CountingServer.proxied(name)
    let lab = try StreamLab(
      routes: everything(to: [server.endpoint], by: proxied(version)), proxy: ProxyAcceptance())
    defer {
      lab.stop()
      server.stop()
    }
    let clients = try (1...4).map {
      FrameClient(lab.http, header: ProxyHeader.bytes(.v1, try addresses($0)))
    }
    for stream in stride(from: UInt32(1), to: 8, by: 2) {
      for client in clients { client.get(stream) }
      for (index, client) in clients.enumerated() {
        let answer = text(client.answer(stream)?.body)
        #expect(answer == "192.0.2.\(index + 1) \(5001 + index)", "\(name)")
      }
    }
  }
}

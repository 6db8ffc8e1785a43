// A backend's policy: as bytes, and as requests meet it through a worker with real endpoints.

import Addresses
import FuzzLab
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct BackendPolicyTests {
  private static var full: BackendPolicy {
    var policy = BackendPolicy()
    policy.speech = .http2
    policy.tls = UpstreamTLS(
      serverName: "a.b", authorities: [1, 2], certificate: [3], key: [4], trustsSystem: true,
      names: [.dns("c.d"), .uri("spiffe://e/f")])
    policy.tls?.hidesName = true
    policy.tls?.depth = 3
    policy.tls?.ciphers = "ECDHE"
    policy.tls?.oldest = 13
    policy.balancing = .consistentHash(.cookie("route"))
    policy.timeouts = BackendTimeouts(connect: 1, request: 2, backendRequest: 3, idle: 4)
    policy.retry = RetryPolicy(tries: 4, statuses: [500, 503], backoff: 25, budgetPercent: 20, budgetMin: 10)
    policy.health = HealthPolicy(
      failures: 5, ejection: 7, ejectedPercentMax: 30,
      check: .init(
        path: "/healthz", host: "a", interval: 1, timeout: 2, healthy: 3, unhealthy: 4, statuses: 200...204))
    policy.circuit = CircuitPolicy(connections: 1, pending: 2, requests: 3)
    policy.slowStart = 9
    policy.mirrors = [BackendMirror(backend: 0, numerator: 1, denominator: 10)]
    policy.endpoints = [
      EndpointTraits(weight: 3, isDistant: true), EndpointTraits(weight: 0, isDraining: true),
    ]
    return policy
  }

  private static let endpoints = [SocketEndpoint(loopback, 1), SocketEndpoint(loopback, 2)]

  @Test(arguments: [
    Balancing.leastRequests, .roundRobin, .consistentHash(.source), .consistentHash(.header("X-User")),
    .consistentHash(.cookie("a")), .consistentHash(.target), .consistentHash(.endpoint(cookie: "a")),
  ]) func `a policy survives its bytes`(balancing: Balancing) throws {
    var policy = Self.full
    policy.balancing = balancing
    let table = everything(to: Self.endpoints, by: policy)
    #expect(try RouteTable(encoded: table.encoded()) == table)
    // Nothing set costs one byte.
    let plain = everything(to: Self.endpoints).encoded()
    var without = BackendPolicy()
    without.slowStart = 1
    #expect(everything(to: Self.endpoints, by: without).encoded().count > plain.count + 40)
  }

  @Test func `mutated and cut policies are refused or read, never trapped on`() {
    let good = everything(to: Self.endpoints, by: Self.full).encoded()
    for length in 0..<good.count {
      #expect(throws: RouteTableUnreadable.self) { try RouteTable(encoded: Array(good[..<length])) }
    }
    for bytes in mutations(of: good, count: 5_000, seed: 33) {
      if let table = try? RouteTable(encoded: bytes) {
        for backend in table.backends {
          #expect(
            backend.policy.mirrors.allSatisfy { $0.backend < table.backends.count && $0.denominator > 0 })
          #expect(
            backend.policy.endpoints.isEmpty || backend.policy.endpoints.count == backend.endpoints.count)
        }
      }
    }
  }

  private final class Lab {
    let good: Backend
    let bad: Backend
    let ingress: TestIngress
    init(_ policy: BackendPolicy) throws {
      good = try Backend("good")
      bad = try Backend("bad")
      ingress = try TestIngress(everything(to: [good.endpoint, bad.endpoint], by: policy))
    }
    func stop() {
      ingress.stop()
      good.kill()
      bad.kill()
    }
    func served() -> (good: Int, bad: Int) {
      (good.served.load(ordering: .relaxed), bad.served.load(ordering: .relaxed))
    }
  }

  @Test func `round robin goes from one to the next`() throws {
    var policy = BackendPolicy()
    policy.balancing = .roundRobin
    let lab = try Lab(policy)
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    let names = (0..<6).map { _ in text(client.get()?.body) }
    #expect(names == ["good", "bad", "good", "bad", "good", "bad"])
  }

  @Test func `an answer that the policy names is thrown away for another endpoint's, within the budget`()
    throws
  {
    var policy = BackendPolicy()
    policy.balancing = .roundRobin
    policy.retry = RetryPolicy(tries: 2, statuses: [503], backoff: 10)
    let lab = try Lab(policy)
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    for _ in 0..<10 { #expect(text(client.get("/maybe")?.body) == "good") }
    #expect(eventually { lab.ingress.value("weft_ingress_retries_total") == Double(lab.served().bad) })
    #expect(lab.served().bad > 0)
    // HTTP/2 goes the same way.
    let framed = FrameClient(lab.ingress)
    for stream in [UInt32(1), 3, 5, 7] {
      framed.get(stream, getFields.map { $0.0 == ":path" ? (":path", "/maybe") : $0 })
      #expect(framed.answer(stream)?.status == 200)
    }
    policy.retry = RetryPolicy(tries: 2, statuses: [503], budgetPercent: 1, budgetMin: 0)
    lab.ingress.install(everything(to: [lab.good.endpoint, lab.bad.endpoint], by: policy))
    lab.ingress.settle()
    let statuses = (0..<10).compactMap { _ in client.get("/maybe")?.status }
    #expect(statuses.count == 10 && statuses.contains(503) && statuses.contains(200))
    #expect(lab.ingress.value("weft_ingress_retries_denied_total") > 0)
  }

  @Test func `an endpoint that fails in a row is left out, and tried again later`() throws {
    var policy = BackendPolicy()
    policy.balancing = .roundRobin
    policy.health = HealthPolicy(failures: 2, ejection: 300)
    let lab = try Lab(policy)
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    let statuses = (0..<20).compactMap { _ in client.get("/maybe")?.status }
    #expect(statuses.count == 20)
    #expect(lab.ingress.value("weft_ingress_endpoint_ejections_total{reason=\"failures\"}") >= 1)
    let before = lab.served().bad
    #expect(eventually { client.get("/maybe") != nil && lab.served().bad > before })
  }

  @Test func `an endpoint that answers checks badly gets no requests until it answers well`() throws {
    var policy = BackendPolicy()
    policy.balancing = .roundRobin
    policy.health = HealthPolicy(check: .init(path: "/maybe", interval: 20, timeout: 5_000, unhealthy: 2))
    let lab = try Lab(policy)
    defer { lab.stop() }
    #expect(eventually { lab.ingress.value("weft_ingress_endpoint_ejections_total{reason=\"check\"}") == 1 })
    let client = Client(lab.ingress.endpoint)
    for _ in 0..<10 { #expect(text(client.get()?.body) == "good") }
    // Another check, which it passes.
    policy.health.check?.path = "/"
    lab.ingress.install(everything(to: [lab.good.endpoint, lab.bad.endpoint], by: policy))
    lab.ingress.settle()
    #expect(eventually { text(client.get()?.body) == "bad" })
  }

  @Test(arguments: ["X-User: ", "Cookie: a=1; user="]) func `the same key comes to the same endpoint`(
    field: String
  ) throws {
    var policy = BackendPolicy()
    policy.balancing =
      field.hasPrefix("X") ? .consistentHash(.header("x-user")) : .consistentHash(.cookie("user"))
    let lab = try Lab(policy)
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    var names: Set<String> = []
    for user in 0..<20 {
      let first = text(client.get(more: "\(field)\(user)\r\n")?.body)
      names.insert(first)
      for _ in 0..<3 { #expect(text(client.get(more: "\(field)\(user)\r\n")?.body) == first) }
    }
    #expect(names == ["good", "bad"])
    // Without the key the client's address decides.
    #expect(Set((0..<10).map { _ in text(client.get()?.body) }).count == 1)
  }

  @Test func `past its bounds an endpoint gets no request, and with none left the answer is 503`() throws {
    var policy = BackendPolicy()
    policy.circuit.requests = 1
    let lab = try Lab(policy)
    defer { lab.stop() }
    let waiting = (0..<2).map { _ in Client(lab.ingress.endpoint) }
    for client in waiting { client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n") }
    #expect(eventually { lab.served() == (1, 1) })
    #expect(Client(lab.ingress.endpoint).get()?.status == 503)
    #expect(eventually { lab.ingress.value("weft_ingress_upstream_overflows_total") == 1 })
  }

  @Test func `a connection beyond an endpoint's bound is not made`() throws {
    var policy = BackendPolicy()
    policy.circuit.connections = 1
    let lab = try Lab(policy)
    defer { lab.stop() }
    let waiting = (0..<2).map { _ in Client(lab.ingress.endpoint) }
    for client in waiting { client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n") }
    #expect(eventually { lab.served() == (1, 1) })
    #expect(Client(lab.ingress.endpoint).get()?.status == 503)
    #expect(lab.good.connections.load(ordering: .relaxed) == 1)
  }

  @Test func `a mirror gets copies, and the client the answer of its own backend`() throws {
    let lab = try Lab(BackendPolicy())
    defer { lab.stop() }
    func install(_ mirror: BackendMirror, isReachable: Bool = true) {
      var backends = [lab.good, lab.bad].map {
        RouteBackend(
          namespace: "demo", ingress: "web", service: $0.name, servicePort: "80", endpoints: [$0.endpoint])
      }
      if !isReachable { backends[1].endpoints = [SocketEndpoint(loopback, 1)] }
      backends[0].policy.mirrors = [mirror]
      // A mirror of a mirror would have no end.
      backends[1].policy.mirrors = [mirror]
      lab.ingress.install(RouteTable(backends: backends, defaultBackend: 0))
      lab.ingress.settle()
    }
    install(BackendMirror(backend: 1))
    let client = Client(lab.ingress.endpoint)
    for path in ["/", "/maybe", "/chunked", "/204", "/until-close"] {
      #expect(client.get(path)?.status ?? 0 < 300)
    }
    let other = Client(lab.ingress.endpoint)
    other.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    #expect(text(other.response()?.body) == "3 294")
    let framed = FrameClient(lab.ingress)
    framed.get(1)
    #expect(framed.answer(1).map { text($0.body) } == "good")
    #expect(eventually { lab.ingress.value("weft_ingress_mirrored_requests_total{result=\"sent\"}") == 7 })
    #expect(lab.served() == (7, 7))
    // A share, and a backend that is not there.
    install(BackendMirror(backend: 1, numerator: 1, denominator: 4))
    for _ in 0..<200 { #expect(text(other.get()?.body) == "good") }
    #expect(eventually { (20...90).contains(lab.served().bad - 7) })
    install(BackendMirror(backend: 9))
    #expect(text(other.get()?.body) == "good")
    // A mirror that cannot be reached harms nobody.
    install(BackendMirror(backend: 1), isReachable: false)
    #expect(text(other.get()?.body) == "good")
    #expect(eventually { lab.ingress.value("weft_ingress_mirrored_requests_total{result=\"failed\"}") == 1 })
  }

  @Test func `what leaves or weighs nothing gets no requests while others are there`() throws {
    var policy = BackendPolicy()
    policy.endpoints = [EndpointTraits(), EndpointTraits(isDraining: true)]
    let lab = try Lab(policy)
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    for _ in 0..<10 { #expect(text(client.get()?.body) == "good") }
    policy.endpoints = [EndpointTraits(weight: 0), EndpointTraits(isDraining: true)]
    lab.ingress.install(everything(to: [lab.good.endpoint, lab.bad.endpoint], by: policy))
    lab.ingress.settle()
    for _ in 0..<10 { #expect(text(client.get()?.body) == "bad") }
  }
}

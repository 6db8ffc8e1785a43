// GRPCRoutes: Gateway API's conformance tests, by gRPC's own library on both sides.

import ClusterObjects
import ClusterView
import GatewayAPI
import NamespaceLab
import Testing

@Suite(.serialized) struct CallTrafficTests {
  /// Answers of calls, each `AUTHORITY METHOD [NAME=VALUE…]`.
  private func call(_ traffic: Traffic, _ calls: String..., on index: Int = 0) -> [String] {
    let words = calls.map { "'\($0)'" }.joined(separator: " ")
    let outcome = run(
      "\(PythonServer.clients) - \(traffic.ports[index]) \(words)", input: PythonServer.caller)
    return outcome.output.split(separator: "\n").map(String.init)
  }

  /// Two servers behind the Services `one` and `two`.
  private func with(ports: Int = 1, _ body: (Traffic) throws -> Void) throws {
    let server = try PythonServer(PythonServer.calls, "-", "-", "one", "two", python: PythonServer.clients)
    defer { server.stop() }
    let traffic = try Traffic(ports: ports)
    defer { traffic.stop() }
    try #require(server.ports.count == 2)
    try traffic.point("one", to: server.ports[0])
    try traffic.point("two", to: server.ports[1])
    try body(traffic)
  }

  private func http(_ traffic: Traffic, _ more: String = "") -> String {
    "name: http, port: \(traffic.ports[0]), protocol: HTTP\(more)"
  }
  private let one = "backendRefs: [{name: one, port: 8080}]"
  private let two = "backendRefs: [{name: two, port: 8080}]"

  @Test
  func `GRPCExactMethodMatching, GRPCRouteHeaderMatching, GRPCRouteNamedRule: calls by method and metadata`()
    throws
  {
    try with { traffic in
      try traffic.serve(
        gateway("gw", http(traffic)),
        route(
          "a", kind: "GRPCRoute", to: "{name: gw}",
          rules: """
            [{name: go, matches: [{method: {service: a.B, method: Go}}], \(one)}, {matches: [{method: {service: a.B, method: Stay}}], \(two)},
            {matches: [{method: {service: c.D}}], \(one)}, {matches: [{method: {service: c.D}, headers: [{name: version, value: two}]}], \(two)},
            {matches: [{method: {type: RegularExpression, service: 'e[.]F+'}}], \(two)}]
            """))
      let answers = call(
        traffic, "a.org /a.B/Go", "a.org /a.B/Stay", "a.org /a.B/Other", "a.org /c.D/Any",
        "a.org /c.D/Any version=two",
        "a.org /e.FF/X", "a.org /e.G/X")
      #expect(
        answers == [
          "one /a.B/Go -", "two /a.B/Stay -", "UNIMPLEMENTED", "one /c.D/Any -", "two /c.D/Any -",
          "two /e.FF/X -", "UNIMPLEMENTED",
        ])
    }
  }

  @Test
  func
    `GRPCRouteListenerHostnameMatching, GRPCRouteRequestHeaderModifier: names, and fields for the backend`()
    throws
  {
    try with(ports: 2) { traffic in
      let set = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: s}]}}"
      try traffic.serve(
        gateway(
          "gw", http(traffic, ", hostname: '*.b.org'"),
          "name: other, port: \(traffic.ports[1]), protocol: HTTP, hostname: c.org"),
        route(
          "a", kind: "GRPCRoute", to: "{name: gw}", hosts: "x.b.org, c.org",
          rules: "[{filters: [\(set)], \(one)}]"))
      #expect(
        call(traffic, "x.b.org /a.B/Go", "y.b.org /a.B/Go", "c.org /a.B/Go") == [
          "one /a.B/Go s", "UNIMPLEMENTED", "UNIMPLEMENTED",
        ])
      #expect(call(traffic, "c.org /a.B/Go x-set=client", on: 1) == ["one /a.B/Go s"])
    }
  }

  @Test func `GRPCRouteWeight: shares of calls`() throws {
    try with { traffic in
      try traffic.serve(
        gateway("gw", http(traffic)),
        route(
          "a", kind: "GRPCRoute", to: "{name: gw}",
          rules:
            "[{backendRefs: [{name: one, port: 8080, weight: 3}, {name: two, port: 8080, weight: 1}, {name: far, port: 8080, weight: 0}]}]"
        ))
      // One channel: a call is a throw, not a connection.
      let script = """
        import grpc, sys
        channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
        call = channel.unary_unary("/a.B/Go")
        names = [call(b"", timeout=20).decode().split()[0] for _ in range(400)]
        print(names.count("one"), names.count("two"))
        """
      let counts = run("\(PythonServer.clients) - \(traffic.ports[0])", input: script).output.split(
        whereSeparator: \.isWhitespace
      )
      .compactMap { Int($0) }
      try #require(counts.count == 2)
      // 400 throws: ten times a standard deviation is 87.
      #expect(counts[0] + counts[1] == 400 && abs(counts[0] - 300) < 90, "\(counts)")
    }
  }

  @Test
  func `HTTPRouteBackendProtocolH2C: a backend that speaks nothing but HTTP 2 is reached by an HTTPRoute`()
    throws
  {
    try with { traffic in
      try traffic.serve(
        """
        apiVersion: v1
        kind: Service
        metadata: {name: one, namespace: infra}
        spec: {clusterIP: 10.43.0.11, ports: [{name: http, port: 8080, appProtocol: kubernetes.io/h2c}]}
        """, gateway("gw", http(traffic)),
        route("a", to: "{name: gw}", rules: "[{matches: [{path: {value: /a.B}}], \(one)}, {\(two)}]"))
      #expect(call(traffic, "a.org /a.B/Go", "a.org /c.D/Go").first == "one /a.B/Go -")
      #expect(
        traffic.ask("/c.D/Go").status == 502, "one that is not said to speak it is spoken to by HTTP/1.1")
    }
  }

  @Test func `BackendTLSPolicyGRPCRoute: calls to a backend by TLS`() throws {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:two.example.org")
    let server = try PythonServer(
      PythonServer.calls, "\(leaf).pem", "\(leaf).key", "sealed", python: PythonServer.clients)
    defer { server.stop() }
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    try traffic.point("two", to: try #require(server.ports.first))
    traffic.lab.input.authorities[ObjectKey("infra", "ca")] = try authority.bundle
    func policy(_ hostname: String) -> String {
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: BackendTLSPolicy
      metadata: {name: p, namespace: infra}
      spec:
        targetRefs: [{group: '', kind: Service, name: two}]
        validation: {hostname: \(hostname), caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}
      """
    }
    try traffic.serve(
      gateway("gw", http(traffic)),
      route("a", kind: "GRPCRoute", to: "{name: gw}", backend: "{name: two, port: 8443}"),
      policy("two.example.org"))
    #expect(call(traffic, "a.org /a.B/Go") == ["sealed /a.B/Go -"])
    try traffic.serve(policy("other.example.org"))
    #expect(call(traffic, "a.org /a.B/Go") == ["UNAVAILABLE"])
  }
}

// Gateway API's conformance tests of ListenerSets and of references that lead nowhere, by requests that are answered or not; and more
// listeners than one Gateway may have.

import ClusterObjects
import ClusterView
import GatewayAPI
import Testing

@Suite(.serialized) struct ListenerTrafficTests {
  private let allowing = "  allowedListeners: {namespaces: {from: All}}\n"
  private func http(_ name: String, _ port: UInt16, _ more: String = "") -> String {
    "name: \(name), port: \(port), protocol: HTTP\(more)"
  }
  private func rules(_ path: String, _ backend: String = "one") -> String {
    "[{matches: [{path: {value: \(path)}}], backendRefs: [{name: \(backend), port: 8080}]}]"
  }

  @Test
  func
    `ListenerSetAllowedRoutesNamespaces, ListenerSetDualParentRefIndependence, ListenerSetGatewayParentSectionNameNotFound: who is served where`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    try traffic.serve(
      gateway("gw", more: allowing, http("own", ports[0])),
      listenerSet(
        "set", of: "gw", http("all", ports[1], ", allowedRoutes: {namespaces: {from: All}}"),
        http("same", ports[2], ", allowedRoutes: {namespaces: {from: Same}}")),
      route(
        "far", "web", to: "{kind: ListenerSet, name: set, namespace: infra}", rules: rules("/far", "far")),
      route("near", to: "{kind: ListenerSet, name: set}", rules: rules("/near")),
      route("both", to: "{name: gw}, {kind: ListenerSet, name: set}", rules: rules("/both")),
      route(
        "one", to: "{name: gw, sectionName: missing}, {kind: ListenerSet, name: set}", rules: rules("/one")),
      route("lost", to: "{name: gw, sectionName: all}", rules: rules("/lost")),
      route("found", to: "{kind: ListenerSet, name: set, sectionName: same}", rules: rules("/found")))
    for (path, backends) in [
      ("/far", ["", "far", ""]), ("/near", ["", "one", "one"]), ("/both", ["one", "one", "one"]),
      ("/one", ["", "one", "one"]), ("/lost", ["", "", ""]), ("/found", ["", "", "one"]),
    ] {
      for (index, backend) in backends.enumerated() {
        let answer = traffic.ask(path, on: index)
        #expect(answer.status == (backend.isEmpty ? 404 : 200), "\(path) at \(index)")
        #expect(backend.isEmpty || answer.backend == backend, "\(path) at \(index)")
      }
    }
  }

  @Test
  func
    `ListenerSetReferenceGrant, GatewaySecretInvalidReferenceGrant: a certificate is served to whom it is granted`()
    throws
  {
    let authority = try TestAuthority()
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    let port = traffic.ports[0]
    traffic.lab.input.secrets = [
      ObjectKey("web", "far"): try authority.secret(try authority.issue("DNS:a.org", "DNS:b.org")),
      ObjectKey("infra", "near"): try authority.secret(try authority.issue("DNS:c.org")),
    ]
    func https(_ name: String, _ host: String, _ secret: String) -> String {
      "name: \(name), port: \(port), protocol: HTTPS, hostname: \(host), tls: {certificateRefs: [{\(secret)}]}"
    }
    func isServed(_ host: String) -> Bool {
      traffic.curl(host, on: 0, authority: authority.root).output.hasPrefix("one\n")
    }
    try traffic.serve(
      gateway(
        "gw", more: allowing, https("a", "a.org", "name: far, namespace: web"),
        https("c", "c.org", "name: near")),
      listenerSet("set", of: "gw", https("b", "b.org", "name: far, namespace: web")),
      route("r", to: "{name: gw}, {kind: ListenerSet, name: set}"),
      grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Secret}"),
      grant("other", in: "other", from: "Gateway", to: "{group: '', kind: Secret}"))
    #expect(isServed("c.org") && !isServed("a.org") && !isServed("b.org"))
    try traffic.serve(grant(in: "web", from: "ListenerSet", to: "{group: '', kind: Secret}"))
    #expect(isServed("c.org") && !isServed("a.org") && isServed("b.org"))
    try traffic.serve(grant(in: "web", from: "Gateway", to: "{group: '', kind: Secret}"))
    #expect(isServed("c.org") && isServed("a.org") && !isServed("b.org"))
  }

  @Test
  func
    `TCPRouteInvalidBackendRefNonexistent, TLSRouteInvalidBackendRefNonexistent, TLSRouteInvalidBackendRefUnknownKind: nobody answers`()
    throws
  {
    let authority = try TestAuthority()
    let traffic = try Traffic(ports: 2)
    defer { traffic.stop() }
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = try authority.secret(
      try authority.issue("DNS:a.org", "DNS:b.org", "DNS:c.org"))
    try traffic.serve(
      gateway(
        "gw", "name: tcp, port: \(traffic.ports[0]), protocol: TCP",
        "name: tls, port: \(traffic.ports[1]), protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: cert}]}"
      ),
      route("t", kind: "TCPRoute", to: "{name: gw}", backend: "{name: gone, port: 8080}"),
      route("a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.org", backend: "{name: gone, port: 8080}"),
      route(
        "b", kind: "TLSRoute", to: "{name: gw}", hosts: "b.org",
        backend: "{group: example.com, kind: Thing, name: one, port: 8080}"),
      route("c", kind: "TLSRoute", to: "{name: gw}", hosts: "c.org"))
    func isServed(_ host: String) -> Bool {
      traffic.curl(host, on: 1, authority: authority.root).output.hasPrefix("one\n")
    }
    let stream = traffic.connect(0)
    stream.send("GET / HTTP/1.1\r\n\r\n")
    #expect(stream.head() == nil)
    #expect(!isServed("a.org") && !isServed("b.org") && isServed("c.org"))
    // As soon as there is a backend they are answered.
    try traffic.serve(
      route("t", kind: "TCPRoute", to: "{name: gw}"),
      route("a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.org")
    )
    let next = traffic.connect(0)
    next.send("GET / HTTP/1.1\r\n\r\n")
    #expect(next.head() != nil && isServed("a.org"))
  }

  /// A Gateway's 64, and those of 64 sets: as many as a Gateway may have.
  @Test func `a Gateway has more than 64 listeners by its sets, each with its own routes`() throws {
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    let port = traffic.ports[0]
    func listeners(_ prefix: String) -> String {
      (0..<64).map {
        "  - {name: \(prefix)\($0), port: \(port), protocol: HTTP, hostname: \(prefix)\($0).org}"
      }.joined(separator: "\n")
    }
    try traffic.add(
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: Gateway
      metadata: {name: gw, namespace: infra}
      spec:
        gatewayClassName: weft
        allowedListeners: {namespaces: {from: All}}
        listeners:
      \(listeners("own"))
      """)
    for index in 0..<65 {
      try traffic.add(
        """
        apiVersion: gateway.networking.k8s.io/v1
        kind: ListenerSet
        metadata: {name: set\(index), namespace: infra, creationTimestamp: '2026-02-01T00:00:\(String("\(index + 100)".dropFirst()))Z'}
        spec:
          parentRef: {name: gw, namespace: infra}
          listeners:
        \(listeners("s\(index)-"))
        """)
    }
    let plan = try traffic.serve(
      route("own", to: "{name: gw}"),
      route("first", to: "{kind: ListenerSet, name: set0}", backend: "{name: two, port: 8080}"),
      route(
        "last", to: "{kind: ListenerSet, name: set63}", backend: "{name: far, namespace: web, port: 8080}"),
      grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Service}"))
    #expect(plan.listeners.count == 64 * 65)
    #expect(try plan.gateway("gw").attachedListenerSets == 64)
    #expect(try plan.gateway("gw").listeners.map(\.attachedRoutes) == Array(repeating: 1, count: 64))
    #expect(try plan.set("set63").listeners.areWell)
    #expect(try plan.set("set64").conditions["Accepted"] == "False Invalid", "one set too many is told")
    #expect(traffic.ask(host: "own0.org").backend == "one" && traffic.ask(host: "own63.org").backend == "one")
    #expect(traffic.ask(host: "s0-63.org").backend == "two")
    #expect(traffic.ask(host: "s63-0.org").backend == "far")
    #expect(traffic.ask(host: "s1-0.org").status == 404 && traffic.ask(host: "s64-0.org").status == 404)
  }
}

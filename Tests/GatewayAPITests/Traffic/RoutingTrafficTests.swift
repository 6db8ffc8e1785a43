// Where requests go: Gateway API's conformance tests of matching, names, ports and references, by requests that are answered.

import ClusterView
import GatewayAPI
import Testing

@Suite(.serialized) struct RoutingTrafficTests {
  private func http(_ name: String, _ port: UInt16, _ more: String = "") -> String {
    "name: \(name), port: \(port), protocol: HTTP\(more)"
  }
  private let one = "backendRefs: [{name: one, port: 8080}]"
  private let two = "backendRefs: [{name: two, port: 8080}]"

  /// One listener for every name, and a route with these rules.
  private func with(_ rules: String, _ body: (Traffic) throws -> Void) throws {
    let traffic = try Traffic()
    defer { traffic.stop() }
    try traffic.serve(
      gateway("gw", http("http", traffic.ports[0])), route("a", to: "{name: gw}", rules: rules))
    try body(traffic)
  }

  @Test func `HTTPRouteSimpleSameNamespace, HTTPRouteNamedRule: a route is served as soon as it is in force`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let plan = try traffic.serve(
      gateway("gw", http("http", traffic.ports[0])),
      route("a", to: "{name: gw}", rules: "[{name: named, \(one)}]"))
    #expect(traffic.ask().backend == "one")
    #expect(try plan.parent("a")["Accepted"] == "True Accepted")
    // An edit, and then its end.
    try traffic.serve(route("a", to: "{name: gw}", rules: "[{\(two)}]"))
    #expect(traffic.ask().backend == "two")
    try traffic.serve(route("a", to: "{name: other}"))
    #expect(traffic.ask().status == 404)
  }

  @Test func `HTTPRouteExactPathMatching, HTTPRoutePathMatchOrder: paths`() throws {
    try with(
      """
      [{matches: [{path: {type: Exact, value: /one}}], \(one)}, {matches: [{path: {type: Exact, value: /two}}], \(two)},
      {matches: [{path: {type: Exact, value: /match}}], \(two)}, {matches: [{path: {value: /match}}], \(one)},
      {matches: [{path: {value: /match/prefix/}}], \(two)}, {matches: [{path: {type: RegularExpression, value: '/r[0-9]+'}}], \(two)},
      {matches: [{path: {value: /r1}}], \(one)}]
      """
    ) { traffic in
      for (path, backend) in [
        ("/one", "one"), ("/two", "two"), ("/match", "two"), ("/match/", "one"), ("/match/x", "one"),
        ("/match/prefix", "two"), ("/match/prefix/x?y=z", "two"), ("/r1", "two"), ("/r1/", "one"),
      ] {
        #expect(traffic.ask(path).backend == backend, "\(path)")
      }
      for path in ["/", "/one/", "/onefoo", "/Two", "/matchx", "/rx"] {
        #expect(traffic.ask(path).status == 404, "\(path)")
      }
    }
  }

  @Test
  func
    `HTTPRouteMatching, HTTPRouteHeaderMatching, HTTPRouteQueryParamMatching, HTTPRouteMethodMatching: all that is said`()
    throws
  {
    try with(
      """
      [{matches: [{path: {value: /}}], \(one)}, {matches: [{headers: [{name: version, value: two}]}], \(two)},
      {matches: [{path: {value: /v2}}, {headers: [{name: color, value: orange}, {name: version, value: two}]}], \(one)},
      {matches: [{queryParams: [{name: animal, value: whale}]}, {method: PATCH}], \(two)},
      {matches: [{path: {value: /v2}, method: DELETE}], \(two)}]
      """
    ) { traffic in
      #expect(traffic.ask().backend == "one")
      #expect(traffic.ask("/", [("Version", "two")]).backend == "two")
      #expect(
        traffic.ask("/", [("Version", "two "), ("x", "y")]).backend == "two",
        "blanks around a value are none of it")
      #expect(traffic.ask("/", [("Version", "Two")]).backend == "one")
      #expect(traffic.ask("/v2", [("Version", "two")]).backend == "one", "the longer path goes first")
      #expect(
        traffic.ask("/", [("Version", "two"), ("Color", "orange")]).backend == "one", "then more fields")
      #expect(traffic.ask("/?animal=whale").backend == "two")
      #expect(traffic.ask("/?x=y&animal=whale&z").backend == "two")
      #expect(traffic.ask("/?animal=whales").backend == "one")
      #expect(traffic.ask("/", method: "PATCH").backend == "two")
      #expect(traffic.ask("/v2/x", method: "DELETE").backend == "two")
      #expect(traffic.ask("/v2", method: "PATCH").backend == "one")
    }
  }

  @Test func `HTTPRouteMatchingAcrossRoutes: rules of all routes of a name stand in one order`() throws {
    let traffic = try Traffic()
    defer { traffic.stop() }
    try traffic.serve(
      gateway("gw", http("http", traffic.ports[0])),
      route(
        "a", to: "{name: gw}", hosts: "a.org, b.org",
        rules: "[{matches: [{path: {value: /}}, {headers: [{name: version, value: one}]}], \(one)}]"),
      route(
        "b", to: "{name: gw}", hosts: "a.org",
        rules: "[{matches: [{path: {value: /v2}}, {headers: [{name: version, value: two}]}], \(two)}]"))
    #expect(traffic.ask("/").backend == "one")
    #expect(traffic.ask("/v2").backend == "two")
    #expect(traffic.ask("/", [("version", "two")]).backend == "two")
    #expect(traffic.ask("/v2", host: "b.org").backend == "one")
    #expect(traffic.ask("/", host: "c.org").status == 404)
  }

  @Test
  func `HTTPRouteHostnameIntersection, HTTPRouteListenerHostnameMatching: the more specific name of both`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    try traffic.serve(
      gateway(
        "gw", http("exact", traffic.ports[0], ", hostname: very.specific.org"),
        http("wild", traffic.ports[0], ", hostname: '*.wild.io'")),
      route("a", to: "{name: gw}", hosts: "very.specific.org, '*.specific.org', non.matching.org"),
      route(
        "b", to: "{name: gw}", hosts: "x.wild.io, wild.io, '*.deep.wild.io'",
        backend: "{name: two, port: 8080}"))
    #expect(traffic.ask(host: "very.specific.org").backend == "one")
    #expect(traffic.ask(host: "VERY.specific.org:80").backend == "one", "neither case nor port matter")
    #expect(traffic.ask(host: "x.wild.io").backend == "two")
    #expect(traffic.ask(host: "a.b.deep.wild.io").backend == "two")
    for host in [
      "specific.org", "other.specific.org", "non.matching.org", "wild.io", "y.wild.io", "deep.wild.io",
    ] {
      #expect(traffic.ask(host: host).status == 404, "\(host)")
    }
  }

  @Test func `GatewayHTTPListenerIsolation: a request meets the listener with the most specific name alone`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let port = traffic.ports[0]
    func at(_ section: String, _ path: String, _ backend: String) -> String {
      route(
        section, to: "{name: gw, sectionName: \(section)}",
        rules: "[{matches: [{path: {value: \(path)}}], \(backend)}]")
    }
    try traffic.serve(
      gateway(
        "gw", http("every", port), http("wild", port, ", hostname: '*.example.com'"),
        http("foo", port, ", hostname: '*.foo.example.com'"),
        http("exact", port, ", hostname: abc.foo.example.com")),
      at("every", "/every", one), at("wild", "/wild", one), at("foo", "/foo", one), at("exact", "/exact", one)
    )
    let own = [
      "bar.com": "/every", "bar.example.com": "/wild", "bar.foo.example.com": "/foo",
      "abc.foo.example.com": "/exact",
    ]
    for (host, path) in own {
      for other in own.values {
        #expect(traffic.ask(other, host: host).status == (other == path ? 200 : 404), "\(host)\(other)")
      }
    }
  }

  @Test
  func
    `HTTPRouteListenerPortMatching, GatewayWithAttachedRoutesWithPort8080, HTTPRouteMultipleGateways: ports`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    try traffic.serve(
      gateway("gw", http("a", ports[0]), http("b", ports[1])), gateway("other", http("a", ports[2])),
      route("a", to: "{name: gw, port: \(ports[0])}"),
      route("b", to: "{name: gw, sectionName: b}, {name: other}", backend: "{name: two, port: 8080}"))
    #expect(traffic.ports.indices.map { traffic.ask(on: $0).backend } == ["one", "two", "two"])
  }

  @Test func `GatewayModifyListeners: ports open and close with their listeners`() throws {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    try traffic.serve(gateway("gw", http("a", ports[0])), route("a", to: "{name: gw}"))
    #expect(traffic.ask().backend == "one")
    try traffic.serve(gateway("gw", generation: 2, http("a", ports[0]), http("b", ports[1])))
    let kept = traffic.connect(1)
    kept.send("GET / HTTP/1.1\r\nHost: a.org\r\n\r\n")
    #expect(kept.head()?.hasPrefix("HTTP/1.1 200") == true)
    try traffic.serve(gateway("gw", generation: 3, http("a", ports[0])))
    #expect(kept.rest().hasPrefix("one\n"), "what came before it ended")
    kept.send("GET / HTTP/1.1\r\nHost: a.org\r\n\r\n")
    #expect(kept.head() == nil, "a connection of a listener that went is over")
    #expect(traffic.ask().backend == "one")
  }

  @Test
  func `ListenerSetHTTPRouting, ListenerSetHostnameConflict, ListenerSetProtocolConflict: sets' listeners`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    let plan = try traffic.serve(
      gateway(
        "gw", more: "  allowedListeners: {namespaces: {from: All}}\n",
        http("a", ports[0], ", hostname: a.org")),
      listenerSet("set", of: "gw", http("b", ports[0], ", hostname: b.org"), http("c", ports[1])),
      listenerSet(
        "late", of: "gw", http("again", ports[0], ", hostname: b.org"),
        "name: d, port: \(ports[1]), protocol: TCP"),
      route("gw", to: "{name: gw}"),
      route("late", to: "{kind: ListenerSet, name: late}", backend: "{name: two, port: 8080}"),
      route("set", to: "{kind: ListenerSet, name: set}", backend: "{name: two, port: 8080}"))
    #expect(traffic.ask(host: "a.org").backend == "one")
    #expect(traffic.ask(host: "b.org").backend == "two")
    #expect(traffic.ask(on: 1).backend == "two")
    #expect(traffic.ask(host: "c.org").status == 404)
    #expect(
      try plan.set("late").listeners.map { $0.conditions["Conflicted"] } == [
        "True HostnameConflict", "True ProtocolConflict",
      ])
  }

  @Test
  func
    `HTTPRouteCrossNamespace, HTTPRouteReferenceGrant, HTTPRouteInvalidCrossNamespaceBackendRef, HTTPRouteInvalidReferenceGrant: a grant decides`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let open = ", allowedRoutes: {namespaces: {from: All}}"
    try traffic.serve(
      gateway("gw", http("http", traffic.ports[0], open)),
      route(
        "near", "web", to: "{name: gw, namespace: infra}", hosts: "near.org",
        backend: "{name: far, port: 8080}"),
      route("a", to: "{name: gw}", hosts: "far.org", backend: "{name: far, namespace: web, port: 8080}"))
    #expect(traffic.ask(host: "near.org").backend == "far")
    #expect(traffic.ask(host: "far.org").status == 500)
    try traffic.serve(grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Service, name: far}"))
    #expect(traffic.ask(host: "far.org").backend == "far")
    // For something else.
    try traffic.serve(grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Service, name: other}"))
    #expect(traffic.ask(host: "far.org").status == 500)
  }

  @Test
  func
    `HTTPRouteInvalidBackendRefUnknownKind, HTTPRouteInvalidNonExistentBackendRef, HTTPRouteNoBackendRefs: 500`()
    throws
  {
    try with(
      """
      [{matches: [{path: {value: /kind}}], backendRefs: [{group: example.com, kind: Thing, name: x, port: 1}]},
      {matches: [{path: {value: /missing}}], backendRefs: [{name: missing, port: 8080}]}, {matches: [{path: {value: /port}}], backendRefs: [{name: one, port: 1}]},
      {matches: [{path: {value: /none}}]}, {matches: [{path: {value: /weightless}}], backendRefs: [{name: one, port: 8080, weight: 0}]},
      {matches: [{path: {value: /good}}], \(two)}]
      """
    ) { traffic in
      for path in ["/kind", "/missing", "/port", "/none", "/weightless"] {
        #expect(traffic.ask(path).status == 500, "\(path)")
      }
      #expect(traffic.ask("/good").backend == "two")
      #expect(traffic.ask("/").status == 404)
    }
  }

  @Test
  func `HTTPRoutePartiallyInvalidViaInvalidReferenceGrant, HTTPRouteWeight: shares, a closed one among them`()
    throws
  {
    try with(
      """
      [{matches: [{path: {value: /half}}], backendRefs: [{name: one, port: 8080}, {name: far, namespace: web, port: 8080}]},
      {matches: [{path: {value: /shares}}], backendRefs: [{name: one, port: 8080, weight: 70}, {name: two, port: 8080, weight: 30}, {name: two, port: 8443, weight: 0}]}]
      """
    ) { traffic in
      var counts: [String: Int] = [:]
      for _ in 0..<400 {
        let half = traffic.ask("/half")
        counts[half.status == 500 ? "closed" : "half \(half.backend)", default: 0] += 1
        counts[traffic.ask("/shares").backend, default: 0] += 1
      }
      #expect(Set(counts.keys) == ["closed", "half one", "one", "two"])
      // 400 throws: ten times a standard deviation is 100 or less.
      for (name, share) in [("closed", 200), ("half one", 200), ("one", 280), ("two", 120)] {
        #expect(abs((counts[name] ?? 0) - share) < 100, "\(counts)")
      }
    }
  }

  @Test func `HTTPRouteServiceTypes: endpoints are asked, whatever the Service's address`() throws {
    let traffic = try Traffic()
    defer { traffic.stop() }
    try traffic.serve(
      """
      apiVersion: v1
      kind: Service
      metadata: {name: headless, namespace: infra}
      spec: {clusterIP: None, ports: [{name: http, port: 8080}]}
      ---
      apiVersion: discovery.k8s.io/v1
      kind: EndpointSlice
      metadata: {name: headless, namespace: infra, labels: {kubernetes.io/service-name: headless}}
      addressType: IPv4
      ports: [{name: http, port: \(traffic.backends["two"]?.port ?? 0)}]
      endpoints: [{addresses: [127.0.0.1]}]
      """, gateway("gw", http("http", traffic.ports[0])),
      route("a", to: "{name: gw}", backend: "{name: headless, port: 8080}"))
    #expect(traffic.ask().backend == "two")
  }
}

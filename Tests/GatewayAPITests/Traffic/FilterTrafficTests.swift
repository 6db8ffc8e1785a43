// What becomes of requests and answers on their way: Gateway API's conformance tests of filters, time-outs and mirrors.

import ClusterView
import Foundation
import GatewayAPI
import Synchronization
import Testing

@Suite(.serialized) struct FilterTrafficTests {
  private let one = "backendRefs: [{name: one, port: 8080}]"
  private let two = "backendRefs: [{name: two, port: 8080}]"

  private func with(_ rules: String, _ body: (Traffic) throws -> Void) throws {
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    try traffic.serve(
      gateway("gw", "name: http, port: \(traffic.ports[0]), protocol: HTTP"),
      route("a", to: "{name: gw}", rules: rules))
    try body(traffic)
  }

  /// A rule for a path with these filters.
  private func rule(_ path: String, _ filters: String, backends: String? = nil) -> String {
    "{matches: [{path: {value: \(path)}}], filters: [\(filters)], \(backends ?? one)}"
  }

  private func redirect(_ text: String) -> String { "{type: RequestRedirect, requestRedirect: {\(text)}}" }

  @Test
  func
    `HTTPRoute303Redirect, HTTPRoute307Redirect, HTTPRoute308Redirect, HTTPRouteRedirectHostAndStatus: statuses`()
    throws
  {
    let statuses = [301, 302, 303, 307, 308]
    let rules = statuses.map {
      "{matches: [{path: {value: /\($0)}}], filters: [\(redirect("hostname: b.org, statusCode: \($0)"))]}"
    }
    try with("[\(rules.joined(separator: ", "))]") { traffic in
      for status in statuses {
        let answer = traffic.ask("/\(status)/x?y=z")
        #expect(answer.status == status)
        #expect(answer.field("location") == ["http://b.org:\(traffic.ports[0])/\(status)/x?y=z"])
      }
    }
  }

  @Test
  func
    `HTTPRouteRedirectPath, HTTPRouteRedirectPort, HTTPRouteRedirectScheme, HTTPRouteRedirectPortAndScheme: the place`()
    throws
  {
    func rule(_ path: String, _ text: String) -> String {
      "{matches: [{path: {value: \(path)}}], filters: [\(redirect(text))]}"
    }
    let rules = [
      rule("/scheme", "scheme: https"), rule("/http", "scheme: http"), rule("/port", "port: 8083"),
      rule("/both", "scheme: https, port: 8443"), rule("/usual", "scheme: https, port: 443"),
      rule("/full", "path: {type: ReplaceFullPath, replaceFullPath: /whole}"),
      rule("/old", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}, hostname: b.org, port: 80"),
      rule("/bare", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"),
    ]
    try with("[\(rules.joined(separator: ", "))]") { traffic in
      let port = traffic.ports[0]
      for (path, place) in [
        ("/scheme/a", "https://a.org/scheme/a"), ("/http", "http://a.org/http"),
        ("/port", "http://a.org:8083/port"),
        ("/both", "https://a.org:8443/both"), ("/usual", "https://a.org/usual"),
        ("/full/x", "http://a.org:\(port)/whole"),
        ("/old/x?y", "http://b.org/new/x?y"), ("/old", "http://b.org/new"),
        ("/bare/x", "http://a.org:\(port)/x"),
        ("/bare", "http://a.org:\(port)/"),
      ] {
        let answer = traffic.ask(path)
        #expect(answer.status == 302)
        #expect(answer.field("location") == [place], "\(path)")
      }
    }
  }

  @Test func `HTTPRouteRewriteHost, HTTPRouteRewritePath: what the backend is asked for`() throws {
    let rules = [
      rule(
        "/old", "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}"
      ),
      rule(
        "/strip", "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}"),
      rule(
        "/full", "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /whole}}}"),
      rule("/host", "{type: URLRewrite, urlRewrite: {hostname: b.org}}"),
      rule(
        "/all",
        "{type: URLRewrite, urlRewrite: {hostname: b.org, path: {type: ReplaceFullPath, replaceFullPath: /x}}}, "
          + "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: s}]}}"),
    ]
    try with("[\(rules.joined(separator: ", "))]") { traffic in
      for (path, line, host) in [
        ("/old/a?b=c", "/new/a?b=c", "a.org"), ("/old", "/new", "a.org"), ("/strip/a", "/a", "a.org"),
        ("/strip", "/", "a.org"), ("/full/a?b", "/whole?b", "a.org"), ("/host/x", "/host/x", "b.org"),
        ("/all", "/x", "b.org"),
      ] {
        let answer = traffic.ask(path)
        #expect(answer.line == "GET \(line) HTTP/1.1", "\(path)")
        #expect(answer.seen("host") == [host], "\(path)")
      }
      #expect(traffic.ask("/all").seen("x-set") == ["s"])
    }
  }

  @Test func `HTTPRouteRequestHeaderModifier, HTTPRouteResponseHeaderModifier: fields`() throws {
    let change = "{set: [{name: X-Set, value: new}], add: [{name: X-Add, value: more}], remove: [X-Gone]}"
    let rules = [
      rule("/request", "{type: RequestHeaderModifier, requestHeaderModifier: \(change)}"),
      rule("/response", "{type: ResponseHeaderModifier, responseHeaderModifier: \(change)}"),
    ]
    try with("[\(rules.joined(separator: ", "))]") { traffic in
      let asked = traffic.ask(
        "/request", [("X-Set", "old"), ("X-Add", "first"), ("X-Gone", "1"), ("X-Kept", "k")])
      #expect(asked.seen("x-set") == ["new"] && asked.seen("x-add") == ["first", "more"])
      #expect(asked.seen("x-gone").isEmpty && asked.seen("x-kept") == ["k"])
      #expect(asked.field("x-gone") == ["1"])
      let answer = traffic.ask("/response", [("X-Gone", "1")])
      #expect(answer.field("x-set") == ["new"] && answer.field("x-add") == ["more"])
      #expect(answer.field("x-gone").isEmpty && answer.field("x-backend") == ["one"])
      #expect(answer.seen("x-gone") == ["1"])
    }
  }

  @Test
  func
    `HTTPRouteBackendRequestHeaderModifier, HTTPRouteBackendURLRewrite, HTTPRouteBackendRequestRedirect, HTTPRouteRequestHeaderModifierBackendWeights: filters of one backend`()
    throws
  {
    let set = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-For, value: one}]}}"
    let rewrite =
      "{type: URLRewrite, urlRewrite: {hostname: b.org, path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}}}"
    try with(
      """
      [{matches: [{path: {value: /w}}], backendRefs: [{name: one, port: 8080, filters: [\(set)]}, {name: two, port: 8080}]},
      {matches: [{path: {value: /r}}], backendRefs: [{name: one, port: 8080, filters: [\(rewrite)]}]},
      {matches: [{path: {value: /d}}], backendRefs: [{name: one, port: 8080, filters: [\(redirect("hostname: b.org, port: 80"))]}]}]
      """
    ) { traffic in
      var seen: [String: Set<[String]>] = [:]
      for _ in 0..<60 {
        let answer = traffic.ask("/w", [("X-For", "client")])
        seen[answer.backend, default: []].insert(answer.seen("x-for"))
      }
      #expect(seen == ["one": [["one"]], "two": [["client"]]])
      let rewritten = traffic.ask("/r/x")
      #expect(rewritten.line == "GET /z/x HTTP/1.1" && rewritten.seen("host") == ["b.org"])
      let answer = traffic.ask("/d/x")
      #expect(answer.status == 302 && answer.field("location") == ["http://b.org/d/x"])
    }
  }

  @Test
  func
    `HTTPRouteRequestMirror, HTTPRouteRequestMultipleMirrors, HTTPRouteRequestPercentageMirror: copies, and one answer`()
    throws
  {
    func mirror(_ name: String, _ more: String = "", namespace: String = "") -> String {
      "{type: RequestMirror, requestMirror: {backendRef: {name: \(name), port: 8080\(namespace)}\(more)}}"
    }
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    try traffic.serve(
      gateway("gw", "name: http, port: \(traffic.ports[0]), protocol: HTTP"),
      grant(in: "web", from: "HTTPRoute", to: "{group: '', kind: Service}"),
      route(
        "a", to: "{name: gw}",
        rules: """
          [\(rule("/both", "\(mirror("two")), \(mirror("far", namespace: ", namespace: web"))")),
          \(rule("/some", mirror("two", ", percent: 25"))), \(rule("/part", mirror("two", ", fraction: {numerator: 1, denominator: 2}"))),
          \(rule("/never", mirror("two", ", percent: 0")))]
          """))
    func copies(_ name: String, _ path: String) -> Int {
      traffic.backends[name]?.heads.withLock { $0.filter { $0.hasPrefix("GET \(path) ") }.count } ?? 0
    }
    for _ in 0..<20 { #expect(traffic.ask("/both").backend == "one") }
    for name in ["two", "far"] {
      for _ in 0..<10_000 where copies(name, "/both") < 20 { usleep(1000) }
      #expect(copies(name, "/both") == 20, "\(name)")
    }
    for _ in 0..<200 { #expect(traffic.ask("/some").backend == "one") }
    for _ in 0..<200 { #expect(traffic.ask("/part").backend == "one") }
    for _ in 0..<20 { #expect(traffic.ask("/never").backend == "one") }
    // The last of all, so that the ones before it have come.
    #expect(traffic.ask("/both").backend == "one")
    for _ in 0..<10_000 where copies("two", "/both") < 21 { usleep(1000) }
    // 200 throws: ten times a standard deviation is 71 or less.
    #expect((1...121).contains(copies("two", "/some")), "\(copies("two", "/some"))")
    #expect((29...171).contains(copies("two", "/part")), "\(copies("two", "/part"))")
    #expect(copies("two", "/never") == 0)
  }

  @Test func `HTTPRouteRequestMirror as the filter of one backend: copies of its share alone`() throws {
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: two, port: 8080}}}"
    try traffic.serve(
      gateway("gw", "name: http, port: \(traffic.ports[0]), protocol: HTTP"),
      route(
        "a", to: "{name: gw}",
        rules: """
          [{matches: [{path: {value: /with}}], backendRefs: [{name: one, port: 8080, filters: [\(mirror)]}]},
          {matches: [{path: {value: /beside}}],
           backendRefs: [{name: one, port: 8080}, {name: one, port: 8080, weight: 0, filters: [\(mirror)]}]}]
          """))
    func copies(_ path: String) -> Int {
      traffic.backends["two"]?.heads.withLock { $0.filter { $0.hasPrefix("GET \(path) ") }.count } ?? 0
    }
    for _ in 0..<20 { #expect(traffic.ask("/beside").backend == "one") }
    for _ in 0..<20 { #expect(traffic.ask("/with").backend == "one") }
    for _ in 0..<10_000 where copies("/with") < 20 { usleep(1000) }
    #expect(copies("/with") == 20)
    #expect(copies("/beside") == 0)
  }

  @Test func `HTTPRouteTimeoutRequest, HTTPRouteTimeoutBackendRequest: 504`() throws {
    try with(
      """
      [{matches: [{path: {value: /slow/9000}}], timeouts: {request: 300ms}, \(one)},
      {matches: [{path: {value: /slow/9001}}], timeouts: {request: 5s, backendRequest: 100ms}, \(one)},
      {matches: [{path: {value: /slow/50}}], timeouts: {request: 0s}, \(one)}, {matches: [{path: {value: /fast}}], timeouts: {request: 10s}, \(one)}]
      """
    ) { traffic in
      #expect(traffic.ask("/slow/9000").status == 504)
      #expect(traffic.ask("/slow/9001").status == 504)
      #expect(traffic.ask("/slow/50").status == 200)
      #expect(traffic.ask("/fast").status == 200)
    }
  }

  @Test
  func
    `HTTPRouteRetry, HTTPRouteRetryConnectionError, HTTPRouteRetryWithTimeouts: as often as is said, after what is said`()
    throws
  {
    func rule(_ path: String, _ retry: String, _ timeouts: String = "") -> String {
      "{matches: [{path: {value: \(path)}}], retry: {\(retry)}, \(timeouts)\(one)}"
    }
    try with(
      "["
        + [
          rule("/three", "codes: [500], attempts: 3"),
          rule("/two", "codes: [500, 502, 503, 504], attempts: 2"),
          rule("/broken", "attempts: 3"), rule("/late", "attempts: 2", "timeouts: {backendRequest: 1s}, "),
          rule(
            "/whole", "codes: [500], attempts: 5, backoff: 10ms",
            "timeouts: {backendRequest: 2s, request: 2s}, "),
        ].joined(separator: ", ") + "]"
    ) { traffic in
      // Status, milliseconds, times: and what the client sees of it.
      for (path, status) in [
        ("/three?500,0,2", 200), ("/three?500,0,4", 500), ("/three?503,0,2", 503), ("/two?500,0,1", 200),
        ("/two?500,0,3", 500), ("/two?502,0,1", 200), ("/two?502,0,3", 502), ("/two?503,0,1", 200),
        ("/two?503,0,3", 503), ("/two?504,0,1", 200), ("/two?504,0,3", 504), ("/broken?0,0,2", 200),
        ("/broken?0,0,4", 502), ("/late?200,4000,2", 200), ("/late?200,4000,3", 504),
        ("/whole?500,0,4", 200), ("/whole?500,900,5", 504),
      ] {
        #expect(traffic.ask(path).status == status, "\(path)")
      }
      let last = traffic.backends["one"]?.heads.withLock { $0.filter { $0.contains("/three?500,0,4") }.count }
      #expect(last == 4, "the first and three more")
    }
  }

  @Test func `HTTPRouteCORS: preflights are answered, origins are told`() throws {
    let cors = """
      {type: CORS, cors: {allowOrigins: ['https://www.foo.com', 'https://*.bar.com'], allowMethods: [GET, OPTIONS],
      allowHeaders: [x-a, x-b], exposeHeaders: [x-c], allowCredentials: true, maxAge: 60}}
      """
    try with(
      "[\(rule("/cors", cors)), \(rule("/open", "{type: CORS, cors: {allowOrigins: ['*'], allowMethods: ['*']}}"))]"
    ) {
      traffic in
      let preflight = [("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "x-a")]
      for origin in ["https://www.foo.com", "https://www.bar.com", "https://x.y.bar.com"] {
        let answer = traffic.ask("/cors", method: "OPTIONS", [("Origin", origin)] + preflight)
        #expect((200...204).contains(answer.status) && answer.body.isEmpty)
        #expect(answer.field("access-control-allow-origin") == [origin])
        #expect(answer.field("access-control-allow-methods") == ["GET, OPTIONS"])
        #expect(answer.field("access-control-allow-headers") == ["x-a, x-b"])
        #expect(answer.field("access-control-allow-credentials") == ["true"])
        #expect(answer.field("access-control-max-age") == ["60"])
      }
      let refused = traffic.ask("/cors", method: "OPTIONS", [("Origin", "https://foo.com")] + preflight)
      #expect(refused.field("access-control-allow-origin").isEmpty)
      let answer = traffic.ask("/cors", [("Origin", "https://www.foo.com")])
      #expect(
        answer.backend == "one" && answer.field("access-control-allow-origin") == ["https://www.foo.com"])
      #expect(answer.field("access-control-expose-headers") == ["x-c"])
      #expect(
        traffic.ask("/cors", [("Origin", "https://foo.com")]).field("access-control-allow-origin").isEmpty)
      #expect(traffic.ask("/open", [("Origin", "http://any")]).field("access-control-allow-origin") == ["*"])
    }
  }

  @Test func `HTTPRouteBackendProtocolWebSocket: an upgrade passes through`() throws {
    let traffic = try Traffic(ports: 1)
    defer { traffic.stop() }
    try traffic.serve(
      """
      apiVersion: v1
      kind: Service
      metadata: {name: one, namespace: infra}
      spec: {clusterIP: 10.43.0.11, ports: [{name: http, port: 8080, appProtocol: kubernetes.io/ws}]}
      """, gateway("gw", "name: http, port: \(traffic.ports[0]), protocol: HTTP"),
      route("a", to: "{name: gw}"))
    let stream = traffic.connect()
    stream.send(
      "GET /chat HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    #expect(stream.head()?.hasPrefix("HTTP/1.1 101 ") == true)
    stream.send("hello")
    #expect(stream.read(5) == Array("hello".utf8))
  }
}

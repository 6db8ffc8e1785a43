// Filters as clients and endpoints meet them, the same over HTTP/1.1 and HTTP/2: one worker on loopback, curl in front.

import Addresses
import Foundation
import Patterns
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct FilterTests {
  private static let versions = ["--http1.1", "--http2-prior-knowledge"]

  /// One rule `/` with an action, two backends: 0 named `main`, 1 named `other`.
  private final class Lab {
    let main: Backend
    let other: Backend
    let ingress: TestIngress

    init(
      path: RoutePath = RoutePath(path: "/", kind: .prefix, backend: 0, action: 0), more: [RouteAction] = [],
      _ change: (inout RouteAction) throws -> Void
    ) throws {
      main = try Backend("main")
      other = try Backend("other")
      var action = RouteAction()
      try change(&action)
      let backends = [main, other].map {
        RouteBackend(
          namespace: "demo", ingress: "web", service: $0.name, servicePort: "80", endpoints: [$0.endpoint])
      }
      let table = RouteTable(
        backends: backends, actions: [action] + more, hosts: [RouteHost(name: "", paths: [path])])
      // As the data plane gets it.
      ingress = try TestIngress(try RouteTable(encoded: table.encoded()))
    }
    func stop() {
      ingress.stop()
      main.kill()
      other.kill()
    }
    /// Head in lower case and body, apart.
    func curl(_ version: String, _ path: String, _ arguments: String...) -> (head: String, body: String) {
      let url = "http://127.0.0.1:\(ingress.endpoint.port)\(path)"
      let output = run(["curl", "-sSi", "-m", "20", "--path-as-is", version] + arguments + [url]).text
      let parts = output.components("\r\n\r\n")
      return (parts[0].lowercased() + "\r\n", parts.dropFirst().joined(separator: "\r\n\r\n"))
    }
    func status(_ version: String, _ path: String, _ arguments: String...) -> String {
      let url = "http://127.0.0.1:\(ingress.endpoint.port)\(path)"
      return run(
        ["curl", "-sS", "-m", "20", version, "-o", "/dev/null", "-w", "%{http_code}"] + arguments + [url]
      ).text
    }
  }

  @Test(arguments: versions) func `fields are removed, set and added, on the way there and back`(
    version: String
  ) throws {
    let lab = try Lab {
      $0.request = HeaderEdit(
        remove: ["X-Gone", "x-request-id"],
        set: [
          try #require(HeaderField("X-Set", "ours")), try #require(HeaderField("X-Forwarded-Proto", "https")),
        ], add: [try #require(HeaderField("X-Add", "second"))])
      $0.response = HeaderEdit(
        remove: ["content-type"], set: [try #require(HeaderField("Server", "mine"))],
        add: [try #require(HeaderField("X-Answer", "a b"))])
    }
    defer { lab.stop() }
    let (head, body) = lab.curl(
      version, "/head", "-H", "X-Gone: 1", "-H", "x-set: theirs", "-H", "X-Set: again", "-H", "X-Add: first",
      "-H", "X-Kept: 1")
    let seen = body.lowercased()
    #expect(
      seen.components("x-set: ours\r\n").count == 2 && !seen.contains("theirs") && !seen.contains("again"))
    #expect(seen.contains("x-add: first\r\n") && seen.contains("x-add: second\r\n"))
    #expect(!seen.contains("x-gone") && seen.contains("x-kept: 1"))
    // One reading of where the request came from: ours gives way to the rule's, and does not stand beside it.
    #expect(seen.components("x-forwarded-proto:").count == 2 && seen.contains("x-forwarded-proto: https\r\n"))
    #expect(seen.contains("x-forwarded-host:") && seen.contains("x-real-ip: 127.0.0.1\r\n"))
    #expect(head.contains("\r\nx-answer: a b\r\n") && head.contains("\r\nserver: mine\r\n"))
    // The next request on the same rule is the same.
    #expect(lab.curl(version, "/head").head.contains("\r\nx-answer: a b\r\n"))
  }

  @Test(arguments: versions) func `a prefix is replaced as Gateway API's table says`(version: String) throws {
    for (prefix, replacement, asked, wanted) in [
      ("/head", "/xyz", "/head/bar", "/xyz/bar"), ("/head", "/xyz/", "/head/bar?q=1", "/xyz/bar?q=1"),
      ("/head/", "/xyz", "/head/bar", "/xyz/bar"), ("/head", "/xyz", "/head", "/xyz"),
      ("/head", "/xyz", "/head/", "/xyz/"), ("/head", "", "/head/bar", "/bar"), ("/head", "/", "/head", "/"),
      ("/head", "/", "/head/?a", "/?a"),
    ] {
      let lab = try Lab(path: RoutePath(path: prefix, kind: .prefix, backend: 0, action: 0)) {
        $0.rewrite = RouteRewrite(path: RouteRewrite.prefix(replacement))
        $0.redirect = RouteRedirect(
          status: 302,
          place: .parts(scheme: "https", host: "e.example", port: 0, path: RouteRewrite.prefix(replacement)))
      }
      let (head, _) = lab.curl(version, asked)
      #expect(head.contains("\r\nlocation: https://e.example\(wanted)\r\n"), "\(prefix) \(asked): \(head)")
      lab.stop()
    }
  }

  @Test(arguments: versions) func `target and host are rewritten, with groups of the rule's expression`(
    version: String
  ) throws {
    let pattern = try BytePattern("^/something(/|$)(.*)", foldsCase: true)
    let lab = try Lab(path: RoutePath(pattern: pattern, backend: 0, action: 0)) {
      $0.rewrite = RouteRewrite(
        host: RouteTemplate("inner.example"), path: .whole(try #require(RouteTemplate("/$2"))))
    }
    defer { lab.stop() }
    let (_, body) = lab.curl(version, "/Something/head?x=1")
    #expect(body.hasPrefix("GET /head?x=1 HTTP/1.1\r\nHost: inner.example\r\n"))
    #expect(body.contains("X-Forwarded-Host: 127.0.0.1:"))
    #expect(lab.curl(version, "/something").body == "main")
    #expect(lab.status(version, "/somethings") == "404")
    // What the group brings is what was sent, undecoded: nothing is read twice.
    #expect(
      lab.curl(version, "/something/head?%0d%0aX:1").body.hasPrefix("GET /head?%0d%0aX:1 HTTP/1.1\r\n"))
  }

  @Test(arguments: versions) func `redirects change parts of the address and keep the rest`(
    version: String
  ) throws {
    for (status, place, wanted) in [
      (301, .parts(scheme: nil, host: nil, port: 8443, path: nil), "http://127.0.0.1:8443/a?b=c"),
      (302, .parts(scheme: "https", host: nil, port: 0, path: nil), "https://127.0.0.1/a?b=c"),
      (303, .parts(scheme: "http", host: "o.example", port: 80, path: nil), "http://o.example/a?b=c"),
      (
        307,
        .parts(
          scheme: nil, host: "o.example", port: 0, path: .whole(try #require(RouteTemplate("/whole")))), nil
      ),
      (
        308, .location(try #require(RouteTemplate("https://x.example$request_uri"))),
        "https://x.example/a?b=c"
      ),
      (302, .location(try #require(RouteTemplate("/in?rd=$escaped_request_uri"))), "/in?rd=%2Fa%3Fb%3Dc"),
    ] as [(UInt16, RouteRedirect.Place, String?)] {
      let lab = try Lab { $0.redirect = RouteRedirect(status: status, place: place) }
      let (head, _) = lab.curl(version, "/a?b=c")
      // Without a port or a scheme the listener's port stays.
      let wanted = wanted ?? "http://o.example:\(lab.ingress.endpoint.port)/whole?b=c"
      #expect(head.components("\r\n")[0].contains(" \(status)"), "\(head)")
      #expect(head.contains("\r\nlocation: \(wanted.lowercased())\r\n"), "\(head)")
      #expect(lab.main.served.load(ordering: .relaxed) == 0)
      lab.stop()
    }
  }

  @Test(arguments: versions) func `weights share requests, with what each backend adds`(version: String)
    throws
  {
    var added = RouteAction()
    added.request = HeaderEdit(set: [try #require(HeaderField("X-Share", "other"))])
    let lab = try Lab(more: [added]) {
      $0.request = HeaderEdit(set: [try #require(HeaderField("X-Rule", "1"))])
      $0.targets = [
        RouteTarget(backend: 0, weight: 3), RouteTarget(backend: 1, weight: 1, action: 1),
      ]
    }
    defer { lab.stop() }
    // curl uses a connection of HTTP/2 a second time only when it was agreed on in TLS.
    let (flag, place) =
      version == "--http1.1"
      ? (version, "http://127.0.0.1:\(lab.ingress.endpoint.port)")
      : ("--http2", "https://127.0.0.1:\(lab.ingress.secure.port)")
    let urls = (0..<200).map { _ in "\(place)/head" }
    let output = run(["curl", "-sSk", "-m", "20", flag] + urls).text
    let seen = output.components("GET /head").count - 1
    #expect(seen == 200 && output.components("X-Rule: 1").count == 201)
    let shares = output.components("X-Share: other").count - 1
    #expect(lab.other.served.load(ordering: .relaxed) == shares)
    // 50 are expected; 15 and 95 lie seven deviations away.
    #expect(shares > 15 && shares < 95, "\(shares)")
  }

  @Test(arguments: versions) func `a share of nobody is answered 500 and no share at all as well`(
    version: String
  ) throws {
    for targets in [[RouteTarget(backend: -1)], [RouteTarget(backend: 0, weight: 0)]] {
      let lab = try Lab { $0.targets = targets }
      #expect(lab.status(version, "/") == "500")
      #expect(lab.main.served.load(ordering: .relaxed) == 0)
      lab.stop()
    }
  }

  @Test(arguments: versions) func `scripts of allowed origins may read, others not`(version: String) throws {
    let lab = try Lab {
      $0.cors = RouteCORS(
        origins: ["https://a.example", "https://*.b.example"], methods: "GET, PUT", headers: "X-One",
        exposed: "X-Two", maxAge: 60, allowsCredentials: true)
    }
    defer { lab.stop() }
    func ask(_ origin: String, _ more: String...) -> (head: String, body: String) {
      let url = "http://127.0.0.1:\(lab.ingress.endpoint.port)/"
      let parts = run(["curl", "-sSi", "-m", "20", version, "-H", "Origin: \(origin)"] + more + [url]).text
        .components("\r\n\r\n")
      return (parts[0].lowercased() + "\r\n", String(parts.last ?? ""))
    }
    for origin in ["https://a.example", "https://x.y.b.example"] {
      let (head, body) = ask(origin)
      #expect(head.contains("\r\naccess-control-allow-origin: \(origin)\r\n") && body == "main")
      #expect(head.contains("\r\naccess-control-allow-credentials: true\r\n"))
      #expect(head.contains("\r\naccess-control-expose-headers: x-two\r\n"))
    }
    for origin in [
      "https://evil.example", "https://b.example", "http://a.example", "https://evil.example/.b.example",
      "null",
      "https://a.example.evil",
    ] { #expect(!ask(origin).head.contains("access-control"), "\(origin)") }
    let before = lab.main.served.load(ordering: .relaxed)
    let (head, _) = ask("https://a.example", "-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT")
    #expect(head.components("\r\n")[0].contains(" 204"))
    for line in [
      "access-control-allow-methods: get, put", "access-control-allow-headers: x-one",
      "access-control-max-age: 60", "access-control-allow-origin: https://a.example",
    ] { #expect(head.contains("\r\n\(line)\r\n"), "\(line) in \(head)") }
    #expect(lab.main.served.load(ordering: .relaxed) == before)
    // An OPTIONS that is no preflight is the endpoint's.
    #expect(ask("https://a.example", "-X", "OPTIONS").body == "main")
  }

  @Test(arguments: versions) func `addresses, names and passwords keep strangers out`(version: String) throws
  {
    let closed = try Lab { $0.sources = RouteSources(allowed: [IPPrefix("10.0.0.0/8")!]) }
    #expect(closed.status(version, "/") == "403")
    closed.stop()
    let denied = try Lab { $0.sources = RouteSources(denied: [IPPrefix("127.0.0.0/8")!]) }
    #expect(denied.status(version, "/") == "403")
    denied.stop()
    let lab = try Lab {
      $0.sources = RouteSources(allowed: [IPPrefix("127.0.0.1/32")!])
      $0.credentials = RouteCredentials(
        realm: "Shop",
        users: [
          "apr": "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "sha": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
          "crypt": run(["openssl", "passwd", "-6", "-salt", "salt", "secret"]).text
            .trimmingCharacters(in: .whitespacesAndNewlines),
        ])
    }
    defer { lab.stop() }
    let (head, _) = lab.curl(version, "/")
    #expect(head.components("\r\n")[0].contains(" 401"))
    #expect(head.contains("\r\nwww-authenticate: basic realm=\"shop\"\r\n"))
    for user in ["apr", "sha", "crypt"] {
      #expect(lab.status(version, "/", "-u", "\(user):secret") == "200", "\(user)")
      #expect(lab.status(version, "/", "-u", "\(user):secret") == "200", "\(user) again")
      #expect(lab.status(version, "/", "-u", "\(user):secrets") == "401", "\(user)")
      #expect(lab.status(version, "/", "-u", "\(user):") == "401", "\(user)")
    }
    #expect(lab.status(version, "/", "-u", "nobody:secret") == "401")
    #expect(lab.status(version, "/", "-H", "Authorization: Basic %%%") == "401")
    #expect(lab.main.served.load(ordering: .relaxed) == 6)
  }

  /// The backend `other` decides: it answers by path, and what it got is seen in what `/head` says.
  @Test(arguments: versions) func `a request passes when the service that is asked says so`(
    version: String
  ) throws {
    for (target, more, status, served) in [
      ("/verdict/200", [], "200", 1), ("/verdict/204", ["-d", "a body"], "200", 1),
      ("/verdict/401", [], "401", 0),
      ("/verdict/403", ["-d", "a body"], "403", 0), ("/verdict/500", [], "500", 0),
      ("/hang-up", [], "500", 0),
      ("/verdict/302", [], "500", 0),
    ] as [(String, [String], String, Int)] {
      let lab = try Lab {
        $0.authorization = RouteAuthorization(
          backend: 1, host: "auth.example", target: try #require(RouteTemplate(target)), forwarded: ["X-User"]
        )
      }
      let place = "http://127.0.0.1:\(lab.ingress.endpoint.port)/head"
      let output = run(
        ["curl", "-sS", "-m", "20", version, "-w", "\n%{http_code}", "-H", "X-User: root"] + more + [place]
      ).text
      #expect(output.hasSuffix("\n\(status)"), "\(target): \(output)")
      #expect(lab.main.served.load(ordering: .relaxed) == served, "\(target)")
      if target == "/verdict/200" {
        // What the decider says, and not what the client says of himself.
        #expect(output.contains("\r\nX-User: alice\r\n") && !output.contains("root"))
      }
      if target == "/verdict/204" { #expect(output.contains("6 ") && !output.contains("root")) }
      lab.stop()
    }
    let lab = try Lab {
      $0.authorization = RouteAuthorization(
        backend: 1, host: "auth.example", target: try #require(RouteTemplate("/verdict/401")),
        signIn: RouteTemplate("https://$host/start?rd=$escaped_request_uri"))
    }
    let head = lab.curl(version, "/a?b=c").head
    #expect(head.components("\r\n")[0].contains(" 302"))
    #expect(head.contains("\r\nlocation: https://127.0.0.1/start?rd=%2fa%3fb%3dc\r\n"))
    #expect(head.contains("\r\nset-cookie: asked=401; path=/\r\n"))
    lab.stop()
    let gone = try Lab {
      $0.authorization = RouteAuthorization(
        backend: 1, host: "auth.example", target: try #require(RouteTemplate("/verdict/200")))
    }
    gone.other.kill()
    #expect(gone.status(version, "/") == "500")
    #expect(gone.main.served.load(ordering: .relaxed) == 0)
    gone.ingress.stop()
    gone.main.kill()
  }

  @Test(arguments: versions)
  func `cookies of the service that is asked go to the client where nginx adds fields`(
    version: String
  ) throws {
    for (path, always, isSet) in [
      ("/", false, true), ("/204", false, true), ("/304", false, true), ("/verdict/404", false, false),
      ("/verdict/503", false, false), ("/verdict/404", true, true), ("/hang-up", false, false),
    ] {
      let lab = try Lab {
        $0.authorization = RouteAuthorization(
          backend: 1, host: "auth.example", target: try #require(RouteTemplate("/verdict/200")),
          alwaysSetsCookie: always)
      }
      let head = lab.curl(version, path).head
      #expect(head.contains("\r\nset-cookie: asked=200; path=/\r\n") == isSet, "\(path) \(head)")
      lab.stop()
    }
  }

  @Test(arguments: versions) func `bodies beyond the rule's limit are refused, told or not`(
    version: String
  ) throws {
    let lab = try Lab { $0.bodyBytesMax = 1000 }
    defer { lab.stop() }
    let fits = String(repeating: "x", count: 1000)
    #expect(lab.status(version, "/", "-d", fits) == "200")
    if version == "--http1.1" {
      #expect(lab.status(version, "/", "-d", fits + "x") == "413")
      let chunked = ["-H", "Transfer-Encoding: chunked", "-H", "Expect:"]
      #expect(
        lab.status(version, "/", chunked[0], chunked[1], chunked[2], chunked[3], "-d", fits + "x") == "413")
    } else {
      // Frame by frame: curl forgets an answer that comes while it still has body to send.
      let client = FrameClient(lab.ingress)
      let post = [(":method", "POST")] + getFields.dropFirst()
      client.get(1, post + [("content-length", "1001")], ends: false)
      #expect(client.answer(1)?.status == 413)
      client.get(3, post, ends: false)
      client.send(Frame(kind: 0, stream: 3, payload: Array((fits + "x").utf8)))
      #expect(client.answer(3)?.status == 413)
    }
    #expect(lab.status(version, "/", "-d", fits) == "200")
  }

  @Test(arguments: versions) func `a client gets its cookie once`(version: String) throws {
    let lab = try Lab {
      $0.cookie = RouteCookie(name: "route", attributes: "; Path=/; HttpOnly", isSecure: true)
    }
    defer { lab.stop() }
    let head = lab.curl(version, "/").head
    let cookies = head.components("\r\n").filter { $0.hasPrefix("set-cookie: route=") }
    #expect(cookies.count == 1 && cookies[0].hasSuffix("; path=/; httponly"))
    #expect(!lab.curl(version, "/", "-H", "Cookie: a=1; route=abc").head.contains("set-cookie"))
  }

  @Test(arguments: versions) func `a client that asks too often or too much at once is answered 503`(
    version: String
  ) throws {
    let lab = try Lab { $0.limits = [RouteLimit(name: "a", perMinute: 1, burst: 4)] }
    let statuses = (0..<8).map { _ in lab.status(version, "/") }
    #expect(statuses == Array(repeating: "200", count: 5) + Array(repeating: "503", count: 3))
    lab.stop()
    let busy = try Lab { $0.limits = [RouteLimit(name: "b", atOnce: 2)] }
    defer { busy.stop() }
    var clients: [Client] = []
    for _ in 0..<2 {
      clients.append(Client(busy.ingress.endpoint))
      clients.last?.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
    }
    #expect(eventually { busy.main.served.load(ordering: .relaxed) == 2 })
    #expect(busy.status(version, "/") == "503")
    // Closed with a reset: an end alone could be that of a client that still reads.
    for client in clients {
      var hard = linger(l_onoff: 1, l_linger: 0)
      setsockopt(client.raw, SOL_SOCKET, SO_LINGER, &hard, socklen_t(MemoryLayout<linger>.size))
    }
    clients = []
    // Their places are free once their connections are gone.
    #expect(eventually { busy.status(version, "/") == "200" })
    for _ in 0..<5 { #expect(busy.status(version, "/") == "200") }
  }

  @Test func `clients that are known are bounded, and a client at rest is forgotten`() {
    let meter = ClientMeter()
    let limit = RouteLimit(name: "n", perMinute: 60, burst: 1)
    func address(_ index: Int) -> IPAddress { .v4(IPv4Address(bits: UInt32(index))) }
    func isAdmitted(_ index: Int, _ now: UInt64) -> Bool {
      if case .admitted = meter.enter(limit, address(index), now: now) { true } else { false }
    }
    for index in 0..<ClientMeter.entriesMax { #expect(isAdmitted(index, 0)) }
    #expect(!isAdmitted(0xffff_ffff, 1))
    #expect(isAdmitted(1, 0) && !isAdmitted(1, 0))
    #expect(isAdmitted(1, 1000) && !isAdmitted(1, 1500))
    #expect(isAdmitted(0xffff_ffff, 60_100) && meter.count < 10)
  }
}

// The routing table beyond hosts and paths: conditions, patterns, listeners, Gateway API's order, and that many rules cost no
// more than few.

import Addresses
import FuzzLab
import Patterns
import Testing

@testable import Ingress

private func backend(_ service: String) -> RouteBackend {
  RouteBackend(namespace: "n", ingress: "i", service: service, servicePort: "80", endpoints: [])
}

private func table(_ paths: [RoutePath], _ name: String = "") -> RouteTable {
  RouteTable(
    backends: (0..<(paths.map(\.backend).max() ?? 0) + 1).map { backend("\($0)") },
    hosts: [RouteHost(name: name, paths: paths)])
}

/// What the index has to agree with: every rule tried, the best one kept.
private func reference(_ paths: [RoutePath], _ request: String) -> Int? {
  let bytes = Array(request.utf8)
  return paths.filter { path in
    switch path.kind {
    case .exact: path.path == bytes
    case .prefix:
      bytes.starts(with: path.path)
        && (bytes.count == path.path.count || bytes[path.path.count] == UInt8(ascii: "/"))
    case .pattern: path.pattern?.matches(bytes) == true
    }
  }.min { a, b in
    if a.kind != b.kind { return a.kind.rawValue < b.kind.rawValue }
    return a.path.count > b.path.count
  }?.backend
}

@Suite struct MatchTests {
  @Test(arguments: [UInt64(1), 2, 3]) func `the index finds what trying every rule finds`(seed: UInt64) {
    var random = SeededNumbers(seed)
    func path() -> String {
      let words = ["", "a", "b", "ab", "api", "v1"]
      return (0..<Int.random(in: 1...5, using: &random)).map { _ in
        "/" + (words.randomElement(using: &random) ?? "")
      }.joined()
    }
    for count in [3, 8, 9, 60, 400] {
      var seen: Set<String> = []
      var paths: [RoutePath] = []
      for index in 0..<count {
        let isExact = Bool.random(using: &random)
        let rule = RoutePath(path: path(), isExact: isExact, backend: index)
        guard seen.insert("\(rule.kind) \(rule.path)").inserted else { continue }
        paths.append(rule)
      }
      let table = RouteTable(
        backends: (0..<count).map { backend("\($0)") },
        hosts: [RouteHost(name: "h", paths: paths), RouteHost(name: "g", paths: paths)])
      for _ in 0..<300 {
        let request = path()
        #expect(table.match(host: "h", path: request)?.backend == reference(paths, request), "\(request)")
        #expect(table.match(host: "g", path: request)?.backend == reference(paths, request), "\(request)")
      }
    }
  }

  /// The order of HTTPRouteRule.matches: exact path, longest prefix, method, most fields, most parameters, then the order given.
  @Test func `of several rules that match the one that asks for most wins`() {
    let header = FieldMatch("Version", .exact("two"))
    let color = FieldMatch("color", .exact("orange"))
    let parameter = FieldMatch("animal", .exact("whale"))
    func rule(_ path: String, _ backend: Int, _ conditions: RouteConditions? = nil) -> RoutePath {
      RoutePath(path: path, kind: .prefix, backend: backend, conditions: conditions)
    }
    let rules = [
      rule("/", 0), rule("/v2", 1), rule("/v2", 2, RouteConditions(query: [parameter])),
      rule("/v2", 3, RouteConditions(fields: [header])),
      rule("/v2", 4, RouteConditions(fields: [header, color])),
      rule("/v2", 5, RouteConditions(method: "POST")), rule("/", 6, RouteConditions(fields: [header])),
      RoutePath(path: "/v2/exact", kind: .exact, backend: 7),
      rule("/v2", 8, RouteConditions(fields: [header])),
    ]
    // The same among few rules and among many: both ways of looking up.
    let many = (0..<50).map { RoutePath(path: "/other/\($0)", isExact: $0 % 2 == 0, backend: 0) }
    for table in [table(rules), table(rules + many)] {
      func served(
        _ path: String, _ fields: [(String, String)] = [], method: String = "GET"
      ) -> Int? { table.match(host: "x", path: path, method: method, fields: fields)?.backend }
      #expect(served("/") == 0)
      #expect(served("/v2") == 1)
      #expect(served("/v2?animal=whale") == 2)
      #expect(served("/v2?a=1&animal=whale&animal=dolphin") == 2)
      #expect(served("/v2?animal=dolphin&animal=whale") == 1)
      #expect(served("/v2?animals=whale") == 1)
      #expect(served("/v2?animal=whale", [("version", "two")]) == 3)
      #expect(served("/v2", [("VERSION", "two")]) == 3)
      #expect(served("/v2", [("version", "two"), ("Color", "orange")]) == 4)
      #expect(served("/v2", [("version", "two"), ("Color", "orange")], method: "POST") == 5)
      #expect(served("/", [("version", "two")]) == 6)
      #expect(served("/v2/exact", [("version", "two")], method: "POST") == 7)
      #expect(served("/v2", [("version", "Two")]) == 1)
      // Lines of one field are one value (RFC 9110 section 5.3): neither line is a match alone.
      #expect(served("/v2", [("version", "two"), ("version", "two")]) == 1)
      #expect(served("/v2", [("version", "two"), ("color", "orange")], method: "post") == 4)
    }
  }

  @Test func `fields match by expression and by presence, joined when they come twice`() throws {
    let table = table([
      RoutePath(
        path: "/", kind: .prefix, backend: 1,
        conditions: RouteConditions(fields: [FieldMatch("x", .pattern(try BytePattern("^(a|b,c)$")))])),
      RoutePath(
        path: "/", kind: .prefix, backend: 2,
        conditions: RouteConditions(fields: [FieldMatch("y", .present)])),
      RoutePath(
        path: "/", kind: .prefix, backend: 3,
        conditions: RouteConditions(cookies: [FieldMatch("canary", .exact("always"))])),
      RoutePath(path: "/", kind: .prefix, backend: 0),
    ])
    func served(_ fields: [(String, String)]) -> Int? {
      table.match(host: "x", path: "/", fields: fields)?.backend
    }
    #expect(served([("x", "a")]) == 1)
    #expect(served([("x", "b"), ("x", "c")]) == 1)
    #expect(served([("x", "b")]) == 0)
    #expect(served([("Y", "")]) == 2)
    #expect(served([("cookie", "a=1; canary=always")]) == 3)
    #expect(served([("cookie", "a=1"), ("cookie", "canary=always; b")]) == 3)
    #expect(served([("cookie", "xcanary=always")]) == 0)
    #expect(served([("cookie", "canary=never")]) == 0)
  }

  @Test func `expressions stand between exact paths and prefixes, the longest first`() throws {
    let rules = [
      RoutePath(path: "/a/exact", kind: .exact, backend: 0),
      RoutePath(pattern: try BytePattern("^/a/[a-z]+$"), backend: 1),
      RoutePath(pattern: try BytePattern("^/a"), backend: 2),
      RoutePath(path: "/a/b/c", kind: .prefix, backend: 3), RoutePath(path: "/", kind: .prefix, backend: 4),
    ]
    let many = (0..<20).map { RoutePath(path: "/n/\($0)", isExact: true, backend: 0) }
    for table in [table(rules), table(rules + many)] {
      for (path, wanted) in [("/a/exact", 0), ("/a/xyz", 1), ("/a/b/c", 2), ("/a/1", 2), ("/b", 4)] {
        #expect(table.match(host: "", path: path)?.backend == wanted, "\(path)")
      }
    }
  }

  @Test func `the most specific listener of a port takes a request, and no other`() {
    func host(_ name: String, _ backend: Int) -> RouteHost {
      RouteHost(name: name, paths: [RoutePath(path: "/", isExact: false, backend: backend)])
    }
    let listeners = [
      RouteListener(port: 80, hosts: [host("", 0)], hostsOverlap: true),
      RouteListener(
        port: 80, hostname: "*.example.com", hosts: [host("*.example.com", 1), host("a.b.example.com", 2)],
        hostsOverlap: true),
      RouteListener(
        port: 80, hostname: "very.example.com", hosts: [host("very.example.com", 3)], hostsOverlap: true),
      RouteListener(port: 8080, hosts: [host("", 4)], hostsOverlap: true),
    ]
    let table = RouteTable(backends: (0..<5).map { backend("\($0)") }, actions: [], listeners: listeners)
    func served(_ host: String, _ port: UInt16) -> Int? {
      table.match(host: host, path: "/", port: port)?.backend
    }
    #expect(served("other.org", 80) == 0)
    #expect(served("x.example.com", 80) == 1)
    // Any number of labels, as Gateway API has it; the name itself is not among them.
    #expect(served("x.y.z.example.com", 80) == 1)
    #expect(served("a.b.example.com", 80) == 2)
    #expect(served("very.example.com:80", 80) == 3)
    #expect(served("example.com", 80) == 0)
    #expect(served("x.example.com", 8080) == 4)
    #expect(served("x.example.com", 9090) == nil)
  }

  @Test func `an address of a port has its own listeners and no other's`() throws {
    func listener(_ port: UInt16, _ addresses: [String], _ hostname: String, _ backend: Int) -> RouteListener
    {
      RouteListener(
        port: port, addresses: addresses.compactMap { IPAddress($0) }, hostname: hostname,
        hosts: [RouteHost(name: hostname, paths: [RoutePath(path: "/", isExact: false, backend: backend)])],
        hostsOverlap: true)
    }
    let listeners = [
      listener(80, [], "", 0), listener(80, ["192.0.2.1", "2001:db8::1"], "a.org", 1),
      listener(80, ["192.0.2.1", "2001:db8::1"], "b.org", 2), listener(80, ["192.0.2.2"], "", 3),
      listener(0, [], "", 4), listener(81, ["192.0.2.1"], "", 5),
    ]
    let table = RouteTable(backends: (0..<6).map { backend("\($0)") }, actions: [], listeners: listeners)
    #expect(table.namesAddresses && !RouteTable(hosts: []).namesAddresses)
    #expect(try RouteTable(encoded: table.encoded()) == table)
    func served(_ host: String, _ address: String?, _ port: UInt16 = 80) -> Int? {
      table.match(host: host, path: "/", port: port, address: address.flatMap { IPAddress($0) })?.backend
    }
    #expect(served("a.org", "192.0.2.1") == 1 && served("b.org", "2001:db8::1") == 2)
    #expect(served("c.org", "192.0.2.1") == nil, "not even those of no address")
    #expect(served("a.org", "192.0.2.2") == 3 && served("a.org", "192.0.2.9") == 0)
    #expect(served("a.org", nil) == 0)
    #expect(served("a.org", "192.0.2.1", 81) == 5 && served("a.org", "192.0.2.2", 81) == 4)
    func names(_ address: String, _ port: UInt16 = 80) -> Bool {
      table.hasNames(at: ListenerPlace(port, IPAddress(address)))
    }
    #expect(names("192.0.2.1") && !names("192.0.2.2") && !names("192.0.2.9") && !names("192.0.2.1", 82))
  }

  /// Which of them a connection would be for could not be said.
  @Test(arguments: [
    ([["192.0.2.1"], ["192.0.2.1", "192.0.2.2"]], false), ([["192.0.2.2", "192.0.2.1"]], false),
    ([["192.0.2.1", "192.0.2.1"]], false), ([["192.0.2.1"], ["192.0.2.1"]], false), ([[], []], false),
    ([["192.0.2.1"], ["192.0.2.2"], []], true),
  ])
  func `addresses of a port that are neither the same nor distinct are refused`(
    addresses: [[String]], isGood: Bool
  ) throws {
    let all = addresses.map { $0.compactMap { IPAddress($0) } }
    var routes = FrameWriter(RouteTable.magic)
    routes.list([RouteBackend]()) { $0.write(to: &$1) }
    routes.list([RouteAction]()) { $0.write(&$1) }
    routes.list(all) { RouteListener(port: 80, addresses: $0, hosts: []).write(&$1) }
    routes.text([])
    let frame = routes.bytes
    #expect(((try? RouteTable(encoded: frame)) != nil) == isGood)
    var ledger = PlaceLedger()
    let listeners = all.map { StreamListener(port: 80, addresses: $0, kind: .tcp, rules: []) }
    #expect(listeners.allSatisfy { ledger.problem(of: $0, isAlone: true) == nil } == isGood)
  }

  /// Precedence goes by host first, but among the rules that match: a less specific host is asked when a more specific one has
  /// no rule for the request. For Ingress the most specific host decides alone.
  @Test func `hosts overlap for Gateway API and not for Ingress`() {
    let hosts = [
      RouteHost(name: "a.example.com", paths: [RoutePath(path: "/a", isExact: false, backend: 0)]),
      RouteHost(name: "*.example.com", paths: [RoutePath(path: "/", isExact: false, backend: 1)]),
    ]
    for (overlaps, wanted) in [(true, 1), (false, nil)] as [(Bool, Int?)] {
      let table = RouteTable(
        backends: [backend("0"), backend("1")], actions: [],
        listeners: [RouteListener(hosts: hosts, hostsOverlap: overlaps)])
      #expect(table.match(host: "a.example.com", path: "/a/x")?.backend == 0)
      #expect(table.match(host: "a.example.com", path: "/b")?.backend == wanted)
    }
  }

  /// T-I9 in the small: whatever the path is written like, what is matched are the bytes that go on.
  @Test(arguments: [
    "/public/../admin", "/public/%2e%2e/admin", "//admin", "/./admin", "/ADMIN", "/admin%2f", "/admin;x",
    "/%61dmin",
    "/public/..;/admin", "/admin%00", "/public\\..\\admin",
  ])
  func `a path that only looks like another is not taken for it`(path: String) {
    let table = table([
      RoutePath(path: "/admin", kind: .prefix, backend: 1), RoutePath(path: "/", kind: .prefix, backend: 0),
    ])
    #expect(table.match(host: "x", path: path)?.backend == 0)
  }

  // MARK: - Many

  /// Steps are counted by time on one thread, few against many; a search one after another would be 1,000 times slower.
  @Test func `ten thousand rules of one host are found as fast as ten`() {
    func made(_ count: Int) -> RouteTable {
      table(
        (0..<count).map {
          RoutePath(path: "/tenant-\($0)/service/v1", isExact: $0 % 3 == 0, backend: 0)
        }, "h")
    }
    let (few, many) = (made(10), made(10_000))
    for index in stride(from: 0, to: 10_000, by: 97) {
      let path = "/tenant-\(index)/service/v1"
      #expect(many.match(host: "h", path: path).map { many.hosts[0].paths[$0.path].path } == Array(path.utf8))
    }
    #expect(many.match(host: "h", path: "/tenant-10000/service/v1") == nil)
    let head = Array("GET /tenant-9/service/v1 HTTP/1.1\r\nHost: h\r\n\r\n".utf8)
    let reader = HeadReader()
    let (space, place) = (MatchSpace(), ListenerPlace(80))
    func time(_ table: RouteTable) -> Duration {
      head.withUnsafeBytes { head in
        _ = try? reader.readRequest(head)
        let request = RouteRequest(head, reader)
        return (0..<5).map { _ in
          ContinuousClock().measure {
            for _ in 0..<2000 { _ = table.match(request, at: place, space) }
          }
        }.min() ?? .zero
      }
    }
    #expect(time(many) < time(few) * 50)
  }

  // MARK: - Codec

  static var sample: RouteTable {
    get throws {
      var action = RouteAction()
      action.targets = [
        RouteTarget(backend: 0, weight: 9), RouteTarget(backend: -1, weight: 0),
        RouteTarget(backend: 1, weight: 1, action: 1),
      ]
      action.sources = RouteSources(allowed: [IPPrefix("10.0.0.0/8")!], denied: [IPPrefix("fd00::1/128")!])
      action.credentials = RouteCredentials(realm: "r", users: ["a": "{SHA}x", "b": "$6$y"])
      action.authorization = RouteAuthorization(
        backend: 1, host: "auth.example",
        target: try #require(RouteTemplate("/check?u=$escaped_request_uri")),
        forwarded: ["X-User"], signIn: RouteTemplate("https://$host/in"))
      action.limits = [
        RouteLimit(name: "n", perMinute: 60, burst: 5, atOnce: 2, exempt: [IPPrefix("127.0.0.0/8")!])
      ]
      action.cors = RouteCORS(
        origins: ["https://*.a.example"], methods: "GET", maxAge: 7, allowsCredentials: true)
      action.rewrite = RouteRewrite(host: RouteTemplate("up.example"), path: RouteRewrite.prefix("/x/"))
      action.request = HeaderEdit(
        remove: ["x-gone"], set: [try #require(HeaderField("X-Set", "1"))],
        add: [try #require(HeaderField("X-Add", "2"))])
      action.cookie = RouteCookie(name: "c", attributes: "; Path=/", isSecure: true)
      action.bodyBytesMax = 77
      var other = RouteAction()
      other.redirect = RouteRedirect(
        status: 301, place: .parts(scheme: "https", host: nil, port: 8443, path: .prefix([])))
      var third = RouteAction()
      third.redirect = RouteRedirect(
        status: 302, place: .location(try #require(RouteTemplate("/$1?a=$args"))))
      third.answer = 403
      let conditions = RouteConditions(
        method: "GET", fields: [FieldMatch("X", .pattern(try BytePattern("a+", foldsCase: true)))],
        query: [FieldMatch("q", .exact("1"))], cookies: [FieldMatch("c", .present)])
      let paths = [
        RoutePath(path: "/a", kind: .exact, backend: 1, action: 0, conditions: conditions),
        RoutePath(pattern: try BytePattern("^/b(.*)", foldsCase: true), backend: 0, action: 2),
        RoutePath(path: "/", kind: .prefix, backend: 0, action: -1, redirectsToHTTPS: true),
      ]
      return RouteTable(
        backends: [backend("0"), backend("1")], actions: [action, other, third],
        listeners: [
          RouteListener(
            port: 80, hostname: "*.example",
            hosts: [RouteHost(name: "x.example", paths: paths, isSecured: true, keepsPatterns: true)],
            hostsOverlap: true, defaultBackend: 1, defaultAction: 1),
          RouteListener(hosts: [RouteHost(name: "", paths: [])]),
          RouteListener(
            port: 80, addresses: [IPAddress("192.0.2.1"), IPAddress("2001:db8::1")].compactMap(\.self),
            hosts: [RouteHost(name: "", paths: [])]),
        ], strictTransportSecurity: Array("max-age=1".utf8))
    }
  }

  @Test func `everything a table can say survives its encoding`() throws {
    let sample = try Self.sample
    let again = try RouteTable(encoded: sample.encoded())
    #expect(again == sample)
    #expect(again.encoded() == sample.encoded())
    #expect(again.match(host: "x.example", path: "/B/c", port: 80)?.action == 2)
  }

  @Test(arguments: [UInt64(1), 2]) func `damaged tables are refused, or hold nothing that injects`(
    seed: UInt64
  ) throws {
    let good = try Self.sample.encoded()
    for length in 0..<good.count {
      #expect(throws: RouteTableUnreadable.self) { try RouteTable(encoded: Array(good[..<length])) }
    }
    var (refused, read) = (0, 0)
    for bytes in mutants(of: [good], words: ["\r\n", "\r\nX: 1", "\u{0}"], count: 3000, seed: seed) {
      guard let table = try? RouteTable(encoded: bytes) else {
        refused += 1
        continue
      }
      read += 1
      #expect(try RouteTable(encoded: table.encoded()) == table)
      _ = table.match(host: "x.example", path: "/a?q=1", fields: [("x", "a"), ("cookie", "c=1")], port: 80)
      for action in table.actions {
        let runtime = ActionRuntime(action, of: table.actions)
        _ = runtime.choose(random: seed &* 0x9e37_79b9)
        for edit in [runtime.request, runtime.answer] {
          // Every CR is followed by LF and ends a line that has a name.
          let lines = String(decoding: edit?.lines ?? [], as: UTF8.self).components("\r\n")
          #expect(lines.dropLast().allSatisfy { $0.contains(": ") } && lines.last?.isEmpty == true)
        }
      }
    }
    #expect(refused > 250 && read > 10)
  }
}

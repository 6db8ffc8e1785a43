// Errors that another backend tells, `satisfy: any`, and the first request of a client that gets its cookie: one worker on loopback,
// curl in front, HTTP/1.1 and HTTP/2.

import Addresses
import Foundation
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct ErrorAnswerTests {
  private static let versions = ["--http1.1", "--http2-prior-knowledge"]

  /// Backend 0 `main` serves, backend 1 `other` tells of errors, backend 2 has no endpoint.
  private final class Lab {
    let main: Backend
    let other: Backend
    let more: [Backend]
    let ingress: TestIngress

    init(
      backend: Int = 0, endpoints: Int = 1, policy: BackendPolicy = BackendPolicy(),
      _ change: (inout RouteAction) throws -> Void
    )
      throws
    {
      main = try Backend("main")
      other = try Backend("other")
      more = try (1..<max(endpoints, 1)).map { try Backend("main-\($0)") }
      var action = RouteAction()
      try change(&action)
      var backends = [[main] + more, [other], []].map { list in
        RouteBackend(
          namespace: "demo", ingress: "web", service: list.first?.name ?? "none", servicePort: "80",
          endpoints: list.map(\.endpoint))
      }
      backends[0].policy = policy
      let table = RouteTable(
        backends: backends, actions: [action],
        hosts: [
          RouteHost(name: "", paths: [RoutePath(path: "/", kind: .prefix, backend: backend, action: 0)])
        ])
      ingress = try TestIngress(try RouteTable(encoded: table.encoded()))
    }
    func stop() {
      ingress.stop()
      for backend in [main, other] + more { backend.kill() }
    }
    func curl(_ version: String, _ path: String, _ arguments: String...) -> (status: String, body: String) {
      let url = "http://127.0.0.1:\(ingress.endpoint.port)\(path)"
      let output = run(["curl", "-sS", "-m", "20", version, "-w", "\n%{http_code}"] + arguments + [url]).text
      return (String(output.suffix(3)), String(output.dropLast(4)))
    }
  }

  @Test(arguments: versions) func `errors that are listed are told by the other backend`(version: String)
    throws
  {
    let lab = try Lab { $0.errors = RouteErrors(statuses: [503, 404], backend: 1) }
    defer { lab.stop() }
    let told = lab.curl(
      version, "/verdict/503", "-H", "Accept: text/x", "-H", "X-Code: 200", "-H", "X-Kept: 1", "-d", "a body")
    #expect(told.status == "200" && told.body.hasPrefix("GET / HTTP/1.1\r\n"), "\(told)")
    for line in [
      "X-Code: 503", "X-Format: text/x", "X-Original-URI: /verdict/503", "X-Namespace: demo",
      "X-Ingress-Name: web", "X-Service-Name: main", "X-Service-Port: 80",
    ] { #expect(told.body.contains("\r\n\(line)\r\n"), "\(line) in \(told.body)") }
    #expect(told.body.lowercased().contains("\r\nx-kept: 1\r\n") && !told.body.contains("X-Code: 200"))
    #expect(!told.body.lowercased().contains("content-length"))
    // Others are the endpoint's own.
    #expect(lab.curl(version, "/verdict/500").status == "500")
    #expect(lab.curl(version, "/").body == "main")
    // The connection goes on.
    // curl uses a connection of HTTP/2 a second time only when it was agreed on in TLS.
    let (flag, url) =
      version == "--http1.1"
      ? (version, "http://127.0.0.1:\(lab.ingress.endpoint.port)")
      : ("--http2", "https://127.0.0.1:\(lab.ingress.secure.port)")
    let several = run([
      "curl", "-sSk", "-m", "20", flag, "\(url)/verdict/404", "\(url)/", "\(url)/verdict/503",
    ]).text
    #expect(
      several.components("X-Code: 404").count == 2 && several.components("X-Code: 503").count == 2,
      "\(several)")
    #expect(several.contains("main"))
  }

  @Test(arguments: versions) func `errors of our own are told too`(version: String) throws {
    let nobody = try Lab(backend: 2) { $0.errors = RouteErrors(statuses: [503], backend: 1) }
    let told = nobody.curl(version, "/x", "-H", "Upgrade: h2c")
    #expect(
      told.body.contains("X-Code: 503\r\n") && told.body.contains("X-Service-Name: none\r\n"), "\(told)")
    nobody.stop()
    let closed = try Lab {
      $0.errors = RouteErrors(statuses: [403], backend: 1)
      $0.sources = RouteSources(denied: [IPPrefix("127.0.0.0/8")!])
    }
    #expect(closed.curl(version, "/x").body.contains("X-Code: 403\r\n"))
    // A body that has not come is not waited for: the answer is the plain one.
    #expect(closed.curl("--http1.1", "/x", "-d", "a body").status == "403")
    #expect(closed.main.served.load(ordering: .relaxed) == 0)
    closed.stop()
    let denied = try Lab {
      $0.errors = RouteErrors(statuses: [401], backend: 0)
      $0.authorization = RouteAuthorization(
        backend: 1, host: "auth.example", target: try #require(RouteTemplate("/verdict/401")))
    }
    #expect(denied.curl(version, "/x").body.contains("X-Code: 401\r\n"))
    denied.stop()
  }

  @Test(arguments: versions) func `nobody tells of the errors of who tells`(version: String) throws {
    let lab = try Lab { $0.errors = RouteErrors(statuses: [502, 503], backend: 2) }
    defer { lab.stop() }
    #expect(lab.curl(version, "/verdict/503").status == "503")
    #expect(lab.curl(version, "/hang-up").status == "503")
    #expect(lab.curl(version, "/").body == "main")
  }

  @Test(arguments: versions) func `with satisfy any one way in is enough, and without all are needed`(
    version: String
  ) throws {
    let sha = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
    for (isNear, isAny, password, status) in [
      (true, true, "wrong", "200"), (true, false, "wrong", "401"), (false, true, "secret", "200"),
      (false, false, "secret", "403"), (false, true, "wrong", "401"), (true, false, "secret", "200"),
    ] {
      let lab = try Lab {
        $0.satisfiesAny = isAny
        $0.sources = RouteSources(allowed: [IPPrefix(isNear ? "127.0.0.0/8" : "10.0.0.0/8")!])
        $0.credentials = RouteCredentials(realm: "r", users: ["u": sha])
      }
      #expect(
        lab.curl(version, "/", "-u", "u:\(password)").status == status, "\(isNear) \(isAny) \(password)")
      lab.stop()
    }
    // Who is asked is asked last.
    for (verdict, isNear, status, asked) in [
      ("/verdict/200", false, "200", 1), ("/verdict/403", false, "403", 1), ("/verdict/403", true, "200", 0),
    ] {
      let lab = try Lab {
        $0.satisfiesAny = true
        $0.sources = RouteSources(allowed: [IPPrefix(isNear ? "127.0.0.0/8" : "10.0.0.0/8")!])
        $0.authorization = RouteAuthorization(
          backend: 1, host: "auth.example", target: try #require(RouteTemplate(verdict)))
      }
      #expect(lab.curl(version, "/").status == status)
      #expect(lab.other.served.load(ordering: .relaxed) == asked)
      lab.stop()
    }
    let far = try Lab {
      $0.satisfiesAny = true
      $0.sources = RouteSources(allowed: [IPPrefix("10.0.0.0/8")!])
    }
    #expect(far.curl(version, "/").status == "403")
    far.stop()
  }

  @Test(arguments: versions) func `the request that gets a cookie goes where the cookie leads`(
    version: String
  ) throws {
    var policy = BackendPolicy()
    policy.balancing = .consistentHash(.cookie("route"))
    let lab = try Lab(endpoints: 8, policy: policy) {
      $0.cookie = RouteCookie(name: "route", attributes: "; Path=/")
    }
    defer { lab.stop() }
    var seen: Set<String> = []
    for _ in 0..<24 {
      let jar = NSTemporaryDirectory() + "/weft-jar-\(UInt64.random(in: 0 ..< .max))"
      defer { try? FileManager.default.removeItem(atPath: jar) }
      let first = lab.curl(version, "/", "-c", jar).body
      seen.insert(first)
      for _ in 0..<2 { #expect(lab.curl(version, "/", "-b", jar).body == first) }
    }
    // 24 clients on one of eight endpoints: less likely than 1 in 10 to the 20th.
    #expect(seen.count > 1, "\(seen)")
  }

  /// `affinity-mode: persistent`: nobody is moved to an endpoint that is new, only who has lost his own.
  @Test(arguments: versions) func `a cookie that names an endpoint leads there for as long as there is one`(
    version: String
  ) throws {
    let all = try (0..<6).map { try Backend("main-\($0)") }
    func table(_ some: some Collection<Backend>) throws -> RouteTable {
      var backend = RouteBackend(
        namespace: "demo", ingress: "web", service: "web", servicePort: "80", endpoints: some.map(\.endpoint))
      backend.policy.balancing = .consistentHash(.endpoint(cookie: "route"))
      var action = RouteAction()
      action.cookie = RouteCookie(name: "route", attributes: "; Path=/")
      let table = RouteTable(
        backends: [backend], actions: [action],
        hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", kind: .prefix, backend: 0, action: 0)])])
      return try RouteTable(encoded: table.encoded())
    }
    let ingress = try TestIngress(try table(all[..<3]))
    defer {
      ingress.stop()
      for backend in all { backend.kill() }
    }
    let folder = NSTemporaryDirectory() + "/weft-jars-\(UInt64.random(in: 0 ..< .max))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    func ask(_ client: Int) -> (body: String, isNew: Bool) {
      let jar = "\(folder)/\(client)"
      let output = run(
        [
          "curl", "-sS", "-m", "20", version, "-i", "-b", jar, "-c", jar,
          "http://127.0.0.1:\(ingress.endpoint.port)/",
        ]
      ).text
      return (
        String(output.split(separator: "\r\n", omittingEmptySubsequences: false).last ?? ""),
        output.lowercased().contains("\r\nset-cookie: route=")
      )
    }
    let first = (0..<18).map { ask($0) }
    #expect(first.allSatisfy(\.isNew) && Set(first.map(\.body)).count > 1, "\(first)")
    for (client, answer) in first.enumerated() {
      let again = ask(client)
      #expect(again.body == answer.body && !again.isNew)
    }
    // Three more endpoints take nobody away.
    ingress.install(try table(all))
    ingress.settle()
    for (client, answer) in first.enumerated() { #expect(ask(client).body == answer.body) }
    // One goes: its clients get another, and stay there; the others know nothing of it.
    ingress.install(try table(all[1...]))
    ingress.settle()
    for (client, answer) in first.enumerated() {
      let next = ask(client)
      #expect(next.isNew == (answer.body == "main-0"), "\(answer) \(next)")
      #expect(next.body == answer.body || answer.body == "main-0")
      #expect(ask(client).body == next.body)
    }
    // What is no name of an endpoint is none.
    let odd = run(
      [
        "curl", "-sS", "-m", "20", version, "-i", "-H", "Cookie: route=\(String(repeating: "f", count: 40))",
        "http://127.0.0.1:\(ingress.endpoint.port)/",
      ]
    ).text
    #expect(odd.lowercased().contains("\r\nset-cookie: route="))
  }
}

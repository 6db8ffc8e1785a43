// T-I5: one reading of host and path. The endpoint gets the very bytes that the rule was found by, so that whoever protects a path
// protects what the endpoint serves under it; nothing is decoded, cut or put together on the way.

import Addresses
import Foundation
import Glibc
import Reactor
import Testing

@testable import Ingress

@Suite struct PathTests {
  private static let targets = [
    "/public/../admin", "/public/%2e%2e/admin", "/public/%2E%2E/admin", "/public/..%2fadmin", "//admin",
    "/./admin",
    "/.//admin", "/ADMIN", "/admin%2f", "/admin%2Fx", "/admin;x", "/admin;x/y", "/%61dmin",
    "/public/..;/admin",
    "/public\\..\\admin", "/public/%5c..%5cadmin", "/admin?x=/public", "/public?/admin", "/public;/../admin",
    "/%c0%ae%c0%ae/admin", "/public/%c0%af../admin", "/%e0%80%afadmin", "/admin%00", "/admin%20", "/admin.",
    "/admin..", "/admin/..", "/admin/.", "/admin//", "/admin%252f", "/public%2f..%2fadmin", "/*", "/admin*",
    "/public/%", "/public/%zz/admin", "/admin/%2e%2e/public", "/admin/../public", "/admin", "/admin/",
    "/admin/x",
  ]

  private struct Lab {
    let open: Backend
    let closed: Backend
    let ingress: TestIngress
    let table: RouteTable

    init() throws {
      open = try Backend("echo-open")
      closed = try Backend("echo-closed")
      let backends = [open.endpoint, closed.endpoint].enumerated().map {
        RouteBackend(
          namespace: "demo", ingress: "web", service: "s\($0)", servicePort: "80", endpoints: [$1])
      }
      table = RouteTable(
        backends: backends,
        hosts: [
          RouteHost(
            name: "web.demo",
            paths: [
              RoutePath(path: "/admin", isExact: false, backend: 1),
              RoutePath(path: "/", isExact: false, backend: 0),
            ])
        ])
      ingress = try TestIngress(table)
    }
    func stop() {
      ingress.stop()
      open.kill()
      closed.kill()
    }

    /// Name of the endpoint, and first line and host it was sent; nil when it was refused.
    func told(_ answer: (status: Int, head: String, body: [UInt8])?) -> (
      name: String, target: String, host: String
    )? {
      guard let answer, answer.status == 200 else { return nil }
      let lines = text(answer.body).replacing("\r\n", with: "\n").split(separator: "\n").map(String.init)
      guard lines.count > 2 else { return nil }
      let host = lines.first { $0.lowercased().hasPrefix("host: ") }?.dropFirst(6) ?? ""
      let words = lines[1].split(separator: " ")
      return words.count == 3 ? (lines[0], String(words[1]), String(host)) : nil
    }
  }

  @Test func `the endpoint gets the target that its rule was found by, byte for byte`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    for target in Self.targets {
      let client = Client(lab.ingress.endpoint)
      let told = try #require(lab.told(client.get(target)), "\(target)")
      #expect(told.target == target)
      let path = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)[0]
      let wanted = lab.table.match(host: "web.demo", path: String(path))?.backend
      #expect(told.name == (wanted == 1 ? "echo-closed" : "echo-open"), "\(target)")
      // Only what says so in its own letters is the closed one's.
      let isClosed = path == "/admin" || path.hasPrefix("/admin/")
      #expect((told.name == "echo-closed") == isClosed, "\(target)")
    }
  }

  @Test func `HTTP 2 is read as HTTP 1 is`() throws {
    let lab = try Lab()
    defer { lab.stop() }
    let client = FrameClient(lab.ingress)
    for (index, target) in Self.targets.enumerated() {
      let stream = UInt32(2 * index + 1)
      client.get(
        stream, [(":method", "GET"), (":scheme", "http"), (":path", target), (":authority", "web.demo")])
      let answer = try #require(client.answer(stream), "\(target)")
      let told = try #require(lab.told((answer.status, "", answer.body)), "\(target)")
      let path = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)[0]
      let isClosed = path == "/admin" || path.hasPrefix("/admin/")
      #expect(told.target == target && (told.name == "echo-closed") == isClosed, "\(target)")
    }
  }

  /// Bytes that are no URI's: refused, or passed on as they are.
  @Test(arguments: [
    "/admin#x", "/public#/../admin", "/\u{fc}", "/\u{c0}\u{ae}/admin", "/public/\u{7f}", "/<>", "/a|b",
  ])
  func `what is no path is refused or goes on as it is`(target: String) throws {
    let lab = try Lab()
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    let answer = client.get(target, more: "Connection: close\r\n")
    if let told = lab.told(answer) {
      let isClosed = target == "/admin" || target.hasPrefix("/admin/")
      #expect(told.target == target && (told.name == "echo-closed") == isClosed)
    } else {
      #expect(answer?.status == 400, "\(answer as Any)")
    }
  }

  @Test(arguments: [
    ("web.demo", true), ("WEB.Demo", true), ("web.demo:80", true), ("web.demo.", true),
    ("WEB.DEMO.:8080", true),
    ("xweb.demo", false), ("web.demo.x", false), ("a.web.demo", false), (".web.demo", false),
    ("web.demo..", false),
    ("web%2edemo", false), ("web", false),
  ])
  func `a host is found whatever its case, port and last dot, and goes on as it came`(
    host: String, isFound: Bool
  )
    throws
  {
    let lab = try Lab()
    defer { lab.stop() }
    let client = Client(lab.ingress.endpoint)
    let answer = client.get("/admin/x", host: host, more: "Connection: close\r\n")
    if isFound {
      let told = try #require(lab.told(answer), "\(answer as Any)")
      #expect(told.name == "echo-closed" && told.host == host)
    } else {
      #expect([400, 404].contains(answer?.status), "\(answer as Any)")
    }
  }
}

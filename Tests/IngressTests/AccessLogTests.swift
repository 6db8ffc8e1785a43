// The access log: lines to the letter, what a request of each kind leaves behind, a file that is renamed, a reader that is too slow.

import Addresses
import Diagnostics
import Foundation
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite struct AccessLogTests {
  private final class Folder {
    let path = NSTemporaryDirectory() + "/weft-log-\(UInt64.random(in: 0 ..< .max))"
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
    func lines(_ name: String) -> [String] {
      let data = FileManager.default.contents(atPath: path + "/" + name) ?? Data()
      return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }
  }

  private func line(_ format: AccessLogFormat, _ userAgent: String) -> String {
    let text = Array("GET/a?b=\"host\(userAgent)id".utf8)
    var entry = AccessLogEntry()
    entry.client = "192.0.2.1"
    (entry.method, entry.target, entry.host) = (0..<3, 3..<9, 9..<13)
    entry.userAgent = 13..<(text.count - 2)
    entry.requestID = (text.count - 2)..<text.count
    (entry.status, entry.requestBytes, entry.bodyBytes, entry.tries) = (200, 7, 1234, 2)
    (entry.nanoseconds, entry.upstreamNanoseconds, entry.upstreamStatus) = (1_234_567_890, 45_000_000, 200)
    entry.endpoint = "10.0.0.1:80"
    entry.backend = RouteBackend(
      namespace: "demo", ingress: "web", service: "svc", servicePort: "80", endpoints: [])
    entry.route = "web.demo/a"
    var clock = AccessLogClock()
    clock.set(1_795_339_741)
    let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1)
    defer { space.deallocate() }
    var out = HeadSpace(space)
    text.withUnsafeBytes { out.writeLine(entry, $0, as: format, clock, milliseconds: 7) }
    return String(decoding: out.bytes, as: UTF8.self)
  }

  @Test func `lines are what nginx's readers and JSON's expect, whatever the client sent`() {
    let combined =
      #"192.0.2.1 - - [22/Nov/2026:09:29:01 +0000] "GET /a?b=\x22 HTTP/1.1" 200 1234 "-" "a\x5C\x0Ab""#
    let agent = "a\\\nb"
    #expect(line(.combined, agent) == combined + "\n")
    #expect(
      line(.upstreaminfo, agent) == combined + " 7 1.234 [demo-svc-80] [] 10.0.0.1:80 1234 0.045 200 id\n")
    #expect(
      line(.json, agent)
        == #"{"time":"2026-11-22T09:29:01.007Z","client":"192.0.2.1","method":"GET","target":"/a?b=\"","#
        + #""host":"host","userAgent":"a\\\u000ab","requestID":"id","protocol":"HTTP/1.1","status":200,"#
        + #""requestBytes":7,"bodyBytes":1234,"duration":1.234,"namespace":"demo","ingress":"web","service":"svc","#
        + #""servicePort":"80","route":"web.demo/a","endpoint":"10.0.0.1:80","tries":2,"upstreamStatus":200,"#
        + #""upstreamDuration":0.045}"# + "\n")
    // No text at all, and still JSON.
    #expect(line(.json, "\u{e9}").contains(#""userAgent":"\u00c3\u00a9""#))
  }

  @Test func `every request leaves one line: both versions, refused ones and those that clients gave up`()
    throws
  {
    let folder = try Folder()
    let backend = try Backend("b")
    let ingress = try TestIngress(
      everything(to: [backend.endpoint]),
      log: AccessLogConfiguration(path: folder.path + "/log", format: .json))
    defer {
      ingress.stop()
      backend.kill()
    }
    let client = Client(ingress.endpoint)
    let sent = text(
      client.get("/head?q=1", more: "User-Agent: me\r\nReferer: http://a/\r\n")?.body)
    // A trace begins here when the client has none, and goes on as it was when it has.
    #expect(sent.contains("\r\ntraceparent: 00-") && sent.hasSuffix("-00\r\n\r\n"), "\(sent)")
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    let traced = text(client.get("/head", more: "traceparent: \(trace)\r\n")?.body)
    #expect(traced.contains("\r\ntraceparent: \(trace)\r\n") && traced.components("traceparent").count == 2)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    #expect(client.response()?.status == 200)
    let broken = Client(ingress.endpoint)
    broken.send("GET / HTTP/1.1\r\nbroken\r\n\r\n")
    #expect(broken.response()?.status == 400)
    do {
      let impatient = Client(ingress.endpoint)
      impatient.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(eventually { backend.served.load(ordering: .relaxed) == 4 })
      // Gone for good: an end of sending alone could be a client that waits.
      impatient.breakOff()
    }
    let framed = FrameClient(ingress)
    framed.get(1)
    #expect(framed.answer(1)?.status == 200)
    ingress.install(RouteTable())
    ingress.settle()
    #expect(client.get("/none")?.status == 404)
    try #require(eventually { folder.lines("log").count == 7 })
    let lines = try folder.lines("log").map {
      try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
    }
    func value(_ index: Int, _ name: String) -> String { lines[index][name].map { "\($0)" } ?? "none" }
    #expect(
      value(0, "target") == "/head?q=1" && value(0, "userAgent") == "me" && value(0, "referer") == "http://a/"
    )
    #expect(
      value(0, "client") == "127.0.0.1" && value(0, "protocol") == "HTTP/1.1" && value(0, "status") == "200")
    #expect(
      value(0, "endpoint") == "\(backend.endpoint)" && value(0, "service") == "web"
        && value(0, "route") == "*/")
    #expect(value(0, "requestID").count == 32 && sent.contains("X-Request-ID: \(value(0, "requestID"))"))
    #expect(sent.contains("traceparent: \(value(0, "traceparent"))"))
    #expect(value(0, "bodyBytes") == "\(sent.utf8.count)")
    #expect(value(1, "traceparent") == trace)
    #expect(value(2, "method") == "POST" && value(2, "requestBytes") == "3")
    #expect(lines.contains { "\($0["status"] ?? "")" == "400" && $0["method"] == nil })
    #expect(lines.contains { "\($0["status"] ?? "")" == "499" && "\($0["target"] ?? "")" == "/never" })
    #expect(lines.contains { "\($0["protocol"] ?? "")" == "HTTP/2.0" && "\($0["bodyBytes"] ?? "")" == "1" })
    #expect(value(6, "status") == "404" && value(6, "service") == "none" && value(6, "endpoint") == "none")
  }

  @Test func `a renamed file keeps its lines, and the next ones go to a new one`() throws {
    let folder = try Folder()
    let backend = try Backend("b")
    let ingress = try TestIngress(
      everything(to: [backend.endpoint]),
      log: AccessLogConfiguration(path: folder.path + "/log", format: .combined))
    defer {
      ingress.stop()
      backend.kill()
    }
    let client = Client(ingress.endpoint)
    #expect(client.get("/one")?.status == 200)
    #expect(eventually { folder.lines("log").count == 1 })
    try FileManager.default.moveItem(atPath: folder.path + "/log", toPath: folder.path + "/old")
    ingress.log?.reopen()
    #expect(eventually { ingress.value("weft_ingress_access_log_reopened_total") == 1 })
    #expect(client.get("/two")?.status == 200)
    #expect(eventually { folder.lines("log").count == 1 })
    #expect(folder.lines("old").count == 1 && folder.lines("old")[0].contains("GET /one HTTP/1.1"))
    #expect(folder.lines("log")[0].contains("GET /two HTTP/1.1"))
  }

  @Test func `a full buffer drops lines and counts them`() throws {
    let metrics = Metrics()
    let dropped = metrics.counter("dropped", "").child()
    // Nobody empties it.
    let buffer = AccessLogBuffer(wakeUp: -1, dropped: dropped)
    let line = [UInt8](repeating: 65, count: 1024)
    let fitting = AccessLogBuffer.bytesMax / 1024
    for _ in 0..<fitting + 5 { line.withUnsafeBytes { buffer.append($0) } }
    #expect(metrics.text().contains("dropped 5"))
  }

  @Test func `a file that cannot be made is told by name`() throws {
    #expect {
      _ = try AccessLog(AccessLogConfiguration(path: "/nowhere/at/all/log"))
    } throws: { error in
      guard let error = error as? WeftError else { return false }
      return error.code == "ING0020" && "\(error)".contains("/nowhere/at/all/log")
    }
  }
}

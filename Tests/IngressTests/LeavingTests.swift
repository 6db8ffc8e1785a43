// Clients that leave while the endpoint works: noticed at once and not when a time is over, told to the endpoint, 499 in log and metrics.

import Addresses
import CLinux
import Diagnostics
import Foundation
import Glibc
import Reactor
import SoakLab
import Synchronization
import Testing

@testable import Ingress

/// An endpoint that takes one request and never answers.
private final class SilentEndpoint {
  let endpoint: SocketEndpoint
  private let listening: Descriptor

  init() throws {
    listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    endpoint = try local(listening)
    // accept(2) shall wait.
    _ = fcntl(listening.raw, F_SETFL, 0)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(listening.raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  /// The next connection, with its request's head read.
  func request() throws -> (connection: Client, head: String) {
    let raw = accept(listening.raw, nil, nil)
    guard raw >= 0 else { throw SetUpFailed() }
    let connection = Client(accepted: raw)
    var head = ""
    while !head.hasSuffix("\r\n\r\n") {
      let byte = connection.read(1)
      guard !byte.isEmpty else { break }
      head += text(byte)
    }
    return (connection, head)
  }
}

/// Whether the ingress has ended its side. The limits are minutes: an end that comes sooner is none of them.
private func isEnded(_ connection: Client) -> Bool {
  eventually {
    var space = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(connection.raw, &space, space.count, Int32(MSG_DONTWAIT))
      // A reset is an end too.
      if count == 0 || (count < 0 && errno == ECONNRESET) { return true }
      if count < 0 { return false }
    }
  }
}

@Suite struct LeavingTests {
  private func check(
    _ endpoint: SilentEndpoint, _ ingress: TestIngress, _ log: String,
    leave: (_ isAtWork: () throws -> Void) throws -> Void
  ) throws {
    var found: (connection: Client, head: String)?
    try leave { found = try endpoint.request() }
    let connection = try #require(found?.connection)
    #expect(isEnded(connection))
    let lines = eventually {
      (try? String(contentsOfFile: log, encoding: .utf8))?.contains("\"status\":499") == true
    }
    #expect(lines)
    #expect(eventually { ingress.metrics.text().contains(#"status="499",canary=""} 1"#) })
  }

  private func run(_ name: String, _ body: (SilentEndpoint, TestIngress, String) throws -> Void) throws {
    let folder = try ScratchFolder.make("leaving")
    defer { ScratchFolder.remove(folder) }
    let endpoint = try SilentEndpoint()
    var limits = IngressLimits()
    limits.readMilliseconds = 600_000
    limits.clientMilliseconds = 600_000
    let ingress = try TestIngress(
      everything(to: [endpoint.endpoint]), limits: limits, tls: TLSTable(),
      log: AccessLogConfiguration(path: folder + "/log", format: .json))
    defer { ingress.stop() }
    try body(endpoint, ingress, folder + "/log")
  }

  @Test func `a client that closes is noticed at once and its request ends at the endpoint`() throws {
    try run("close") { endpoint, ingress, log in
      try check(endpoint, ingress, log) { isAtWork in
        let client = Client(ingress.endpoint)
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        try isAtWork()
        // An ordinary close(2): the kernel sends FIN, no reset.
        _ = consume client
      }
    }
  }

  @Test func `so is one that has sent a body, and one that is gone before its request is sent on`() throws {
    try run("body") { endpoint, ingress, log in
      try check(endpoint, ingress, log) { isAtWork in
        let client = Client(ingress.endpoint)
        client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        try isAtWork()
        _ = consume client
      }
      let early = Client(ingress.endpoint)
      early.send("GET /early HTTP/1.1\r\nHost: a\r\n")
      ingress.settle()
      // The head's end and the connection's come together.
      early.send("\r\n")
      shutdown(early.raw, Int32(SHUT_WR))
      #expect(early.readAll().isEmpty)
    }
  }

  @Test func `a stream that is reset, and a connection of HTTP 2 that closes, end their requests`() throws {
    try run("stream") { endpoint, ingress, log in
      try check(endpoint, ingress, log) { isAtWork in
        let client = FrameClient(ingress)
        client.get(1)
        try isAtWork()
        _ = consume client
      }
    }
  }

  @Test func `half an answer ends with its client, and counts with its own status`() throws {
    try run("half") { endpoint, ingress, log in
      var client: Client? = Client(ingress.endpoint)
      client?.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      let (connection, _) = try endpoint.request()
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
      #expect(client?.read(4) == Array("HTTP".utf8))
      client = nil
      #expect(isEnded(connection))
      #expect(eventually { ingress.metrics.text().contains(#"status="200",canary=""} 1"#) })
    }
  }
}

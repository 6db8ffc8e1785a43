// T-I10: clients that do nothing, or too little: what an idle connection costs, and that times are kept to.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import SoakLab
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct IdleTests {
  /// Both ends are this process's, which may have 20,000 files open: 10,000 connections are not to be had.
  @Test func `an idle connection costs ten kilobytes at most, and is answered when it speaks`() throws {
    let backend = try Backend("b")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    defer {
      ingress.stop()
      backend.kill()
    }
    let count = Soak.rounds(1500, long: 9000)
    // What is made once is not a connection's.
    var clients = (0..<200).map { _ in Client(ingress.endpoint) }
    for client in clients { #expect(client.get()?.status == 200) }
    let start = ResidentMemory.bytes
    for _ in 200..<count {
      let client = Client(ingress.endpoint)
      #expect(client.get()?.status == 200)
      clients.append(client)
    }
    let each = (ResidentMemory.bytes - start) / (count - 200)
    #expect(each <= 10 << 10, "\(each)")
    #expect(ingress.value("weft_ingress_client_connections ") == Double(count))
    for client in clients { #expect(client.get()?.status == 200) }
    Soak.report("HTTP/1.1: \(count) idle connections, \(each) bytes each")
  }

  private static let limits = {
    var limits = IngressLimits()
    limits.headMilliseconds = 500
    limits.clientMilliseconds = 500
    limits.keepAliveMilliseconds = 500
    limits.tickMilliseconds = 50
    limits.lingerMilliseconds = 100
    return limits
  }()

  /// What a client sends, and the answer it gets when its time is over; nil: none.
  @Test(
    arguments: [
      ("", nil), ("GET / HTTP/1.1\r\nHo", "408"),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", "408"),
      ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", "408"),
      ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
    ] as [(String, String?)])
  func `a client that stops is let go when its time is over, and not before`(sent: String, status: String?)
    throws
  {
    let backend = try Backend("b")
    let ingress = try TestIngress(everything(to: [backend.endpoint]), limits: Self.limits)
    defer {
      ingress.stop()
      backend.kill()
    }
    // Before the connection: its time begins when it is taken, which may be long before this thread goes on.
    let start = Reactor.monotonicNanoseconds()
    let client = Client(ingress.endpoint)
    client.send(sent)
    let all = client.readAll()
    #expect(Reactor.monotonicNanoseconds() - start >= 490_000_000)
    #expect(all.isEmpty ? status == nil : all.hasPrefix("HTTP/1.1 \(status ?? "")"), "\(all)")
    #expect(eventually { ingress.value("weft_ingress_client_connections ") == 0 })
  }

  /// One byte a while keeps no head open.
  @Test func `a head that comes byte by byte has one time for all of it`() throws {
    let backend = try Backend("b")
    let ingress = try TestIngress(everything(to: [backend.endpoint]), limits: Self.limits)
    defer {
      ingress.stop()
      backend.kill()
    }
    let client = Client(ingress.endpoint)
    client.send("GET / HTTP/1.1\r\n")
    let isOver = Flag()
    let raw = client.raw
    let sender = try Runner.start {
      while !isOver.isRaised {
        _ = Array("X: 1\r\n".utf8).withUnsafeBytes { Glibc.send(raw, $0.baseAddress, $0.count, 0x4000) }
        usleep(50_000)
      }
      return "over"
    }
    let all = client.readAll()
    isOver.raise()
    #expect(sender.wait() == "over")
    #expect(all.isEmpty || all.hasPrefix("HTTP/1.1 408"), "\(all)")
    #expect(backend.served.load(ordering: .relaxed) == 0)
  }

  @Test func `a client that does not read is let go, and its endpoint's connection with it`() throws {
    let backend = try Backend("b")
    let ingress = try TestIngress(everything(to: [backend.endpoint]), limits: Self.limits)
    defer {
      ingress.stop()
      backend.kill()
    }
    let client = Client(ingress.endpoint)
    client.send("GET /large/50000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(eventually { backend.served.load(ordering: .relaxed) == 1 })
    #expect(eventually { ingress.value("weft_ingress_client_connections ") == 0 })
  }
}

// T-I8: ten times as many requests as an endpoint takes: what is too much is refused at once, what is taken is answered, and nothing
// is left behind.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import SoakLab
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct OverloadTests {
  private struct Counts: Sendable {
    var good = 0
    var refused: [Int] = []
    var other: [String] = []
  }

  /// Clients that ask one request after the other for as long as this; who is refused rests as long as an answer takes.
  private func load(_ endpoint: SocketEndpoint, clients: Int, milliseconds: UInt64) throws -> Counts {
    let counts = Mutex(Counts())
    let end = Reactor.monotonicNanoseconds() + milliseconds * 1_000_000
    let runners = try (0..<clients).map { _ in
      try Runner.start {
        let client = Client(endpoint)
        while Reactor.monotonicNanoseconds() < end {
          let begin = Reactor.monotonicNanoseconds()
          let status = client.get("/")?.status
          let taken = Int((Reactor.monotonicNanoseconds() - begin) / 1000)
          counts.withLock { counts in
            switch status {
            case 200: counts.good += 1
            case 503: counts.refused.append(taken)
            default: counts.other.append(status.map { "\($0)" } ?? "no answer")
            }
          }
          if status != 200 { usleep(20_000) }
          if status == nil { break }
        }
        return "over"
      }
    }
    for runner in runners { #expect(runner.wait(Int(milliseconds / 1000)) == "over") }
    return counts.withLock { $0 }
  }

  @Test func `beyond what its endpoint takes requests are refused at once, and the others are served`() throws
  {
    let running = Atomic<Int>(0)
    let most = Atomic<Int>(0)
    let server = try ThreadServer { client in
      var head: [UInt8] = []
      while case let bytes = client.some(), !bytes.isEmpty {
        head += bytes
        guard head.suffix(4) == [13, 10, 13, 10] else { continue }
        head = []
        most.max(running.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
        usleep(20_000)
        running.subtract(1, ordering: .relaxed)
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    var policy = BackendPolicy()
    policy.circuit.requests = 6
    let ingress = try TestIngress(everything(to: [server.endpoint], by: policy))
    defer {
      ingress.stop()
      server.stop()
    }
    let time: UInt64 = Soak.isLong ? 20_000 : 1_500
    let peak = try load(ingress.endpoint, clients: 6, milliseconds: time)
    #expect(peak.refused.isEmpty && peak.other.isEmpty && peak.good > 10, "\(peak.other)")
    let over = try load(ingress.endpoint, clients: 60, milliseconds: time)
    #expect(over.other.isEmpty, "\(over.other)")
    #expect(!over.refused.isEmpty && over.good > 10)
    // Its bound was kept, with one more for a request whose answer is on its way.
    #expect(most.load(ordering: .relaxed) <= 7)
    let sorted = over.refused.sorted()
    let late = sorted.isEmpty ? 0 : sorted[sorted.count * 99 / 100]
    if Soak.isLong {
      #expect(Double(over.good) >= 0.8 * Double(peak.good), "\(over.good) of \(peak.good)")
      #expect(late <= 50_000)
    }
    Soak.report(
      "overload: \(over.good) served of \(peak.good) at capacity, \(over.refused.count) refused, p99 \(late) us"
    )
    // Afterwards everything is as before.
    #expect(Client(ingress.endpoint).get()?.status == 200)
    #expect(eventually { running.load(ordering: .relaxed) == 0 })
  }

  /// More connections than the bound wait in the kernel and are served in their turn; memory does not grow with them.
  @Test func `clients beyond the bound of connections wait, and are served when others go`() throws {
    let backend = try Backend("b")
    var limits = IngressLimits()
    limits.clientsMax = 50
    // A client that has its last answer and stays is let go soon.
    limits.lingerMilliseconds = 100
    limits.tickMilliseconds = 50
    let ingress = try TestIngress(everything(to: [backend.endpoint]), limits: limits)
    defer {
      ingress.stop()
      backend.kill()
    }
    var first = (0..<50).map { _ in Client(ingress.endpoint) }
    for client in first { #expect(client.get()?.status == 200) }
    let waiting = (0..<200).map { _ in Client(ingress.endpoint) }
    for client in waiting { client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") }
    #expect(ingress.value("weft_ingress_client_connections ") <= 51)
    // Those that are served go on meanwhile.
    for client in first { #expect(client.get()?.status == 200) }
    first = []
    for client in waiting { #expect(client.response()?.status == 200) }
  }
}

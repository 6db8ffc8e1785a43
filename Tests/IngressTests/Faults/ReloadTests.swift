// T-I1 besides what ServiceTests show: streams of HTTP/2 that last over many tables, and memory that old tables held.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import SoakLab
import Testing

@testable import Ingress

@Suite(.serialized) struct ReloadTests {
  @Test func `streams that last over hundreds of tables end whole`() throws {
    let backends = try (0..<2).map { try Backend("b\($0)") }
    let ingress = try TestIngress(everything(to: backends.map(\.endpoint)))
    defer {
      ingress.stop()
      for backend in backends { backend.kill() }
    }
    let clients = (0..<20).map { _ in FrameClient(ingress) }
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
    let streams = (0..<10).map { UInt32(2 * $0 + 1) }
    for client in clients { for stream in streams { client.get(stream, fields, ends: false) } }
    let rounds = Soak.rounds(100, long: 1000)
    for round in 0..<rounds {
      let endpoints = backends.map(\.endpoint)
      ingress.install(everything(to: round % 2 == 0 ? endpoints.reversed() : endpoints))
      guard round % 10 == 0 else { continue }
      ingress.settle()
      for client in clients {
        for stream in streams { client.send(Frame(kind: 0, stream: stream, payload: [1, 2, 3])) }
      }
    }
    for client in clients {
      for stream in streams { client.send(Frame(kind: 0, flags: 1, stream: stream)) }
      var answers: [UInt32: Int] = [:]
      var bodies: [UInt32: [UInt8]] = [:]
      while answers.count < streams.count, let frame = client.read() {
        if frame.kind == 0 { bodies[frame.stream, default: []] += frame.payload }
        if frame.kind == 3 || frame.kind == 7 { break }
        if frame.kind < 2, frame.flags & 1 == 1 { answers[frame.stream] = 1 }
      }
      let wanted = "\(3 * rounds / 10) \(6 * rounds / 10)"
      for stream in streams { #expect(text(bodies[stream]) == wanted) }
    }
  }

  /// Each table takes some megabytes: a few that stayed would be seen.
  @Test func `tables that nobody uses any more give their memory back`() throws {
    let backend = try Backend("b")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    defer {
      ingress.stop()
      backend.kill()
    }
    func table(_ number: Int) -> RouteTable {
      let paths = (0..<5_000).map {
        RoutePath(path: "/tenant-\(number)/service-\($0)/v1", isExact: $0 % 4 == 0, backend: 0)
      }
      return RouteTable(
        backends: [
          RouteBackend(
            namespace: "demo", ingress: "web", service: "web", servicePort: "80",
            endpoints: [backend.endpoint])
        ], hosts: [RouteHost(name: "", paths: paths + [RoutePath(path: "/", isExact: false, backend: 0)])])
    }
    let client = Client(ingress.endpoint)
    func swap(_ number: Int) {
      ingress.install(table(number))
      ingress.settle()
      #expect(client.get("/tenant-\(number)/service-1/v1")?.status == 200)
    }
    let before = ResidentMemory.bytes
    swap(0)
    let first = ResidentMemory.bytes - before
    for number in 1..<10 { swap(number) }
    let settled = ResidentMemory.bytes
    let rounds = Soak.rounds(30, long: 300)
    for number in 10..<(10 + rounds) { swap(number) }
    let grown = ResidentMemory.bytes - settled
    #expect(grown < 24 << 20, "\(grown) bytes after \(rounds) tables, the first took \(first)")
    Soak.report("\(rounds) tables of 5,000 routes: \(grown) bytes more, the first one took \(first)")
  }
}

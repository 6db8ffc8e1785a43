// Listeners that come and go while the data plane runs: sockets over the socket pair, and what the child says of what is in force.

import Addresses
import CLinux
import FuzzLab
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite struct ListenerTests {
  private func plane(workers: Int) throws -> (feeder: IngressFeeder, runner: Runner) {
    let (feeder, child) = try IngressFeeder.pair()
    var configuration = IngressDataPlaneConfiguration(listeners: [], snapshots: child, workers: workers)
    configuration.dropsPrivileges = false
    configuration.drain = .seconds(2)
    let ready = configuration
    let runner = try Runner.start {
      try runIngressDataPlane(ready)
      return "ended"
    }
    return (feeder, runner)
  }

  private func socket(_ serves: IngressListener.Service) throws -> (IngressListener, Int32) {
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0), reusePort: false)
    let endpoint = try local(listening)
    return (IngressListener(endpoint, serves: serves), listening.release())
  }

  private func isInForce(_ feeder: IngressFeeder) -> Bool {
    let sent = feeder.sentCount
    return eventually { feeder.isInForce(sent) }
  }

  @Test(arguments: [1, 2])
  func `a listener that comes is served, one that goes takes its connections with it`(workers: Int) throws {
    let backend = try Backend("a")
    let (feeder, runner) = try plane(workers: workers)
    let (first, firstRaw) = try socket(.http)
    // Before there are routes: it waits.
    try feeder.open(first, descriptor: firstRaw)
    let early = Client(first.endpoint)
    early.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(!feeder.isInForce(feeder.sentCount))
    try feeder.send(everything(to: [backend.endpoint]))
    #expect(isInForce(feeder))
    #expect(text(early.response()?.body) == "a")
    let (second, secondRaw) = try socket(.http)
    try feeder.open(second, descriptor: secondRaw)
    #expect(isInForce(feeder))
    let kept = Client(second.endpoint)
    #expect(text(kept.get()?.body) == "a")
    let halfway = Client(second.endpoint)
    // Half of its second request comes with the first: who has answered the first has it.
    halfway.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHo")
    #expect(text(halfway.response()?.body) == "a")
    let running = Client(second.endpoint)
    running.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(eventually { backend.served.load(ordering: .relaxed) == 4 })
    close(secondRaw)
    try feeder.close(second)
    #expect(isInForce(feeder))
    #expect(kept.get() == nil, "a connection that waits for a request ends")
    halfway.send("st: x\r\n\r\n")
    #expect(
      halfway.response()?.head.contains("Connection: close") == true, "a request that has begun is answered")
    #expect(Client(second.endpoint).get() == nil)
    #expect(text(early.get()?.body) == "a", "the others stay")
    feeder.close()
    #expect(runner.wait() == "ended")
    close(firstRaw)
    backend.kill()
  }

  @Test func `a port for HTTPS opens on a data plane that began without one`() throws {
    let backend = try Backend("a")
    let (feeder, runner) = try plane(workers: 2)
    try feeder.send(everything(to: [backend.endpoint]))
    let (listener, raw) = try socket(.https)
    try feeder.open(listener, descriptor: raw)
    #expect(isInForce(feeder))
    let answer = run(["curl", "-sSk", "-m", "20", "https://\(listener.endpoint)/"])
    #expect(answer.text == "a", "\(answer)")
    feeder.close()
    #expect(runner.wait() == "ended")
    close(raw)
    backend.kill()
  }

  @Test(arguments: [1, 2])
  func `connections of HTTP 2 are told when their listener goes, and what they have asked for is answered`(
    workers: Int
  ) throws {
    let backend = try Backend("a")
    let (feeder, runner) = try plane(workers: workers)
    try feeder.send(everything(to: [backend.endpoint]))
    let (listener, raw) = try socket(.http)
    try feeder.open(listener, descriptor: raw)
    #expect(isInForce(feeder))
    let idle = FrameClient(listener.endpoint)
    idle.get(1)
    #expect(idle.answer(1)?.status == 200)
    // Its body is still to come.
    let running = FrameClient(listener.endpoint)
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
    running.get(1, fields, ends: false)
    #expect(eventually { backend.connections.load(ordering: .relaxed) >= 1 })
    running.send(Frame(kind: 6, stream: 0, payload: [UInt8](repeating: 1, count: 8)))
    #expect(running.next(6) != nil)
    try feeder.close(listener)
    #expect(isInForce(feeder))
    let notice = try #require(idle.next(7))
    #expect(notice.payload.prefix(4) == big(1)[...] && notice.error == HTTP2Error.none)
    #expect(idle.end() == nil)
    let other = try #require(running.next(7))
    #expect(other.payload.prefix(4) == big(1)[...] && other.error == HTTP2Error.none)
    running.send(Frame(kind: 0, flags: 1, stream: 1, payload: Array("abcd".utf8)))
    let answer = running.answer(1)
    #expect(answer?.status == 200 && text(answer?.body).hasPrefix("4 "), "\(answer as Any)")
    #expect(running.read() == nil)
    feeder.close()
    #expect(runner.wait() == "ended")
    close(raw)
    backend.kill()
  }

  @Test func `a listener without its socket, or the same again, changes nothing`() throws {
    let backend = try Backend("a")
    let (feeder, runner) = try plane(workers: 1)
    try feeder.send(everything(to: [backend.endpoint]))
    let (listener, raw) = try socket(.http)
    try feeder.open(listener, descriptor: -1)
    try feeder.close(listener)
    for _ in 0..<3 { try feeder.open(listener, descriptor: raw) }
    #expect(isInForce(feeder))
    #expect(text(Client(listener.endpoint).get()?.body) == "a")
    feeder.close()
    #expect(runner.wait() == "ended")
    close(raw)
    backend.kill()
  }

  @Test func `frames of listeners are read as they were written, and damaged ones are refused`() throws {
    for transport in [TransportProtocol.tcp, .udp] {
      for serves in IngressListener.Service.allCases {
        for address in ["192.0.2.1", "fd00::1"] {
          let listener = IngressListener(
            SocketEndpoint(try #require(IPAddress(address)), 8443), transport: transport, serves: serves)
          let frame = listener.frame(IngressListener.openMagic)
          #expect(try IngressListener(frame: frame) == listener)
          for cut in 4..<frame.count {
            #expect(throws: RouteTableUnreadable.self) { try IngressListener(frame: Array(frame[..<cut])) }
          }
          for bytes in mutations(of: frame, count: 200, seed: 1) where bytes.count >= 4 {
            _ = try? IngressListener(frame: bytes)
          }
          #expect(throws: RouteTableUnreadable.self) { try IngressListener(frame: frame + [0]) }
        }
      }
    }
  }
}

// Who comes first on a busy thread (T-D6): names of the cluster do not wait for other people's questions upstream. One socket of the
// test is client and upstream server at once: what it gets comes in the order in which the server sent it.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import DNS

/// Holds a serving thread up.
private final class Gate: Sendable {
  let isClosed = Atomic<Bool>(false)
  let isReached = Atomic<Bool>(false)

  func pass() {
    guard isClosed.load(ordering: .acquiring) else { return }
    isReached.store(true, ordering: .releasing)
    // Whatever becomes of the test.
    for _ in 0..<60_000 where isClosed.load(ordering: .acquiring) { usleep(1000) }
  }
}

/// The socket, and the server's.
private final class Both {
  let own: Int32
  let doors: Int32
  let endpoint: SocketEndpoint
  private let server: SocketEndpoint
  private var space = [UInt8](repeating: 0, count: 4096)

  init() throws {
    let any = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 0)
    let first = try Sockets.bindUDP(any, reusePort: false)
    let second = try Sockets.bindUDP(any, reusePort: false)
    let bound = (Sockets.localEndpoint(first), Sockets.localEndpoint(second))
    endpoint = try #require(bound.0)
    server = try #require(bound.1)
    own = first.release()
    doors = second.release()
  }

  deinit { close(own) }

  func send(_ bytes: [UInt8], to peer: SocketAddress? = nil) {
    _ = (peer ?? SocketAddress(server)).withSockaddr { sendto(own, bytes, bytes.count, 0, $0, $1) }
  }

  func ask(_ name: String, _ id: UInt16) throws {
    send(Message(query: try #require(DomainName(name)), .a, id: id).encoded)
  }

  /// What comes next, the server's look for loops left out; nil when nothing comes.
  func next() -> (bytes: [UInt8], message: Message, peer: SocketAddress)? {
    while true {
      var entry = pollfd(fd: own, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, 30_000) == 1 else { return nil }
      var storage = sockaddr_in6()
      var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      let count = withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          recvfrom(own, &space, space.count, 0, $0, &length)
        }
      }
      guard count > 0 else { return nil }
      let bytes = Array(space[..<count])
      guard let message = try? Message(bytes.span.bytes), message.question?.type != .hinfo else { continue }
      return (bytes, message, SocketAddress(storage: storage, length: length))
    }
  }

  /// Serves the fixture's names, and asks this socket for all others.
  func serve(_ gate: Gate = Gate()) throws -> DNSServer {
    var settings = DNSServerSettings()
    settings.threads = 1
    settings.routes = [ForwardRoute(upstreams: [endpoint], timeoutMilliseconds: 60_000)]
    settings.answerWatch = AnswerWatch(
      isActive: {
        gate.pass()
        return false
      }, isMissing: { _ in false }, take: { _, _, _, _ in false })
    let server = DNSServer(settings: settings, zone: Fixture.zone, metrics: Metrics())
    try server.start(datagrams: [doors], listeners: [])
    return server
  }
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct TurnTests {
  @Test func `what is known is answered before others are asked for the rest`() throws {
    let both = try Both()
    // All of it waits when the server looks for the first time.
    for id in 1...30 as ClosedRange<UInt16> { try both.ask("m\(id).other.test", id) }
    try both.ask("web.demo.svc.cluster.local", 100)
    let server = try both.serve()
    defer { server.stop() }
    let first = try #require(both.next()).message
    #expect(first.isResponse && first.id == 100, "\(first)")
    var asked: Set<String> = []
    while asked.count < 30, let question = both.next()?.message {
      #expect(!question.isResponse)
      asked.insert("\(question.question?.name ?? .root)")
    }
    #expect(asked.count == 30)
  }

  @Test func `replies of upstream servers do not hold up who asks for a name of the cluster`() throws {
    let both = try Both()
    let gate = Gate()
    let server = try both.serve(gate)
    defer { server.stop() }
    defer { gate.isClosed.store(false, ordering: .releasing) }
    var questions: [(bytes: [UInt8], message: Message, peer: SocketAddress)] = []
    for id in 1...200 as ClosedRange<UInt16> {
      try both.ask("m\(id).other.test", id)
      questions.append(try #require(both.next()))
    }
    func reply(_ index: Int) {
      var bytes = questions[index].bytes
      bytes[2] |= 0x80
      both.send(bytes, to: questions[index].peer)
    }
    // The first reply finds the gate closed; all others, and then a question, come while it is.
    gate.isClosed.store(true, ordering: .releasing)
    reply(0)
    #expect(eventually { gate.isReached.load(ordering: .acquiring) })
    for index in 1..<200 { reply(index) }
    try both.ask("web.demo.svc.cluster.local", 1000)
    gate.isClosed.store(false, ordering: .releasing)
    var order: [UInt16] = []
    while order.count < 201, let answer = both.next()?.message { order.append(answer.id) }
    #expect(Set(order).count == 201)
    let place = try #require(order.firstIndex(of: 1000))
    #expect(place <= 2 * DNSWorker.repliesPerLook, "after \(place) of 200")
  }
}

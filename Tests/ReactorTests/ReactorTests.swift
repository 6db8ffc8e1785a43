// The loop under test: a real thread, real sockets on loopback. Waiting is polling with a bound.

import Addresses
import Diagnostics
import Glibc
import Synchronization
import Testing

@testable import Reactor

let loopback = IPAddress("127.0.0.1")!

func local(_ descriptor: borrowing Descriptor) throws -> SocketEndpoint {
  guard let endpoint = Sockets.localEndpoint(descriptor) else { throw SocketError("getsockname", 0) }
  return endpoint
}

/// Polls until `condition` holds; false after half a minute.
func eventually(_ condition: () -> Bool) -> Bool {
  for _ in 0..<30_000 {
    if condition() { return true }
    usleep(1000)
  }
  return false
}

/// A blocking client socket with a limit of twenty seconds on each call.
final class Client {
  let raw: Int32
  let isConnected: Bool
  init(_ endpoint: SocketEndpoint, _ type: __socket_type = SOCK_STREAM) {
    raw = socket(endpoint.address.family == .v4 ? AF_INET : AF_INET6, Int32(type.rawValue), 0)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let raw = raw
    isConnected = SocketAddress(endpoint).withSockaddr { connect(raw, $0, $1) } == 0
  }
  func send(_ text: String) {
    _ = Array(text.utf8).withUnsafeBytes { Glibc.send(raw, $0.baseAddress, $0.count, 0x4000) }
  }
  func receive(_ count: Int = 65536) -> String {
    var space = [UInt8](repeating: 0, count: count)
    let got = recv(raw, &space, count, 0)
    return got > 0 ? String(decoding: space[..<got], as: UTF8.self) : ""
  }
  func receiveAll() -> String {
    var all = ""
    while true {
      let piece = receive()
      if piece.isEmpty { return all }
      all += piece
    }
  }
  deinit { close(raw) }
}

/// Sends back what it gets; counts its calls.
final class Echo: ReadinessHandler {
  var channel = Channel()
  let reactor: Reactor
  init(_ descriptor: consuming Descriptor, _ reactor: Reactor) throws {
    self.reactor = reactor
    channel = try reactor.register(descriptor, handler: self)
  }
  func ready(_ readiness: Readiness) {
    while channel.isOpen {
      switch channel.receive(into: reactor.scratch) {
      case .bytes(let count): _ = channel.send(UnsafeRawBufferPointer(rebasing: reactor.scratch[..<count]))
      case .wouldBlock: return
      case .end, .failed: cancel()
      }
    }
  }
  func drain() {}
  func cancel() { channel.close() }
}

@Suite struct ReactorTests {
  @Test func `a listener hands over connections and bytes come back`() throws {
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    let endpoint = try local(listening)
    let handedOver = listening.release()
    let thread = try ReactorThread(name: "echo") { reactor in
      _ = try? Listener(Descriptor(owning: handedOver), reactor: reactor) { descriptor, peer in
        #expect(peer.address == loopback)
        _ = try? Echo(descriptor, reactor)
      }
    }
    let clients = (0..<50).map { _ in Client(endpoint) }
    for (index, client) in clients.enumerated() { client.send("hello \(index)") }
    for (index, client) in clients.enumerated() { #expect(client.receive() == "hello \(index)") }
    thread.stop()
    #expect(clients[0].receive().isEmpty)
    #expect(thread.reactor.channelCount == 0)
  }

  @Test func `an event queued for a closed channel does not reach the next owner of its number`() throws {
    final class Watcher: ReadinessHandler {
      var channel = Channel()
      var calls = 0
      var onReady: () -> Void = {}
      func ready(_ readiness: Readiness) {
        if readiness.contains(.readable) { calls += 1 }
        onReady()
      }
      func cancel() { channel.close() }
    }
    // Both ends of two pairs become readable in one epoll_wait; the first handler closes the other one's
    // channel and registers a new descriptor, which gets the freed slot and most likely the freed number.
    func pair() -> (Int32, Int32) {
      var ends: [Int32] = [0, 0]
      socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends)
      return (ends[0], ends[1])
    }
    let reactor = try Reactor(name: "stale")
    let (a, aPeer) = pair()
    let (b, bPeer) = pair()
    let (c, cPeer) = pair()
    defer { for raw in [aPeer, bPeer, cPeer] { close(raw) } }
    let first = Watcher()
    let second = Watcher()
    let late = Watcher()
    first.channel = try reactor.register(Descriptor(owning: a), handler: first)
    second.channel = try reactor.register(Descriptor(owning: b), handler: second)
    nonisolated(unsafe) var done = false
    let swap = { (other: Watcher) in
      guard !done else { return }
      done = true
      other.channel.close()
      do { late.channel = try reactor.register(Descriptor(owning: dup(c)), handler: late) } catch {
        Issue.record(error)
      }
    }
    first.onReady = { swap(second) }
    second.onReady = { swap(first) }
    write(aPeer, "x", 1)
    write(bPeer, "x", 1)
    reactor.setTimer(after: .milliseconds(50)) { reactor.stop() }
    reactor.run()
    #expect(done)
    #expect(first.calls + second.calls == 1)
    #expect(late.calls == 0)
    close(c)
  }

  @Test func `timers end in order and a cancelled one never does`() throws {
    let reactor = try Reactor(name: "timers")
    var ended: [Int] = []
    var tokens: [TimerToken] = []
    for milliseconds in [30, 10, 20, 5, 25] {
      tokens.append(reactor.setTimer(after: .milliseconds(milliseconds)) { ended.append(milliseconds) })
    }
    #expect(reactor.cancelTimer(tokens[2]))
    #expect(!reactor.cancelTimer(tokens[2]))
    reactor.setTimer(after: .milliseconds(40)) { reactor.stop() }
    reactor.run()
    #expect(ended == [5, 10, 25, 30])
  }

  @Test(arguments: [1, 7, 99]) func `the heap agrees with sorting`(seed: UInt64) {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    func next(_ bound: UInt64) -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state % bound
    }
    var timers = Timers(countMax: 1000)
    let handler = ClosureTimer {}
    var model: [(UInt64, TimerToken)] = []
    for step in 0..<5000 {
      if next(3) > 0, model.count < 1000 {
        let deadline = next(10_000) * 10_000 + UInt64(step)
        model.append((deadline, timers.set(deadline: deadline, tag: Int(deadline), handler: handler)!))
      } else if !model.isEmpty, next(2) == 0 {
        let victim = model.remove(at: Int(next(UInt64(model.count))))
        let wasSet = timers.cancel(victim.1)
        #expect(wasSet)
      } else if let least = model.min(by: { $0.0 < $1.0 }) {
        model.removeAll { $0.0 == least.0 }
        let tag = timers.popEnded(now: .max)?.tag
        #expect(tag == Int(least.0))
      }
      #expect(timers.count == model.count)
    }
  }

  @Test func `closures of other threads run once each and a full mailbox refuses`() throws {
    var limits = ReactorLimits()
    limits.mailboxMax = 8
    let reactor = try Reactor(name: "mail", limits: limits)
    let ran = Atomic<Int>(0)
    var accepted = 0
    for _ in 0..<20 where reactor.submit({ _ in ran.add(1, ordering: .relaxed) }) { accepted += 1 }
    #expect(accepted == 8)
    reactor.stop()
    reactor.run()
    #expect(ran.load(ordering: .relaxed) == 8)
    #expect(!reactor.submit { _ in })
  }

  @Test func `stopping waits for open connections as long as it was told and no longer`() throws {
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    let endpoint = try local(listening)
    let raw = listening.release()
    let thread = try ReactorThread(name: "drain") { reactor in
      _ = try? Listener(Descriptor(owning: raw), reactor: reactor) { descriptor, _ in
        _ = try? Echo(descriptor, reactor)
      }
    }
    let finishing = Client(endpoint)
    finishing.send("a")
    #expect(finishing.receive() == "a")
    thread.reactor.stop(draining: .seconds(120))
    #expect(eventually { !Client(endpoint).isConnected })
    finishing.send("still served")
    #expect(finishing.receive() == "still served")
    shutdown(finishing.raw, Int32(SHUT_WR))
    let start = Reactor.monotonicNanoseconds()
    thread.join()
    #expect(Reactor.monotonicNanoseconds() - start < 60_000_000_000)
  }

  @Test func `datagrams are answered from the address they were sent to`() throws {
    final class Upper: DatagramHandler {
      func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
        for (index, byte) in datagram.payload.enumerated() { reply[index] = byte >= 97 ? byte - 32 : byte }
        return datagram.payload.count
      }
    }
    let opened = try Sockets.bindUDP(SocketEndpoint(IPAddress("0.0.0.0")!, 0))
    let port = try local(opened).port
    let raw = opened.release()
    let thread = try ReactorThread(name: "udp") { reactor in
      _ = try? UDPSocket(Descriptor(owning: raw), reactor: reactor, handler: Upper())
    }
    // A connected client accepts only answers from the address it asked.
    for address in ["127.0.0.1", "127.0.0.53", "127.9.9.9"] {
      let client = Client(SocketEndpoint(IPAddress(address)!, port), SOCK_DGRAM)
      for index in 0..<100 { client.send("query\(index)") }
      for index in 0..<100 { #expect(client.receive() == "QUERY\(index)") }
    }
    thread.stop()
  }

  /// Who reads an answer makes the socket writable again: nobody waits for that, and nobody is woken for it.
  @Test func `a datagram and its answer wake the loop once`() throws {
    final class Same: DatagramHandler {
      func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
        reply.copyMemory(from: datagram.payload)
        return datagram.payload.count
      }
    }
    let opened = try Sockets.bindUDP(SocketEndpoint(loopback, 0))
    let endpoint = try local(opened)
    let raw = opened.release()
    let thread = try ReactorThread(name: "once") { reactor in
      _ = try? UDPSocket(Descriptor(owning: raw), reactor: reactor, handler: Same())
    }
    let client = Client(endpoint, SOCK_DGRAM)
    client.send("first")
    #expect(client.receive() == "first")
    let before = thread.reactor.metrics.iterations.current
    for number in 0..<200 {
      client.send("query\(number)")
      #expect(client.receive() == "query\(number)")
    }
    let iterations = thread.reactor.metrics.iterations.current - before
    #expect(iterations <= 201, "\(iterations)")
    thread.stop()
  }

  @Test func `the status server answers paths, refuses other methods and oversized heads`() throws {
    let opened = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    let endpoint = try local(opened)
    let raw = opened.release()
    let thread = try ReactorThread(name: "status") { reactor in
      _ = try? HTTPStatusServer(Descriptor(owning: raw), reactor: reactor) { path in
        path == "/healthz" ? .init(text: "ok\n") : nil
      }
    }
    func ask(_ request: String) -> String {
      let client = Client(endpoint)
      client.send(request)
      return client.receiveAll()
    }
    #expect(
      ask("GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n").hasSuffix(
        "Content-Length: 3\r\nConnection: close\r\n\r\nok\n"))
    #expect(ask("HEAD /healthz HTTP/1.1\r\n\r\n").hasSuffix("\r\n\r\n"))
    #expect(ask("GET /other HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 404"))
    #expect(ask("POST /healthz HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 405"))
    #expect(ask("nonsense\r\n\r\n").hasPrefix("HTTP/1.1 400"))
    #expect(ask("GET / HTTP/1.1\r\nA: " + String(repeating: "x", count: 9000)).hasPrefix("HTTP/1.1 431"))
    thread.stop()
  }

  @Test(arguments: ["1.2.3.4:80", "[fd00::1]:65535", "[::]:0"])
  func `an address survives the kernel's form`(text: String) {
    let endpoint = SocketEndpoint(text)
    #expect(endpoint != nil)
    #expect(endpoint.flatMap { SocketAddress($0).endpoint } == endpoint)
  }

  @Test func `a pool lends no more buffers than its bound`() {
    let pool = BufferPool(bufferBytes: 64, buffersMax: 2, keptMax: 1)
    var a = pool.take()
    do {
      let b = pool.take()
      let c = pool.take()
      let allocated = (b.isAllocated, c.isAllocated)
      #expect(allocated == (true, false))
    }
    #expect(pool.inUse == 1)
    let text = Array("0123456789".utf8)
    let copied = text.withUnsafeBytes { a.append($0) }
    #expect(copied == 10)
    a.consumed(4)
    a.compact()
    let left = Array(a.readable)
    let room = a.room
    #expect(left == Array("456789".utf8))
    #expect(room == 58)
  }
}

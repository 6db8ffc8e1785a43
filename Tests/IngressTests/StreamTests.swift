// TCP and UDP passed on, with real sockets: what goes in comes out, in both directions, and nothing is held for those who say nothing.

import Addresses
import CLinux
import Foundation
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite struct TCPStreamTests {
  @Test func `large transfers go both ways at a time, and each end is passed on alone`() throws {
    let size = 24 << 20
    let outcome = Mutex<Int?>(-1)
    let server = try ThreadServer { client in
      let raw = client.raw
      let writer = Thread {
        _ = Pattern.send(size, to: raw)
        shutdown(raw, Int32(SHUT_WR))
      }
      writer.start()
      let count = Pattern.read(from: raw)
      outcome.withLock { $0 = count }
      while !writer.isFinished { usleep(1000) }
    }
    let lab = try StreamLab.plain(server)
    defer { lab.stop() }
    let client = Client(lab.ports[0])
    let raw = client.raw
    let writer = Thread {
      _ = Pattern.send(size + 77, to: raw)
      shutdown(raw, Int32(SHUT_WR))
    }
    writer.start()
    #expect(Pattern.read(from: raw) == size)
    #expect(eventually { outcome.withLock { $0 } == size + 77 })
    #expect(eventually { lab.value("weft_ingress_stream_connections_total{result=\"finished\"}") == 1 })
    #expect(eventually { lab.value("weft_ingress_stream_spliced_bytes_total") == Double(2 * size + 77) })
    #expect(eventually { lab.value("weft_ingress_stream_connections ") == 0 })
  }

  @Test func `an answer comes after the client has finished sending`() throws {
    let server = try ThreadServer { client in
      var asked: [UInt8] = []
      while case let bytes = client.some(), !bytes.isEmpty { asked += bytes }
      client.send("got \(asked.count) ")
      _ = Pattern.send(0, to: client.raw)
      client.send([UInt8](repeating: 7, count: 1 << 20))
    }
    let lab = try StreamLab.plain(server)
    defer { lab.stop() }
    let client = Client(lab.ports[0])
    client.send("question")
    client.finishSending()
    let answer = client.readAll()
    #expect(answer.hasPrefix("got 8 ") && answer.utf8.count == 6 + 1 << 20)
  }

  @Test func `nothing is read from a client while its endpoint takes nothing, and nothing is lost`() throws {
    let mayRead = Flag()
    let outcome = Mutex<Int?>(-1)
    let server = try ThreadServer { client in
      _ = eventually { mayRead.isRaised }
      let count = Pattern.read(from: client.raw)
      outcome.withLock { $0 = count }
    }
    let lab = try StreamLab.plain(server)
    defer { lab.stop() }
    let client = Client(lab.ports[0])
    // As much as the buffers of four sockets and a pipe take, and no more.
    var sent = 0
    var silent = 0
    while silent < 300, sent < 256 << 20 {
      let start = sent % Pattern.period
      let count = Pattern.bytes.withUnsafeBytes {
        send(client.raw, $0.baseAddress.map { $0 + start }, Pattern.period, Int32(MSG_DONTWAIT) | 0x4000)
      }
      if count > 0 {
        sent += count
        silent = 0
      } else {
        silent += 1
        usleep(1000)
      }
    }
    #expect(sent < 64 << 20, "\(sent) bytes were taken for an endpoint that reads none")
    #expect(lab.ask { $0.streams.gear.pipes.inUse } == 1)
    mayRead.raise()
    client.finishSending()
    #expect(eventually { outcome.withLock { $0 } == sent })
  }

  @Test func `a thousand idle streams hold two sockets each and nothing else, and all of them live`() throws {
    let lab = try StreamLab()
    let held = Mutex<[Int32]>([])
    let server = try ThreadServer(backlog: 4096, accepts: false) { _ in }
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0), reusePort: false)
    let endpoint = try local(listening)
    let raw = listening.release()
    _ = fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) & ~O_NONBLOCK)
    Thread.detachNewThread {
      while case let connection = accept(raw, nil, nil), connection >= 0 {
        held.withLock { $0.append(connection) }
      }
      close(raw)
    }
    defer {
      lab.stop()
      server.stop()
      shutdown(raw, Int32(SHUT_RDWR))
      for connection in held.withLock({ $0 }) { close(connection) }
    }
    try lab.installPlain([endpoint])
    let clients = (0..<1000).map { _ in Client(lab.ports[0]) }
    #expect(eventually { held.withLock { $0.count } == 1000 })
    #expect(eventually { lab.value("weft_ingress_stream_connections ") == 1000 })
    let channels = lab.ask { $0.reactor.channelCount } ?? 0
    // Two a stream, and the listeners.
    #expect(channels <= 2010)
    #expect(lab.ask { $0.streams.gear.pipes.inUse } == 0)
    #expect(lab.ask { $0.bulk.inUse + $0.requests.inUse } == 0)
    for connection in held.withLock({ $0 }) { #expect(send(connection, [UInt8(42)], 1, 0x4000) == 1) }
    #expect(clients.allSatisfy { $0.read(1) == [42] })
  }

  @Test func `an endpoint that refuses is passed over, and without another the client is told by a reset`()
    throws
  {
    let server = try ThreadServer.echo("b")
    let gone = try RefusingEndpoint()
    let lab = try StreamLab(server)
    defer { lab.stop() }
    try lab.installPlain([gone.endpoint, server.endpoint])
    for _ in 0..<4 { #expect(text(Client(lab.ports[0]).read(1)) == "b") }
    try lab.installPlain([gone.endpoint])
    #expect(Client(lab.ports[0]).isReset())
    try lab.installPlain([])
    #expect(Client(lab.ports[0]).isReset())
    try lab.install(StreamTable())
    #expect(Client(lab.ports[0]).isReset())
    for reason in ["unreachable", "no_endpoint", "no_route"] {
      #expect(
        lab.value("weft_ingress_stream_connections_refused_total{reason=\"\(reason)\"}") == 1, "\(reason)")
    }
  }

  @Test func `an endpoint that does not answer in time is passed over`() throws {
    let silent = try ThreadServer(backlog: 0, accepts: false) { _ in }
    // Its queue is full now: the kernel answers no further connection.
    let fillers = try (0..<4).map { _ in try Sockets.connectTCP(silent.endpoint).release() }
    usleep(50_000)
    let server = try ThreadServer.echo("b")
    let lab = try StreamLab()
    defer {
      lab.stop()
      server.stop()
      silent.stop()
      for filler in fillers { close(filler) }
    }
    var policy = BackendPolicy()
    policy.timeouts.connect = 1000
    try lab.installPlain([silent.endpoint, server.endpoint], policy)
    for _ in 0..<2 { #expect(text(Client(lab.ports[0]).read(1)) == "b") }
  }

  @Test func `weights are kept exactly, and the share of nobody is reset`() throws {
    let servers = try ["a", "b"].map { try ThreadServer.echo($0) }
    let lab = try StreamLab()
    defer {
      lab.stop()
      for server in servers { server.stop() }
    }
    try lab.install(
      StreamTable(
        backends: servers.map { backend([$0.endpoint]) },
        listeners: [
          lab.listener(
            .tcp,
            [
              StreamTarget(backend: 0, weight: 5), StreamTarget(backend: 1, weight: 2),
              StreamTarget(backend: -1, weight: 1),
              StreamTarget(backend: 1, weight: 0),
            ])
        ]))
    let answers = (0..<16).map { _ in text(Client(lab.ports[0]).read(1)) }
    #expect(answers.filter { $0 == "a" }.count == 10)
    #expect(answers.filter { $0 == "b" }.count == 4)
    #expect(answers.filter { $0.isEmpty }.count == 2)
  }

  @Test func `a new table is for new connections, those that run keep an endpoint that left`() throws {
    let servers = try ["a", "b"].map { try ThreadServer.echo($0) }
    let lab = try StreamLab()
    defer {
      lab.stop()
      for server in servers { server.stop() }
    }
    try lab.installPlain([servers[0].endpoint])
    let old = Client(lab.ports[0])
    #expect(text(old.read(1)) == "a")
    try lab.installPlain([servers[1].endpoint])
    #expect(text(Client(lab.ports[0]).read(1)) == "b")
    old.send("still")
    #expect(text(old.read(5)) == "still")
    try lab.install(StreamTable())
    old.send("there")
    #expect(text(old.read(5)) == "there")
    old.finishSending()
    #expect(old.readAll() == "")
    #expect(eventually { lab.value("weft_ingress_stream_connections_total{result=\"finished\"}") >= 1 })
  }

  @Test func `a connection that is idle too long ends, one that speaks goes on`() throws {
    let server = try ThreadServer.echo("a")
    let lab = try StreamLab(server)
    defer { lab.stop() }
    var policy = BackendPolicy()
    policy.timeouts.idle = 3000
    try lab.installPlain([server.endpoint], policy)
    let silent = Client(lab.ports[0])
    let busy = Client(lab.ports[0])
    #expect(text(silent.read(1)) == "a" && text(busy.read(1)) == "a")
    // Thirty times more often than it has to, until long after the other has gone.
    let idle = "weft_ingress_stream_connections_total{result=\"idle\"}"
    var more = 10
    for _ in 0..<300 where more > 0 {
      busy.send("x")
      #expect(text(busy.read(1)) == "x")
      if lab.value(idle) > 0 { more -= 1 }
      usleep(100_000)
    }
    #expect(silent.isReset())
    #expect(lab.value(idle) == 1)
  }

  @Test func `past the bound of connections the next is reset`() throws {
    let server = try ThreadServer.echo("a")
    let lab = try StreamLab.plain(server) { $0.streamsMax = 2 }
    defer { lab.stop() }
    let clients = [Client(lab.ports[0]), Client(lab.ports[0])]
    #expect(clients.allSatisfy { text($0.read(1)) == "a" })
    #expect(Client(lab.ports[0]).isReset())
    #expect(eventually { lab.value("weft_ingress_stream_connections_refused_total{reason=\"full\"}") == 1 })
  }

  @Test func `with no pipe left bytes are copied`() throws {
    let server = try ThreadServer { client in _ = Pattern.read(from: client.raw).map { client.send("\($0)") }
    }
    let lab = try StreamLab.plain(server) { $0.pipesMax = 0 }
    defer { lab.stop() }
    let client = Client(lab.ports[0])
    #expect(Pattern.send(3 << 20, to: client.raw))
    client.finishSending()
    #expect(client.readAll() == "\(3 << 20)")
    #expect(lab.value("weft_ingress_stream_pieces_copied_total") > 0)
  }

  @Test func `a plane that drains lets connections end`() throws {
    let server = try ThreadServer.echo("a")
    let lab = try StreamLab.plain(server)
    defer { lab.stop() }
    let client = Client(lab.ports[0])
    #expect(text(client.read(1)) == "a")
    lab.thread.reactor.stop(draining: .seconds(30))
    #expect(eventually { Client(lab.ports[0]).read(1).isEmpty })
    client.send("last")
    #expect(text(client.read(4)) == "last")
    client.finishSending()
    #expect(client.readAll() == "")
  }
}

@Suite struct UDPStreamTests {
  private func install(_ lab: StreamLab, _ servers: [DatagramServer]) throws {
    try lab.install(
      StreamTable(
        backends: [backend(servers.map(\.endpoint))],
        listeners: [lab.listener(.udp, [StreamTarget(backend: 0)])]))
  }

  @Test func `a client stays with its endpoint, clients are spread`() throws {
    let servers = try ["a", "b"].map { try DatagramServer($0) }
    let lab = try StreamLab()
    defer {
      lab.stop()
      for server in servers { server.stop() }
    }
    try install(lab, servers)
    var names: Set<String> = []
    for _ in 0..<4 {
      let client = DatagramClient(lab.udp)
      let name = client.ask("one").prefix(1)
      names.insert(String(name))
      for text in ["two", "three"] { #expect(client.ask(text) == "\(name) \(text)") }
      let long = String(repeating: "x", count: 60_000)
      #expect(client.ask(long) == "\(name) \(long)")
    }
    #expect(names == ["a", "b"])
    #expect(eventually { lab.value("weft_ingress_udp_sessions ") == 4 })
  }

  @Test func `an endpoint that left is replaced for its clients, without one datagrams are dropped`() throws {
    let servers = try ["a", "b"].map { try DatagramServer($0) }
    let lab = try StreamLab()
    defer {
      lab.stop()
      for server in servers { server.stop() }
    }
    try install(lab, [servers[0]])
    let client = DatagramClient(lab.udp)
    #expect(client.ask("x") == "a x")
    try install(lab, [servers[1]])
    #expect(client.ask("y") == "b y")
    try install(lab, [])
    #expect(client.send("z"))
    #expect(eventually { lab.value("weft_ingress_udp_datagrams_dropped_total") == 1 })
    #expect(eventually { lab.value("weft_ingress_udp_sessions ") == 0 })
  }

  @Test(arguments: [(seconds: 1, evicted: 0.0), (seconds: 120, evicted: 2.0)])
  func `a full table lets the longest silent client go, silence ends the others`(
    _ session: (seconds: Int, evicted: Double)
  ) throws {
    let server = try DatagramServer("a")
    let lab = try StreamLab(
      server,
      limits: {
        $0.sessionsMax = session.evicted > 0 ? 3 : 100
        $0.answeredSessionSeconds = UInt64(session.seconds)
      })
    defer { lab.stop() }
    try install(lab, [server])
    let clients = (0..<5).map { _ in DatagramClient(lab.udp) }
    for client in clients { #expect(client.ask("x") == "a x") }
    let left = session.evicted > 0 ? 3.0 : 0
    #expect(eventually { lab.value("weft_ingress_udp_sessions ") == left })
    #expect(lab.value("weft_ingress_udp_sessions_evicted_total") == session.evicted)
    // They begin anew.
    #expect(clients[4].ask("y") == "a y")
  }

  @Test func `weights spread clients, and the share of nobody is dropped`() throws {
    let server = try DatagramServer("a")
    let lab = try StreamLab(server)
    defer { lab.stop() }
    try lab.install(
      StreamTable(
        backends: [backend([server.endpoint])],
        listeners: [
          lab.listener(.udp, [StreamTarget(backend: 0, weight: 3), StreamTarget(backend: -1, weight: 1)])
        ]))
    let clients = (0..<8).map { _ in DatagramClient(lab.udp) }
    for client in clients { #expect(client.send("x")) }
    #expect(eventually { lab.value("weft_ingress_udp_datagrams_dropped_total") == 2 })
    #expect(eventually { lab.value("weft_ingress_udp_sessions ") == 6 })
  }
}

// What a server must not be used for: loops with other services (T-D4), amplification (T-D5), answers too large to send (T-D11).

import Addresses
import CLinux
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import Reactor
import Testing

@testable import DNS

/// A UDP socket bound as told and connected to the server.
private final class Sender {
  let descriptor: Int32

  init(_ port: UInt16, from source: UInt16 = 0) throws {
    let loopback = IPAddress.v4(IPv4Address(127, 0, 0, 1))
    descriptor = try Sockets.bindUDP(SocketEndpoint(loopback, source), reusePort: false).release()
    let raw = descriptor
    let connected = SocketAddress(SocketEndpoint(loopback, port)).withSockaddr { connect(raw, $0, $1) }
    try #require(connected == 0)
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, 0) }

  /// What comes within the time; empty when nothing does.
  func receive(milliseconds: Int32) -> [UInt8] {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, milliseconds) == 1 else { return [] }
    var space = [UInt8](repeating: 0, count: 65536)
    let count = recv(descriptor, &space, space.count, 0)
    return Array(space[..<max(0, count)])
  }
}

private func query(_ name: String, _ type: RecordType = .a, id: UInt16 = 1, edns: UInt16? = nil) -> [UInt8] {
  var message = Message(query: DomainName(name) ?? .root, type, id: id)
  if let edns {
    message.edns = Message.EDNS()
    message.edns?.udpBytesMax = edns
  }
  return message.encoded
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct AbuseTests {
  /// One packet to such a port, and two servers talk for ever.
  @Test func `responses are never answered, nor ports that answer whatever they get`() throws {
    try withServer { _, port in
      let client = try Sender(port)
      for opcode in 0..<16 as Range<UInt8> {
        var response = query("web.demo.svc.cluster.local", id: 100)
        response[2] = 0x80 | opcode << 3
        client.send(response)
        // Damaged as well: no error is sent back either.
        client.send(Array(response[..<20]))
        client.send(Array(response[..<7]))
      }
      client.send([])
      var echoes: [Sender] = []
      for source in [7, 9, 13, 17, 19, 37] as [UInt16] {
        let echo = try Sender(port, from: source)
        echo.send(query("web.demo.svc.cluster.local"))
        echo.send(Array(query("web.demo.svc.cluster.local")[..<14]))
        echoes.append(echo)
      }
      // Whoever is answered after them proves that they have been read.
      client.send(query("web.demo.svc.cluster.local", id: 7))
      let reply = try Message(client.receive(milliseconds: 10_000).span.bytes)
      #expect(reply.id == 7)
      #expect(client.receive(milliseconds: 50).isEmpty)
      for echo in echoes { #expect(echo.receive(milliseconds: 0).isEmpty) }
    }
  }

  @Test func `no answer over UDP is longer than 1232 octets, and ANY is one small record`() throws {
    try withServer { server, port in
      let client = try Sender(port)
      var names = ["cluster.local", "web.demo.svc.cluster.local", "big.demo.svc.cluster.local"]
      names += ["_http._tcp.big.demo.svc.cluster.local", "outside.demo.svc.cluster.local"]
      var longest = 0
      for name in names {
        for type in [RecordType.a, .aaaa, .srv, .txt, .ns, .soa, .any, .cname, .axfr, .ixfr] {
          for size in [nil, 0, 512, 1232, 4096, 65535] as [UInt16?] {
            let asked = query(name, type, edns: size)
            client.send(asked)
            let reply = client.receive(milliseconds: 10_000)
            longest = max(longest, reply.count)
            #expect(!reply.isEmpty && reply.count <= max(512, min(Int(size ?? 512), 1232)), "\(name) \(type)")
            if type == .any { #expect(reply.count < asked.count + 120, "\(name): \(reply.count)") }
          }
        }
      }
      #expect(longest > 1000)
    }
  }

  @Test func `a network gets ten answers of one kind a second, and half of the others are cut ones`() throws {
    var settings = DNSServerSettings()
    settings.responsesPerSecondMax = 10
    settings.responseSlip = 2
    try withServer(settings) { _, port in
      let client = try Sender(port)
      let clock = ContinuousClock()
      let start = clock.now
      for id in 0..<400 { client.send(query("web.demo.svc.cluster.local", id: UInt16(id))) }
      var whole = 0
      var cut = 0
      // What has to come is waited for; then nothing more comes.
      var hasAll: Bool { whole >= 10 && cut >= (400 - whole) / 2 }
      while case let bytes = client.receive(milliseconds: hasAll ? 500 : 3000), !bytes.isEmpty {
        let reply = try Message(bytes.span.bytes)
        if reply.isTruncated { cut += 1 } else { whole += 1 }
        if reply.isTruncated { #expect(reply.answer.isEmpty && bytes.count < 60) }
      }
      let seconds = Int((clock.now - start).components.seconds) + 2
      #expect(whole >= 10 && whole <= 10 * seconds, "\(whole) in \(seconds) s")
      #expect(cut <= (400 - whole) / 2 + 1 && cut >= (400 - whole) / 2 - seconds, "\(cut) of \(400 - whole)")
    }
  }

  @Test func `a headless Service of 5,000 endpoints is cut over UDP, and over TCP as long as DNS allows`()
    throws
  {
    let endpoints = (0..<5000).map { Fixture.endpoint("10.60.\($0 / 250).\($0 % 250)") }
    let objects =
      Fixture.objects + [Fixture.service("huge", ["clusterIP": "None", "ports": Fixture.http])]
      + (0..<50).map { index in
        var slice = Fixture.slice("huge", "IPv4", Array(endpoints[index * 100..<index * 100 + 100]))
        slice["metadata"] = [
          "name": JSON("huge-\(index)"), "namespace": "demo",
          "labels": ["kubernetes.io/service-name": "huge"],
        ]
        return slice
      }
    let zone = planZone(view: ClusterView(objects: objects), settings: Fixture.settings)
    try withServer(zone: zone) { _, port in
      let name = "huge.demo.svc.cluster.local"
      let client = try Sender(port)
      var firsts: Set<String> = []
      for size in [nil, 1232, 4096] as [UInt16?] {
        for _ in 0..<4 {
          client.send(query(name, edns: size))
          let bytes = client.receive(milliseconds: 10_000)
          let reply = try Message(bytes.span.bytes)
          #expect(reply.isTruncated && bytes.count <= (size == nil ? 512 : 1232))
          #expect(reply.answer.count >= (size == nil ? 28 : 70), "\(reply.answer.count)")
          if let first = reply.answer.first { firsts.insert("\(first)") }
        }
      }
      #expect(firsts.count > 3, "they turn round")
      let out = dig(port, "\(name) A +tcp")
      let size = out.split(separator: "\n").first { $0.contains("MSG SIZE") }?.split(separator: " ").last
      #expect(size.flatMap { Int($0) }.map { (60_000...65_535).contains($0) } == true, "\(size ?? "")")
      #expect(out.contains("status: NOERROR"))
      let addresses = Set(out.split(separator: "\n").filter { $0.contains("\tA\t10.60.") })
      #expect(addresses.count > 4000)
    }
  }
}

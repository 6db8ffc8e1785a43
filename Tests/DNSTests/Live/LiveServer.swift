// A server on a free port of the loopback address, and `dig` as the client that decides.

import Addresses
import Diagnostics
import Glibc
import Reactor
import SoakLab
import Synchronization
import Testing

@testable import DNS

/// A place on the loopback that is free for UDP and for TCP. What the kernel gives for TCP may be a port that a question goes out from.
func freeEndpoint() throws -> SocketEndpoint {
  SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), try freePort())
}

/// Runs a body against a running server and stops it.
func withServer<Result>(
  _ settings: DNSServerSettings = DNSServerSettings(), zone: Zone = Fixture.zone,
  metrics: Metrics = Metrics(),
  _ body: (DNSServer, UInt16) throws -> Result
) throws -> Result {
  let server = DNSServer(settings: settings, zone: zone, metrics: metrics)
  try server.start(listen: [freeEndpoint()])
  defer { server.stop() }
  return try body(server, server.endpoints[0].port)
}

/// The standard output of a command, and its exit code.
func run(_ command: String) -> String {
  guard let pipe = popen(command, "r") else { return "" }
  defer { pclose(pipe) }
  var out: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 4096)
  while true {
    let count = fread(&buffer, 1, buffer.count, pipe)
    if count <= 0 { break }
    out += buffer[..<count]
  }
  return String(decoding: out, as: UTF8.self)
}

func dig(_ port: UInt16, _ arguments: String) -> String {
  run("dig @127.0.0.1 -p \(port) +time=15 +tries=1 \(arguments) 2>&1")
}

/// A port of the loopback address over UDP and TCP, for a thread that will serve it.
struct UpstreamSockets {
  let port: UInt16
  private let datagrams: Int32
  private let listener: Int32

  init() throws {
    // A free port of TCP may be one that a question of UDP goes out from.
    var found: (endpoint: SocketEndpoint, listener: Int32, datagrams: Int32)?
    for _ in 0..<20 where found == nil {
      let listener = try Sockets.listenTCP(SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 0))
      let bound = Sockets.localEndpoint(listener)
      guard let bound, let datagrams = try? Sockets.bindUDP(bound).release() else { continue }
      found = (bound, listener.release(), datagrams)
    }
    let sockets = try #require(found)
    (port, datagrams, listener) = (sockets.endpoint.port, sockets.datagrams, sockets.listener)
  }

  /// Once, on the thread of the reactor, which takes the sockets over.
  func serve(
    _ reactor: Reactor, _ handler: any DatagramHandler, _ accept: @escaping (consuming Descriptor) -> Void
  ) {
    _ = try? UDPSocket(Descriptor(owning: datagrams), reactor: reactor, handler: handler)
    _ = try? Listener(Descriptor(owning: listener), reactor: reactor) { descriptor, _ in accept(descriptor) }
  }
}

/// An upstream server for tests: answers from a table over UDP and TCP.
final class TinyUpstream: DatagramHandler, @unchecked Sendable {
  let port: UInt16
  private let thread: ReactorThread
  private let received = Counter()
  var queries: UInt64 { received.current }
  private let seen = Mutex<(packet: [UInt8], peer: SocketEndpoint?)>(([], nil))
  /// The octets of the last question over UDP, and who asked.
  var last: (packet: [UInt8], peer: SocketEndpoint?) { seen.withLock { $0 } }
  var lastOptions: [EDNSValue] {
    let packet = last.packet
    var head = QueryHead()
    guard head.read(packet.span.bytes) == .query else { return [] }
    return [EDNSValue](query: packet.span.bytes, questionEnd: head.questionEnd)
  }
  /// Replies have no records and this code while it is not 0.
  let code = Atomic<UInt16>(0)
  /// The TTL of answers.
  let ttl = Atomic<UInt32>(60)
  /// Questions are counted and not answered while this is true.
  let isSilent = Atomic<Bool>(false)
  /// Questions are answered with SERVFAIL over UDP while this is true.
  let isFailing = Atomic<Bool>(false)

  /// `interwebs.test` with an address at `ext`, an alias at `www` and at `uneven`, where the address stands 20 seconds, nothing at `missing`, silence at `silent`, a cut reply at `big`.
  static func answer(_ query: Message, isTCP: Bool) -> Message? {
    guard let question = query.question, !question.name.description.hasPrefix("silent") else { return nil }
    var reply = query
    reply.flags |= 0x8080
    reply.edns = Message.EDNS()
    let ext = DomainName("ext.interwebs.test") ?? .root
    let label = question.name.labels.first.map { String(decoding: $0, as: UTF8.self).lowercased() } ?? ""
    func add(_ owner: DomainName, _ data: RecordData, _ ttl: UInt32 = 60) {
      reply.answer.append(ResourceRecord(owner: owner, ttl: ttl, data: data))
    }
    switch label {
    case "ext": if question.type == .a { add(question.name, .a(IPv4Address(1, 2, 3, 4))) }
    case "www", "uneven":
      add(question.name, .cname(ext))
      if question.type == .a { add(ext, .a(IPv4Address(1, 2, 3, 4))) }
    case "big":
      if isTCP {
        for last in 1...120 { add(question.name, .a(IPv4Address(10, 9, 8, UInt8(last)))) }
      } else {
        reply.flags |= 0x0200
      }
    default:
      reply.flags |= 3
    }
    if reply.answer.isEmpty, reply.flags & 0x0200 == 0 {
      let soa = StartOfAuthority(primary: ext, mailbox: ext, serial: 1, minimum: 60)
      reply.authority = [
        ResourceRecord(owner: DomainName("interwebs.test") ?? .root, ttl: 60, data: .soa(soa))
      ]
    }
    return reply
  }

  init() throws {
    let sockets = try UpstreamSockets()
    port = sockets.port
    thread = try ReactorThread(name: "upstream")
    thread.reactor.submit { [self] reactor in
      sockets.serve(reactor, self) { Stream.begin($0, reactor) }
    }
  }

  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
    received.increment()
    let packet = Array(datagram.payload)
    let peer = datagram.peer.endpoint
    seen.withLock { $0 = (packet, peer) }
    if isSilent.load(ordering: .relaxed) { return 0 }
    guard let query = try? Message(datagram.payload.bytes), var answer = Self.answer(query, isTCP: false)
    else {
      return 0
    }
    if isFailing.load(ordering: .relaxed) {
      (answer.answer, answer.authority) = ([], [])
      answer.set(.serverFailure)
    }
    let code = code.load(ordering: .relaxed)
    if code != 0 {
      (answer.answer, answer.authority) = ([], [])
      answer.set(ResponseCode(rawValue: code))
    }
    for index in answer.answer.indices {
      answer.answer[index].ttl = ttl.load(ordering: .relaxed)
      if answer.question?.name.description.hasPrefix("uneven") == true, index > 0 {
        answer.answer[index].ttl = 20
      }
    }
    reply.copyBytes(from: answer.encoded)
    return answer.encoded.count
  }

  func stop() { thread.stop() }

  final class Stream: ReadinessHandler {
    private var channel = Channel()
    private var input: [UInt8] = []
    private let answer: (Message) -> Message?

    private init(_ answer: @escaping (Message) -> Message?) { self.answer = answer }

    static func begin(
      _ descriptor: consuming Descriptor, _ reactor: Reactor,
      answer: @escaping (Message) -> Message? = { TinyUpstream.answer($0, isTCP: true) }
    ) {
      let stream = Stream(answer)
      if let channel = try? reactor.register(descriptor, handler: stream) { stream.channel = channel }
    }

    func ready(_ readiness: Readiness) {
      var space = [UInt8](repeating: 0, count: 4096)
      while channel.isOpen {
        switch space.withUnsafeMutableBytes({ channel.receive(into: $0) }) {
        case .bytes(let count): input += space[..<count]
        case .wouldBlock: return
        case .end, .failed: return channel.close()
        }
        guard input.count > 2, input.count >= 2 + Int(input[0]) << 8 + Int(input[1]) else { continue }
        let query = input.withUnsafeBytes { try? Message(UnsafeRawBufferPointer(rebasing: $0[2...]).bytes) }
        input = []
        guard let query, let answer = answer(query)?.encoded else { continue }
        let framed = [UInt8(answer.count >> 8), UInt8(answer.count & 255)] + answer
        _ = framed.withUnsafeBytes { channel.send($0) }
      }
    }

    func cancel() { channel.close() }
  }
}

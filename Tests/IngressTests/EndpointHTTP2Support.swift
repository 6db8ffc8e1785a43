// Endpoints that speak HTTP/2: one by hand, frame by frame, for what no well-behaved server says.

import Addresses
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

/// One accepted connection. Every call gives up after five seconds.
final class FrameServer {
  let client: Client
  init(_ raw: Int32) { client = Client(accepted: raw) }

  func send(_ frames: Frame...) { client.send(frames.flatMap(\.bytes)) }

  /// Reads the preface and says our settings.
  func greet(settings: [UInt8] = []) -> Bool {
    guard text(client.read(24)) == "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" else { return false }
    send(Frame(kind: 4, stream: 0, payload: settings))
    return true
  }

  /// The next frame of a kind, others passed over; nil at the connection's end.
  func next(_ kinds: UInt8...) -> Frame? {
    while let frame = client.frame() { if kinds.contains(frame.kind) { return frame } }
    return nil
  }

  func answer(_ stream: UInt32, _ fields: [(String, String)], ends: Bool = true) {
    send(Frame(kind: 1, flags: ends ? 5 : 4, stream: stream, payload: block(fields)))
  }
  func body(_ stream: UInt32, _ text: String, ends: Bool = true) {
    send(Frame(kind: 0, flags: ends ? 1 : 0, stream: stream, payload: Array(text.utf8)))
  }
  /// Status 200 and a body.
  func say(_ stream: UInt32, _ text: String) {
    answer(stream, [(":status", "200")], ends: false)
    body(stream, text)
  }
}

/// Accepts connections; `serve` runs on a thread for each.
final class FrameBackend: Sendable {
  let endpoint: SocketEndpoint
  let accepted = Atomic<Int>(0)
  private let raw: Int32
  private let ended = Flag()

  init(_ serve: @escaping @Sendable (FrameServer, _ connection: Int) -> Void) throws {
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0), reusePort: false)
    endpoint = try local(listening)
    let raw = listening.release()
    self.raw = raw
    // The listener does not block; a thread waits for it.
    _ = fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) & ~Int32(O_NONBLOCK))
    let (accepted, ended) = (Shared(self), ended)
    thread {
      while true {
        let connection = accept(raw, nil, nil)
        guard connection >= 0, !ended.isRaised, let backend = accepted.value else {
          // Closed by who accepts: its number is another listener's as soon as it is closed.
          close(raw)
          return
        }
        let index = backend.accepted.add(1, ordering: .relaxed).oldValue
        thread { serve(FrameServer(connection), index) }
      }
    }
  }

  private final class Shared: @unchecked Sendable {
    weak var value: FrameBackend?
    init(_ value: FrameBackend) { self.value = value }
  }

  func stop() {
    ended.raise()
    shutdown(raw, Int32(SHUT_RDWR))
  }
}

private func thread(_ body: @escaping @Sendable () -> Void) {
  final class Box {
    let body: @Sendable () -> Void; init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var handle = pthread_t()
  let box = Unmanaged.passRetained(Box(body))
  pthread_create(
    &handle, nil,
    { raw in
      if let raw { Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().body() }
      return nil
    }, box.toOpaque())
  pthread_detach(handle)
}

/// Fields of a block that was written without a table of its own.
func fields(_ block: [UInt8]) -> [String: String] {
  var decoder = HPACKDecoder(HPACKTables())
  let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: HPACKDecoder.scratchBytes, alignment: 16)
  defer { scratch.deallocate() }
  var found: [String: String] = [:]
  block.withUnsafeBytes { bytes in
    try? decoder.decode(bytes, scratch: scratch) { name, value in
      found[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
    }
  }
  return found
}

/// One route for every host and path, to endpoints of one policy.
func everything(to endpoints: [SocketEndpoint], by policy: BackendPolicy) -> RouteTable {
  var backend = RouteBackend(
    namespace: "demo", ingress: "web", service: "web", servicePort: "80", endpoints: endpoints)
  backend.policy = policy
  return RouteTable(
    backends: [backend],
    hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
}

/// HTTP/2 without TLS.
var h2c: BackendPolicy {
  var policy = BackendPolicy()
  policy.speech = .http2
  return policy
}

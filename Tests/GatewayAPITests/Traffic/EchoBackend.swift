// An endpoint that says who it is and what it was asked, by blocking threads: slow, and simple to believe.

import Addresses
import Foundation
import Reactor
import Synchronization

/// Answers every request with its name and the request's head. `/status/N` answers N, `/slow/MILLISECONDS` waits before it answers,
/// an upgrade is agreed to and echoed. A path with `?STATUS,MILLISECONDS,N` gets that status after so long the first N times, and
/// with status 0 its connection closed.
final class EchoBackend: Sendable {
  let name: String
  let port: UInt16
  /// Heads that came.
  let heads = Mutex<[String]>([])
  /// How often a path was asked for.
  private let asked = Mutex<[String: Int]>([:])
  private let listening: Int32
  private let isOver = Atomic<Bool>(false)

  init(_ name: String) throws {
    self.name = name
    let socket = try Sockets.listenTCP(SocketEndpoint(IPAddress("127.0.0.1")!, 0), reusePort: false)
    port = Sockets.localEndpoint(socket)?.port ?? 0
    listening = socket.release()
    _ = fcntl(listening, F_SETFL, 0)
    let (raw, backend) = (listening, Weak(self))
    Thread {
      while true {
        let accepted = accept(raw, nil, nil)
        guard accepted >= 0, let backend = backend.value, !backend.isOver.load(ordering: .relaxed) else {
          if accepted >= 0 { close(accepted) }
          // Closed by who accepts: its number is another listener's as soon as it is closed.
          close(raw)
          return
        }
        Thread { backend.serve(accepted) }.start()
      }
    }.start()
  }

  private final class Weak: Sendable {
    nonisolated(unsafe) weak var value: EchoBackend?
    init(_ value: EchoBackend) { self.value = value }
  }

  func stop() {
    guard !isOver.exchange(true, ordering: .relaxed) else { return }
    shutdown(listening, Int32(SHUT_RDWR))
  }

  private func serve(_ raw: Int32) {
    let stream = BlockingStream(raw)
    while let head = stream.head() {
      heads.withLock { $0.append(head) }
      let lines = head.split(separator: "\r\n")
      let path = lines.first?.split(separator: " ").dropFirst().first.map(String.init) ?? "/"
      let length = lines.first { $0.lowercased().hasPrefix("content-length: ") }.flatMap {
        Int($0.dropFirst(16))
      }
      _ = stream.read(length ?? 0)
      if head.lowercased().contains("upgrade: websocket") {
        stream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while let byte = stream.read(1).first { stream.send(String(decoding: [byte], as: UTF8.self)) }
        return
      }
      var status = 200
      let parts = path.split(separator: "/")
      if parts.count == 2, parts[0] == "status" { status = Int(parts[1]) ?? 200 }
      if parts.count == 2, parts[0] == "slow" { usleep((UInt32(parts[1]) ?? 0) * 1000) }
      let trouble = path.split(separator: "?").dropFirst().first?.split(separator: ",").compactMap { Int($0) }
      if let trouble, trouble.count == 3 {
        let times = asked.withLock { asked in
          asked[path, default: 0] += 1
          return asked[path] ?? 0
        }
        if times <= trouble[2] {
          usleep(UInt32(trouble[1]) * 1000)
          if trouble[0] == 0 { return }
          status = trouble[0]
        }
      }
      let body = "\(name)\n\(head)"
      stream.send(
        "HTTP/1.1 \(status) Said\r\nX-Backend: \(name)\r\nX-Gone: 1\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
      )
    }
  }
}

/// A socket that is read and written as a whole, for at most twenty seconds at a time: machines are busy.
final class BlockingStream {
  private let raw: Int32
  private var buffer: [UInt8] = []

  init(_ raw: Int32) {
    self.raw = raw
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(raw, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  deinit { close(raw) }

  func send(_ text: String) {
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(raw, $0.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
      }
      if count <= 0 { return }
      done += count
    }
  }

  private func fill() -> Bool {
    var space = [UInt8](repeating: 0, count: 16 << 10)
    let count = recv(raw, &space, space.count, 0)
    if count > 0 { buffer += space[..<count] }
    return count > 0
  }

  /// Up to an empty line; nil at the end.
  func head() -> String? {
    while true {
      if let range = buffer.firstRange(of: Array("\r\n\r\n".utf8)) {
        defer { buffer.removeFirst(range.upperBound) }
        return String(decoding: buffer[..<range.upperBound], as: UTF8.self)
      }
      if !fill() { return nil }
    }
  }

  /// Fewer at the end.
  func read(_ count: Int) -> [UInt8] {
    while buffer.count < count, fill() {}
    defer { buffer.removeFirst(min(count, buffer.count)) }
    return Array(buffer.prefix(count))
  }

  func rest() -> String {
    while fill() {}
    defer { buffer = [] }
    return String(decoding: buffer, as: UTF8.self)
  }
}

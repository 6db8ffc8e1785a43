// A server of one sentence in a namespace, and its client: who answers, and whom it saw.
import Addresses
import Glibc
import KernelNetlink
import Synchronization
import Testing

/// Answers every connection or datagram with the same words, from a thread of its own.
final class Server: Sendable {
  private let listener: Int32
  private let isDatagram: Bool
  private let words: [UInt8]
  private let seen = Mutex<[String]>([])
  private let isStopped = Mutex(false)
  private let thread = Mutex<pthread_t?>(nil)

  init(words: String, port: UInt16, isDatagram: Bool, in namespace: String) throws {
    self.words = Array(words.utf8)
    self.isDatagram = isDatagram
    listener = try runInNamespace(namespace) {
      // Both families: an IPv6 socket takes IPv4 as ::ffff:a.b.c.d.
      let kind = isDatagram ? SOCK_DGRAM : SOCK_STREAM
      let made = socket(
        AF_INET6, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
      var one: Int32 = 1
      setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, 4)
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      let bound = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(made, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
        }
      }
      try #require(made >= 0 && bound == 0, "port \(port): \(errno)")
      if !isDatagram { try #require(listen(made, 16) == 0) }
      return made
    }
    var started = pthread_t()
    let code = pthread_create(
      &started, nil,
      { raw in
        if let raw { Unmanaged<Server>.fromOpaque(raw).takeRetainedValue().run() }
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    try #require(code == 0)
    thread.withLock { $0 = started }
  }

  /// Addresses that were answered, in order.
  func peers() -> [String] { seen.withLock { $0 } }

  func stop() {
    isStopped.withLock { $0 = true }
    if let running = thread.withLock({ $0.take() }) { pthread_join(running, nil) }
    close(listener)
  }

  private func run() {
    while !isStopped.withLock({ $0 }) {
      var watched = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
      guard poll(&watched, 1, 50) == 1 else { continue }
      var peer = sockaddr_in6()
      var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      var buffer = [UInt8](repeating: 0, count: 64)
      withUnsafeMutablePointer(to: &peer) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
          if isDatagram {
            guard recvfrom(listener, &buffer, buffer.count, 0, raw, &length) >= 0 else { return }
            note(raw)
            _ = sendto(listener, words, words.count, 0, raw, length)
          } else {
            let connection = accept(listener, raw, &length)
            guard connection >= 0 else { return }
            note(raw)
            _ = send(connection, words, words.count, Int32(MSG_NOSIGNAL))
            close(connection)
          }
        }
      }
    }
  }

  /// Before it is answered: who has the answer may ask for the list at once.
  private func note(_ peer: UnsafePointer<sockaddr>) {
    // `sockaddr_in6`: the address stands behind family, port and flow.
    let bytes = [UInt8](UnsafeRawBufferPointer(start: UnsafeRawPointer(peer) + 8, count: 16))
    let isFour = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xff
    let address = isFour ? IPAddress(bytes: Array(bytes[12...])) : IPAddress(bytes: bytes)
    seen.withLock { $0.append(address.map { "\($0)" } ?? "") }
  }

  /// What `address` answers in the calling thread's namespace; empty when nothing does in time.
  static func ask(
    _ address: IPAddress, _ port: UInt16, isDatagram: Bool, source: UInt16, seconds: Int
  ) throws -> String {
    let isFour = address.family == .v4
    let kind = isDatagram ? SOCK_DGRAM : SOCK_STREAM
    let client = socket(isFour ? AF_INET : AF_INET6, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    try #require(client >= 0)
    defer { close(client) }
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    func name(_ host: [UInt8], _ port: UInt16) -> [UInt8] {
      let family = withUnsafeBytes(of: UInt16(isFour ? AF_INET : AF_INET6)) { [UInt8]($0) }
      let number = withUnsafeBytes(of: port.bigEndian) { [UInt8]($0) }
      let tail = [UInt8](repeating: 0, count: isFour ? 8 : 4)
      return family + number + (isFour ? [] : [0, 0, 0, 0]) + host + tail
    }
    func with(_ bytes: [UInt8], _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
      bytes.withUnsafeBytes {
        call($0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
      }
    }
    if source != 0 {
      let zero = [UInt8](repeating: 0, count: isFour ? 4 : 16)
      try #require(with(name(zero, source)) { bind(client, $0, $1) } == 0)
    }
    guard with(name(address.bytes, port), { connect(client, $0, $1) }) == 0 else { return "" }
    if isDatagram { _ = send(client, [UInt8(63)], 1, Int32(MSG_NOSIGNAL)) }
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 256)
    while true {
      let count = recv(client, &buffer, buffer.count, 0)
      if count > 0 { answer += buffer[..<count] }
      if count <= 0 || isDatagram { break }
    }
    return String(decoding: answer, as: UTF8.self)
  }
}

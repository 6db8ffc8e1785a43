// Short blocking exchanges with a deadline, for probes: a TCP connection, one HTTP request.

import Addresses
import CLinux
import Glibc

enum Dial {
  /// Nil when it worked, else what a person reads.
  typealias Failure = String

  static func tcp(_ host: String, port: Int, timeoutMilliseconds: Int) -> Failure? {
    let (descriptor, failure) = connect(host, port, deadline: now() + timeoutMilliseconds)
    if descriptor >= 0 { close(descriptor) }
    return failure
  }

  /// Sends `bytes` on a connected descriptor and reads until `isEnough` says so, the other side ends or `bytesMax` are there.
  static func exchange(
    _ descriptor: Int32, send bytes: [UInt8], timeoutMilliseconds: Int, bytesMax: Int,
    isEnough: ([UInt8]) -> Bool
  ) -> (answer: [UInt8], problem: Int32) {
    let deadline = now() + timeoutMilliseconds
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { rest in
        rest.baseAddress.map { send(descriptor, $0 + sent, bytes.count - sent, Int32(MSG_NOSIGNAL)) } ?? 0
      }
      if count > 0 {
        sent += count
      } else if errno != EAGAIN && errno != EINTR {
        return ([], errno)
      } else if !wait(descriptor, POLLOUT, deadline) {
        return ([], ETIMEDOUT)
      }
    }
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while !isEnough(answer), answer.count < bytesMax {
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count > 0 {
        answer += chunk[..<count]
      } else if count == 0 {
        break
      } else if errno == EAGAIN || errno == EINTR {
        if !wait(descriptor, POLLIN, deadline) { return (answer, ETIMEDOUT) }
      } else {
        return (answer, errno)
      }
    }
    return (answer, 0)
  }

  /// A connected, non-blocking descriptor that is the caller's; or -1 and why.
  static func connected(_ host: String, port: Int, timeoutMilliseconds: Int) -> (Int32, Failure?) {
    connect(host, port, deadline: now() + timeoutMilliseconds)
  }

  static func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
  }

  private static func wait(_ descriptor: Int32, _ events: Int32, _ deadline: Int) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    while true {
      let left = deadline - now()
      if left <= 0 { return false }
      let result = poll(&entry, 1, Int32(clamping: left))
      if result > 0 { return true }
      if result < 0, errno != EINTR { return false }
    }
  }

  /// A connected, non-blocking descriptor; or -1 and why.
  private static func connect(_ host: String, _ port: Int, deadline: Int) -> (Int32, Failure?) {
    let name = "dial tcp \(host):\(port)"
    guard let address = IPAddress(host), let port = UInt16(exactly: port), port > 0 else {
      return (-1, "\(name): no address")
    }
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(address.family == .v4 ? AF_INET : AF_INET6, type, 0)
    guard descriptor >= 0 else { return (-1, "\(name): \(String(cString: strerror(errno)))") }
    let result: Int32
    switch address {
    case .v4(let four):
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_port = port.bigEndian
      target.sin_addr.s_addr = four.bits.bigEndian
      result = withUnsafePointer(to: &target) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    case .v6(let six):
      var target = sockaddr_in6()
      target.sin6_family = sa_family_t(AF_INET6)
      target.sin6_port = port.bigEndian
      withUnsafeMutableBytes(of: &target.sin6_addr) { $0.copyBytes(from: six.bytes) }
      result = withUnsafePointer(to: &target) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
        }
      }
    }
    if result == 0 { return (descriptor, nil) }
    var failure = errno
    if failure == EINPROGRESS {
      if wait(descriptor, POLLOUT, deadline) {
        var size = socklen_t(MemoryLayout<Int32>.size)
        failure = 0
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &size)
      } else {
        failure = ETIMEDOUT
      }
    }
    if failure == 0 { return (descriptor, nil) }
    close(descriptor)
    // As the clients of Kubernetes know these words.
    let words = String(cString: strerror(failure))
    return (
      -1,
      failure == ETIMEDOUT
        ? "\(name): i/o timeout" : "\(name): connect: \(words.prefix(1).lowercased())\(words.dropFirst())"
    )
  }
}

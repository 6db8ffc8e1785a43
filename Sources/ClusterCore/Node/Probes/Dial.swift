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

  /// GET over HTTP/1.1. Statuses from 200 to 399 are success.
  static func http(
    _ host: String, port: Int, path: String, headers: [(String, String)], timeoutMilliseconds: Int
  ) -> Failure? {
    let deadline = now() + timeoutMilliseconds
    let (descriptor, failure) = connect(host, port, deadline: deadline)
    guard descriptor >= 0 else { return failure }
    defer { close(descriptor) }
    let name = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    var request = "GET \(path.hasPrefix("/") ? path : "/" + path) HTTP/1.1\r\n"
    let given = Set(headers.map { $0.0.lowercased() })
    if !given.contains("host") { request += "Host: \(name)\r\n" }
    if !given.contains("user-agent") { request += "User-Agent: kube-probe/1.37\r\n" }
    if !given.contains("accept") { request += "Accept: */*\r\n" }
    for (key, value) in headers { request += "\(key): \(value)\r\n" }
    request += "Connection: close\r\n\r\n"
    var bytes = Array(request.utf8)
    while !bytes.isEmpty {
      let count = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
      if count > 0 {
        bytes.removeFirst(count)
      } else if errno != EAGAIN && errno != EINTR || !wait(descriptor, POLLOUT, deadline) {
        return "Get \"http://\(name)\(path)\": cannot write the request"
      }
    }
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1024)
    // The status line is enough.
    while !answer.contains(10), answer.count < 4096 {
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count > 0 {
        answer += chunk[..<count]
      } else if count == 0 {
        break
      } else if errno == EAGAIN || errno == EINTR {
        if !wait(descriptor, POLLIN, deadline) {
          return "Get \"http://\(name)\(path)\": no answer within \(timeoutMilliseconds) ms"
        }
      } else {
        return "Get \"http://\(name)\(path)\": \(String(cString: strerror(errno)))"
      }
    }
    let words = String(decoding: answer, as: UTF8.self).split(separator: " ", maxSplits: 2)
    guard words.count > 1, words[0].hasPrefix("HTTP/"), let status = Int(words[1].prefix(3)) else {
      return "Get \"http://\(name)\(path)\": the answer is no HTTP"
    }
    return (200..<400).contains(status) ? nil : "HTTP probe failed with statuscode: \(status)"
  }

  /// A connected, non-blocking descriptor that is the caller's; or -1 and why.
  static func connected(_ host: String, port: Int, timeoutMilliseconds: Int) -> (Int32, Failure?) {
    connect(host, port, deadline: now() + timeoutMilliseconds)
  }

  private static func now() -> Int {
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
    return (-1, "\(name): \(String(cString: strerror(failure)))")
  }
}

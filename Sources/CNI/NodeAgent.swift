// Policy before packets: the node agent hears of a pod before its ADD returns, and may refuse it.
import Glibc

/// A conversation of one line each way with the node agent over its unix stream socket.
struct NodeAgent {
  var path: String
  var timeoutMilliseconds: Int

  /// Bytes of the agent's answer.
  static let answerBytesMax = 64 << 10

  enum Answer: Equatable {
    case accepted
    /// The agent says no, and why.
    case refused(String)
    /// No agent listens there.
    case absent
    /// It listens, but did not answer in time or not in JSON.
    case silent(String)
  }

  /// Sends one line and waits for one.
  func tell(_ event: JSONValue) -> Answer {
    let deadline = Self.now() + timeoutMilliseconds
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return .silent("socket: \(Self.lastError())") }
    defer { close(descriptor) }
    var address = [UInt8](repeating: 0, count: 110)
    let name = Array(path.utf8)
    guard name.count < 108 else { return .silent("the path is longer than 107 bytes") }
    withUnsafeBytes(of: UInt16(AF_UNIX)) { address.replaceSubrange(0..<2, with: $0) }
    address.replaceSubrange(2..<2 + name.count, with: name)
    // A full backlog makes connect wait: bounded like the rest.
    var limit = timeval(tv_sec: timeoutMilliseconds / 1000, tv_usec: timeoutMilliseconds % 1000 * 1000)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let connected = address.withUnsafeBytes {
      connect(descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(110))
    }
    guard connected == 0 else {
      // Refused: the file of an agent that is gone.
      if errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR { return .absent }
      return .silent("connect: \(Self.lastError())")
    }
    let line = Array((event.text + "\n").utf8)
    guard send(descriptor, line, line.count, Int32(MSG_NOSIGNAL)) == line.count else {
      return .silent("send: \(Self.lastError())")
    }
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while !answer.contains(UInt8(ascii: "\n")) {
      let left = deadline - Self.now()
      guard left > 0 else { return .silent("no answer within \(timeoutMilliseconds) ms") }
      var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      if poll(&watched, 1, Int32(left)) <= 0 { continue }
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      answer += buffer[0..<count]
      guard answer.count <= Self.answerBytesMax else { return .silent("the answer is too long") }
    }
    guard let json = try? JSONValue(parsing: Array(answer.prefix { $0 != UInt8(ascii: "\n") })) else {
      return .silent("the connection ended without an answer")
    }
    return json["ok"]?.bool == true ? .accepted : .refused(json["error"]?.string ?? "no reason given")
  }

  private static func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
  }

  private static func lastError() -> String { String(cString: strerror(errno)) }
}

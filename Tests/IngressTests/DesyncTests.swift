// Byte streams that two parsers could count differently. Each holds a request in doubt and a plain one behind it. Whatever the ingress
// makes of it, an endpoint that reads by RFC 9112 alone and forgives nothing has to count as many requests as the client gets answers,
// and sees canonical ones only; what is refused is refused last.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

/// Counts requests by their number, and keeps what is not canonical.
private final class StrictEndpoint: Sendable {
  struct Seen: Sendable {
    var requests: [Int: Int] = [:]
    var problems: [String] = []
  }
  let endpoint: SocketEndpoint
  let seen = Mutex(Seen())
  private let thread: ReactorThread

  init() throws {
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    endpoint = try local(listening)
    let raw = listening.release()
    thread = try ReactorThread(name: "strict")
    thread.reactor.submit { reactor in
      _ = try? Listener(Descriptor(owning: raw), reactor: reactor) { descriptor, _ in
        _ = try? StrictConnection(descriptor, reactor, self)
      }
    }
  }

  func stop() { thread.stop() }
}

/// Shares no code with what it judges.
private final class StrictConnection: ReadinessHandler {
  private var channel = Channel()
  private let reactor: Reactor
  private let owner: StrictEndpoint
  private var input: [UInt8] = []

  init(_ descriptor: consuming Descriptor, _ reactor: Reactor, _ owner: StrictEndpoint) throws {
    self.reactor = reactor
    self.owner = owner
    channel = try reactor.register(descriptor, handler: self)
  }

  func cancel() { channel.close() }

  func ready(_ readiness: Readiness) {
    while channel.isOpen {
      switch channel.receive(into: reactor.scratch) {
      case .bytes(let count):
        input += reactor.scratch[..<count]
        while takeOne() {}
      case .wouldBlock: return
      case .end, .failed: return cancel()
      }
    }
  }

  private func complain(_ what: String) -> Bool {
    let head = String(decoding: input.prefix(300), as: UTF8.self)
    owner.seen.withLock { $0.problems.append("\(what): \(head.debugDescription)") }
    cancel()
    return false
  }

  private func takeOne() -> Bool {
    guard let end = firstRange(of: [13, 10, 13, 10], from: 0) else { return false }
    let head = Array(input[..<end])
    var lines: [[UInt8]] = [[]]
    var index = 0
    while index < head.count {
      if head[index] == 13, index + 1 < head.count, head[index + 1] == 10 {
        lines.append([])
        index += 2
        continue
      }
      if head[index] < 32 && head[index] != 9 { return complain("control character") }
      lines[lines.count - 1].append(head[index])
      index += 1
    }
    let words = lines[0].split(separator: 32, omittingEmptySubsequences: false)
    guard words.count == 3, !words[0].isEmpty, words[1].first == 47 || words[1] == [42],
      words[2] == Array("HTTP/1.1".utf8)[...]
    else { return complain("request line") }
    var fields: [String: [String]] = [:]
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: 58), colon > 0 else { return complain("line") }
      let name = String(decoding: line[..<colon], as: UTF8.self)
      let marks = "!#$%&'*+-.^_`|~"
      guard
        name.utf8.allSatisfy({ byte in
          (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
            || marks.utf8.contains(byte)
        })
      else { return complain("name") }
      let value = String(decoding: line[(colon + 1)...].drop { $0 == 32 }, as: UTF8.self)
      fields[name.lowercased(), default: []].append(value)
    }
    guard fields["host"]?.count ?? 0 <= 1, fields["upgrade"] == nil, fields["te"] == nil else {
      return complain("host or hop")
    }
    let lengths = fields["content-length"] ?? []
    let codings = fields["transfer-encoding"] ?? []
    guard lengths.count + codings.count <= 1 else { return complain("framing twice") }
    var consumed: Int
    if let coding = codings.first {
      guard coding == "chunked" else { return complain("coding") }
      switch chunks(from: end + 4) {
      case .some(let end?): consumed = end
      case .some(nil): return false
      case nil: return complain("chunk")
      }
    } else if let length = lengths.first {
      guard !length.isEmpty, length.utf8.allSatisfy({ (48...57).contains($0) }), let count = Int(length),
        "\(count)" == length
      else {
        return complain("length")
      }
      consumed = end + 4 + count
    } else {
      consumed = end + 4
    }
    guard input.count >= consumed else { return false }
    let digits = words[1].drop { !(48...57).contains($0) }.prefix { (48...57).contains($0) }
    let number = Int(String(decoding: digits, as: UTF8.self)) ?? -1
    owner.seen.withLock { $0.requests[number, default: 0] += 1 }
    input.removeFirst(consumed)
    Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8).withUnsafeBytes { _ = channel.send($0) }
    return true
  }

  private func firstRange(of bytes: [UInt8], from start: Int) -> Int? {
    guard input.count >= start + bytes.count else { return nil }
    return (start...(input.count - bytes.count)).first { Array(input[$0..<$0 + bytes.count]) == bytes }
  }

  /// Where the body ends; inside nil: more is to come; nil: it is malformed.
  private func chunks(from start: Int) -> Int?? {
    var at = start
    while true {
      guard let end = firstRange(of: [13, 10], from: at) else { return .some(nil) }
      let digits = input[at..<end].prefix { $0 != 59 }
      guard !digits.isEmpty, digits.count < 16,
        let size = Int(String(decoding: digits, as: UTF8.self), radix: 16), size >= 0, digits.first != 43
      else { return nil }
      at = end + 2
      if size == 0 { break }
      guard input.count >= at + size + 2 else { return .some(nil) }
      guard input[at + size] == 13, input[at + size + 1] == 10 else { return nil }
      at += size + 2
    }
    while true {
      guard let end = firstRange(of: [13, 10], from: at) else { return .some(nil) }
      if end == at { return .some(at + 2) }
      let line = String(decoding: input[at..<end], as: UTF8.self).lowercased()
      for name in ["content-length", "transfer-encoding", "host", "trailer"] where line.hasPrefix(name) {
        return nil
      }
      at = end + 2
    }
  }
}

enum DesyncStreams {
  /// The requests in doubt; `ID` stands for the stream's number.
  static var all: [String] {
    var all: [String] = []
    let body = "0\r\n\r\nX"
    let codings = [
      "chunked", "Chunked", "CHUNKED", " chunked", "chunked ", "\tchunked", "chunked\t", "\u{b}chunked",
      "chunked\u{b}", "chunked, chunked", "identity", "identity, chunked", "chunked, identity",
      "gzip, chunked",
      "chunked;q=1", "\"chunked\"", "x", "", ",chunked", "chunked,",
    ]
    for coding in codings {
      let te = "Transfer-Encoding:\(coding)\r\n"
      for framing in [te, "Content-Length: 6\r\n" + te, te + "Content-Length: 6\r\n", te + te] {
        all.append("POST /ID HTTP/1.1\r\nHost: a\r\n\(framing)\r\n\(body)")
      }
    }
    let names = [
      "transfer-encoding", "Transfer-Encoding ", "Transfer-Encoding\t", " Transfer-Encoding",
      "Transfer_Encoding",
      "Transfer-Encoding\u{b}", "\0Transfer-Encoding", "Transfer-Encoding\r", "X: 1\nTransfer-Encoding",
      "X: 1\rTransfer-Encoding",
    ]
    for name in names {
      for more in ["", "Content-Length: 6\r\n"] {
        all.append("POST /ID HTTP/1.1\r\nHost: a\r\n\(more)\(name): chunked\r\n\r\n\(body)")
      }
    }
    let lengths = [
      "6", "+6", "-6", " 6", "6 ", "0x6", "06", "6,6", "6, 6", "6.0", "6e0", "\u{666}",
      "18446744073709551622",
      "99999999999999999999", "", "6\u{b}", "\t6", "6;", "6\r\nContent-Length: 6", "6\r\nContent-Length: 7",
      "6\r\ncontent-length: 0", "6\0", "6\r\n Content-Length: 0", "6 6",
    ]
    for length in lengths {
      for method in ["POST", "GET", "DELETE"] {
        all.append("\(method) /ID HTTP/1.1\r\nHost: a\r\nContent-Length:\(length)\r\n\r\n\(body)")
      }
    }
    let sizes = [
      "3", "03", "003", "+3", "-3", "0x3", "3 ", " 3", "3\t", "3;a=b", "3;a=\"b\"", "3;\n", "3;a\n", "3\n",
      "3\r",
      "3_", "g", "", "FFFFFFFFFFFFFFFF3", "80000000000000003", "3,", "3;\0", "3;\r",
    ]
    for size in sizes {
      for end in ["\r\n", "\n", "\r", ""] {
        all.append(
          "POST /ID HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\(size)\r\nabc\(end)0\r\n\r\n")
      }
    }
    for hosts in [
      "", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: a,b\r\n",
      "Host: a/../b\r\n",
      "Host: a@b\r\n", "Host: a:80\r\n", "Host: a:80:90\r\n", "Host: [::1]\r\n", "Host: a\0\r\n", "Host:\r\n",
      "Host : a\r\n", "host: a\r\nHOST: b\r\n",
    ] {
      for target in ["/ID", "http://a/ID", "http://b/ID", "//a/ID"] {
        all.append("GET \(target) HTTP/1.1\r\n\(hosts)\r\n")
      }
    }
    for line in [
      "GET /ID", "GET /ID HTTP/1.0", "GET /ID HTTP/0.9", "GET  /ID HTTP/1.1", " GET /ID HTTP/1.1",
      "GET\t/ID HTTP/1.1", "GET /ID HTTP/1.1 ", "GET /ID HTTP/2.0", "GET /ID http/1.1", "GET /ID b HTTP/1.1",
      "G\0T /ID HTTP/1.1", "GET /ID\0 HTTP/1.1", "GET /ID\u{b}HTTP/1.1", "GET ID HTTP/1.1",
      "GET /ID#f HTTP/1.1",
      "GET /ID HTTP/1.10", "GET /ID HTTP/01.1", "G(T /ID HTTP/1.1", "GET /ID\r HTTP/1.1",
    ] { all.append("\(line)\r\nHost: a\r\n\r\n") }
    for line in [
      "X : 1", "X\t: 1", ": 1", "X", "X: a\0b", "X: a\rb", " X: 1", "X: 1\r\n folded", "X: 1\r\n\tfolded",
      "X:1",
      "X: 1\nY: 2", "X: 1\r\r\nY: 2", "Connection: Content-Length", "Connection: Host", "Upgrade: h2c",
      "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "TE: trailers, chunked",
      "Expect: 200-ok", "Trailer: Content-Length", "Content-Length : 5", "X\u{a0}: 1",
    ] { all.append("GET /ID HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n") }
    for trailers in [
      "Content-Length: 5", "Transfer-Encoding: chunked", "Host: b", "X: 1", "X", " X: 1", "X: 1\nY: 2",
      "X : 1",
      "X: a\0b", "Trailer: Host",
    ] {
      all.append(
        "POST /ID HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\(trailers)\r\n\r\n"
      )
    }
    return all
  }

  /// What a client got for stream number `number`, and a plain request behind it: the statuses of its answers.
  static func send(_ stream: String, _ number: Int, to endpoint: SocketEndpoint) -> Client {
    let client = Client(endpoint)
    client.send(
      stream.replacing("ID", with: "\(number)")
        + "GET /\(number)/behind HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return client
  }

  static func statuses(_ client: Client) -> [String] {
    client.readAll().split(separator: "HTTP/1.1 ").map { String($0.prefix(3)) }
  }

  static let limits = {
    var limits = IngressLimits()
    // A body that is still to come is not waited for.
    limits.readMilliseconds = 4_000
    limits.headMilliseconds = 4_000
    limits.tickMilliseconds = 100
    limits.lingerMilliseconds = 100
    return limits
  }()
}

@Suite struct DesyncTests {
  @Test func `a strict endpoint counts as many requests as the client gets answers, whatever the stream`()
    throws
  {
    let streams = DesyncStreams.all
    #expect(streams.count > 300)
    let endpoint = try StrictEndpoint()
    let ingress = try TestIngress(everything(to: [endpoint.endpoint]), limits: DesyncStreams.limits)
    defer {
      ingress.stop()
      endpoint.stop()
    }
    let clients = streams.enumerated().map { number, stream in
      DesyncStreams.send(stream, number + 1000, to: ingress.endpoint)
    }
    var refused = 0
    for (number, client) in clients.enumerated() {
      let statuses = DesyncStreams.statuses(client)
      let answered = statuses.count { $0 == "200" }
      let seen = endpoint.seen.withLock { $0.requests[number + 1000] ?? 0 }
      #expect(seen == answered, "\(seen) \(statuses): \(streams[number].debugDescription)")
      let refusals = statuses.indices.filter { statuses[$0] != "200" }
      #expect(
        refusals.isEmpty || refusals == [statuses.count - 1],
        "\(statuses): \(streams[number].debugDescription)")
      #expect(!statuses.isEmpty, "\(streams[number].debugDescription)")
      if !refusals.isEmpty { refused += 1 }
    }
    let problems = endpoint.seen.withLock { $0.problems }
    #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    // Not everything is refused: what is merely unusual goes on.
    #expect(refused > streams.count / 2 && refused < streams.count - 40, "\(refused) of \(streams.count)")
  }
}

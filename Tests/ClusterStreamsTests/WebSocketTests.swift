// WebSocket frames and Kubernetes' channels: RFC 6455's examples, pieces, and broken input.

import ClusterObjects
import ClusterStreams
import FuzzLab
import NIOCore
import NIOHTTP1
import Testing

/// A client's frame.
private func masked(_ first: UInt8, _ payload: [UInt8], mask: [UInt8] = [0x37, 0xfa, 0x21, 0x3d]) -> [UInt8] {
  var out = [first]
  switch payload.count {
  case ..<126: out.append(0x80 | UInt8(payload.count))
  case ...0xffff: out += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xff)]
  default:
    out += [0x80 | 127] + (0..<8).reversed().map { UInt8(truncatingIfNeeded: payload.count >> ($0 * 8)) }
  }
  return out + mask + payload.enumerated().map { $1 ^ mask[$0 % 4] }
}

/// All messages whole, with the other events between them.
private func read(_ bytes: [ByteBuffer]) throws -> [String] {
  var decoder = WebSocketDecoder(isServer: true)
  var out: [String] = []
  var message: [UInt8] = []
  for piece in bytes {
    decoder.append(piece)
    while let event = try decoder.next() {
      switch event {
      case .data(let isText, let bytes, let isStart, let isEnd):
        if isStart { message = [] }
        message += bytes.readableBytesView
        if isEnd { out.append((isText ? "text " : "binary ") + String(decoding: message, as: UTF8.self)) }
      case .ping(let bytes): out.append("ping \(String(buffer: bytes))")
      case .pong: out.append("pong")
      case .close(let code): out.append("close \(code.map { "\($0)" } ?? "")")
      }
    }
  }
  return out
}

private let conversation: [UInt8] =
  masked(0x81, Array("Hello".utf8)) + masked(0x02, Array("one ".utf8)) + masked(0x89, Array("?".utf8))
  + masked(0x00, []) + masked(0x80, Array("two".utf8)) + masked(0x8a, []) + masked(0x82, [])
  + masked(0x82, [UInt8](repeating: 120, count: 300)) + masked(0x88, [0x03, 0xe8])

@Suite struct WebSocketTests {
  @Test func `frames of the RFC are read`() throws {
    // RFC 6455, section 5.7: a single-frame masked text message.
    let bytes: [UInt8] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
    #expect(try read([ByteBuffer(bytes: bytes)]) == ["text Hello"])
  }

  @Test func `messages in parts, with control frames between, in any pieces`() throws {
    let expected = [
      "text Hello", "ping ?", "binary one two", "pong", "binary ",
      "binary " + String(repeating: "x", count: 300), "close 1000",
    ]
    for seed in UInt64(0)..<100 {
      #expect(try read(pieces(conversation, sizeMax: 30, seed: seed)) == expected, "seed \(seed)")
    }
  }

  @Test(arguments: [1, 2, 3, 7, 8, 9, 64, 1000, 70_000])
  func `unmasking is right wherever pieces begin`(size: Int) throws {
    let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let frame = masked(0x82, payload, mask: [1, 2, 3, 250])
    for seed in UInt64(0)..<5 {
      var decoder = WebSocketDecoder(isServer: true)
      var out: [UInt8] = []
      for piece in pieces(frame, sizeMax: max(size / 3, 5), seed: seed) {
        decoder.append(piece)
        while let event = try decoder.next() {
          if case .data(_, let bytes, _, _) = event { out += bytes.readableBytesView }
        }
      }
      #expect(out == payload)
    }
  }

  @Test(arguments: [
    ("not masked", [0x82, 0x01, 0x41]), ("a reserved bit", masked(0xc2, [1])),
    ("an unknown opcode", masked(0x83, [1])), ("a ping in parts", masked(0x09, [1])),
    ("a long ping", masked(0x89, [UInt8](repeating: 1, count: 126))),
    ("a continuation of nothing", masked(0x80, [1])),
    ("a message within a message", masked(0x02, [1]) + masked(0x82, [2])),
    ("a length with its highest bit", [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
    ("a close of one byte", masked(0x88, [3])),
  ])
  func `what no client may send is refused with 1002`(what: String, bytes: [UInt8]) {
    #expect {
      _ = try read([ByteBuffer(bytes: bytes)])
    } throws: { ($0 as? WebSocketError)?.code == 1002 }
  }

  @Test func `truncated anywhere, a connection waits for the rest`() throws {
    for length in conversation.indices { _ = try read([ByteBuffer(bytes: conversation[..<length])]) }
  }

  @Test(arguments: ChannelProtocol.allCases)
  func `changed bytes are refused or mean something else, and never more`(kind: ChannelProtocol) throws {
    var refused = 0
    for (index, broken) in mutations(of: conversation, count: 2000, seed: 7).enumerated() {
      var decoder = WebSocketDecoder(isServer: true)
      var channels = ChannelDecoder(kind)
      do {
        for piece in pieces(broken, sizeMax: 100, seed: UInt64(index)) {
          decoder.append(piece)
          while let event = try decoder.next() {
            if case .data(_, let bytes, let isStart, let isEnd) = event {
              _ = try channels.take(bytes, isStart: isStart, isEnd: isEnd)
            }
          }
        }
      } catch { refused += 1 }
    }
    #expect(refused > 200)
  }

  @Test func `the handshake's answer is the RFC's`() {
    let headers: HTTPHeaders = [
      "upgrade": "WebSocket", "connection": "keep-alive, Upgrade",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13",
      "sec-websocket-protocol": "v5.channel.k8s.io, v4.channel.k8s.io",
    ]
    #expect(WebSocketHandshake.isRequest(headers))
    let answer = WebSocketHandshake.answer(headers, subprotocol: "v5.channel.k8s.io")
    #expect(answer?["sec-websocket-accept"] == ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
    #expect(WebSocketHandshake.offered(headers) == ["v5.channel.k8s.io", "v4.channel.k8s.io"])
    var other = headers
    other.replaceOrAdd(name: "sec-websocket-version", value: "8")
    #expect(WebSocketHandshake.answer(other, subprotocol: "") == nil)
  }
}

@Suite struct ChannelTests {
  @Test func `the client's first known subprotocol is spoken`() {
    #expect(ChannelProtocol.choose(["v9", "v5.channel.k8s.io", "v4.channel.k8s.io"]) == .v5)
    #expect(ChannelProtocol.choose(["v4.base64.channel.k8s.io"]) == .v4Base64)
    #expect(ChannelProtocol.choose([]) == .v1)
    #expect(ChannelProtocol.choose(["v9"]) == nil)
  }

  @Test(arguments: ChannelProtocol.allCases)
  func `a message arrives on the channel that it was sent on`(kind: ChannelProtocol) throws {
    var frame = ChannelEncoder(kind).encode(.stderr, ByteBuffer(string: "oops"))
    let head = frame.readBytes(length: 2)
    #expect(head == [kind.isBase64 ? 0x81 : 0x82, UInt8(frame.readableBytes)])
    var decoder = ChannelDecoder(kind)
    let event = try decoder.take(frame, isStart: true, isEnd: true)
    #expect(event == .data(.stderr, ByteBuffer(string: "oops")))
  }

  @Test func `version 5 closes stdin alone, and older ones know no such thing`() throws {
    let close = ByteBuffer(bytes: [255, 0])
    var five = ChannelDecoder(.v5)
    let closed = try five.take(close, isStart: true, isEnd: true)
    #expect(closed == .closed(.stdin))
    var four = ChannelDecoder(.v4)
    #expect(throws: WebSocketError.self) { try four.take(close, isStart: true, isEnd: true) }
  }

  @Test func `a message in pieces keeps its channel`() throws {
    var decoder = ChannelDecoder(.v5)
    let early = [
      try decoder.take(ByteBuffer(), isStart: true, isEnd: false),
      try decoder.take(ByteBuffer(bytes: [0]), isStart: false, isEnd: false),
    ]
    #expect(early == [nil, nil])
    let first = try decoder.take(ByteBuffer(string: "ab"), isStart: false, isEnd: false)
    #expect(first == .data(.stdin, ByteBuffer(string: "ab")))
    let last = try decoder.take(ByteBuffer(string: "c"), isStart: false, isEnd: true)
    #expect(last == .data(.stdin, ByteBuffer(string: "c")))
  }

  @Test func `a Base64 message beyond its limit is refused with 1009`() {
    var decoder = ChannelDecoder(.v4Base64)
    let megabyte = ByteBuffer(repeating: 65, count: 1 << 20)
    #expect {
      for index in 0..<6 { _ = try decoder.take(megabyte, isStart: index == 0, isEnd: false) }
    } throws: { ($0 as? WebSocketError)?.code == 1009 }
  }

  @Test func `forwarding opens each port's two channels with its number`() throws {
    let channels = ForwardChannels(.v4, portCount: 2)
    #expect(
      Array(channels.opening(1, port: 8080).readableBytesView) == [
        0x82, 3, 2, 0x90, 0x1f, 0x82, 3, 3, 0x90, 0x1f,
      ])
    let coded = ForwardChannels(.v4Base64, portCount: 1)
    #expect(String(buffer: coded.data(0, ByteBuffer(string: "hi"))).hasSuffix("0aGk="))
    #expect(ForwardChannels.choose(["v5.channel.k8s.io", "v4.channel.k8s.io"]) == .v4)
    #expect(ForwardChannels.choose(["v5.channel.k8s.io"]) == .v5 && ForwardChannels.choose(["v9"]) == nil)
  }

  /// Whatever comes, there is an event for a port that exists, or an error.
  @Test func `mutated forwarding messages never name a port that is not there`() throws {
    let samples: [(ChannelProtocol, [UInt8])] = [
      (.v4, [0, 1, 2, 3]), (.v4, [2, 9]), (.v5, [255, 2]), (.v5, [0]), (.v4Base64, Array("2aGVsbG8=".utf8)),
    ]
    for (seed, (kind, sample)) in samples.enumerated() {
      for bytes in mutations(of: sample, count: 2_000, seed: UInt64(seed)) {
        var channels = ForwardChannels(kind, portCount: 2)
        let parts = pieces(bytes, sizeMax: 3, seed: UInt64(bytes.count))
        for (index, piece) in parts.enumerated() {
          do throws(WebSocketError) {
            switch try channels.take(piece, isStart: index == 0, isEnd: index == parts.count - 1) {
            case .data(let port, let bytes): #expect(port < 2 && bytes.readableBytes > 0)
            case .closed(let port): #expect(port < 2)
            case nil: continue
            }
          } catch {
            #expect([1007, 1008, 1009].contains(error.code))
            break
          }
        }
      }
    }
  }
}

// SPDY against itself, against bytes that Go's library wrote, and against broken input.

import CZlib
import FuzzLab
import NIOCore
import Testing

@testable import ClusterStreams

/// Two sessions whose bytes reach each other at once.
private struct Wire {
  let client: SPDYSession
  let server: SPDYSession

  init() throws {
    client = try SPDYSession(.client)
    server = try SPDYSession(.server)
  }

  /// Carries what waits until neither has more to say.
  func run() throws -> (client: [SPDYSession.Event], server: [SPDYSession.Event]) {
    var events: (client: [SPDYSession.Event], server: [SPDYSession.Event]) = ([], [])
    while true {
      let toServer = client.takeOutput()
      let toClient = server.takeOutput()
      if toServer.readableBytes == 0, toClient.readableBytes == 0 { return events }
      events.server += try server.receive(toServer)
      events.client += try client.receive(toClient)
    }
  }
}

private func data(_ events: [SPDYSession.Event], of id: UInt32) -> [UInt8] {
  events.flatMap { event in
    if case .data(id, let bytes, _) = event { return Array(bytes.readableBytesView) }
    return []
  }
}

@Suite struct SPDYTests {
  @Test func `the dictionary is the draft's`() {
    let bytes = SPDYDictionary.bytes
    #expect(bytes.count == 1423)
    // The checksum by which zlib names a dictionary in the stream.
    #expect(adler32(adler32(0, nil, 0), bytes, UInt32(bytes.count)) == 0xe3c6_a7c2)
  }

  @Test func `streams open, carry bytes both ways, and close by halves`() throws {
    let wire = try Wire()
    let id = try wire.client.open(["streamType": "stdin", "port": "80"])
    #expect(id == 1)
    let opened = try wire.run().server
    #expect(
      opened == [.opened(id: 1, headers: ["streamtype": "stdin", "port": "80"], isFinal: false)])
    try wire.server.reply(id)
    let replied = try wire.run().client
    #expect(replied == [.replied(id: 1)])

    try wire.client.send(id, ByteBuffer(string: "question"), isFinal: true)
    let asked = try wire.run().server
    #expect(asked == [.data(id: 1, ByteBuffer(string: "question"), isFinal: true)])
    let halfOpen = wire.client.streamCount
    #expect(halfOpen == 1)
    try wire.server.send(id, ByteBuffer(string: "answer"))
    try wire.server.send(id, ByteBuffer(), isFinal: true)
    let answered = try wire.run().client
    #expect(data(answered, of: 1) == Array("answer".utf8))
    let left = (wire.client.streamCount, wire.server.streamCount)
    #expect(left == (0, 0))
  }

  @Test func `a ping of the peer's is echoed and one of ours is not`() throws {
    let wire = try Wire()
    _ = try wire.run()
    var ping = ByteBuffer()
    try SPDYEncoder().encode(.ping(7), into: &ping)
    let pinged = try wire.server.receive(ping)
    let echo = wire.server.takeOutput()
    #expect(pinged == [] && echo == ping)
    var own = ByteBuffer()
    try SPDYEncoder().encode(.ping(8), into: &own)
    let answered = try wire.server.receive(own)
    let silence = wire.server.takeOutput()
    #expect(answered == [] && silence.readableBytes == 0)
  }

  @Test func `streams beyond the limit are refused and the others go on`() throws {
    let client = try SPDYSession(.client)
    let server = try SPDYSession(.server)
    for _ in 0..<SPDYSession.streamsMax { _ = try client.open([:]) }
    var isRefusedHere = false
    do { _ = try client.open([:]) } catch { isRefusedHere = true }
    #expect(isRefusedHere)
    _ = try server.receive(client.takeOutput())
    _ = server.takeOutput()
    // A client that forgets a stream without telling the server.
    try client.reset(1, .cancel)
    let id = try client.open([:])
    var bytes = client.takeOutput()
    _ = bytes.readSlice(length: 16)
    let events = try server.receive(bytes)
    let (count, output) = (server.streamCount, server.takeOutput())
    #expect(events == [] && count == SPDYSession.streamsMax)
    var refused = SPDYDecoder()
    refused.append(output)
    let frame = try refused.next()
    #expect(frame == .reset(id: id, status: SPDYSession.Reset.refusedStream.rawValue))
    try client.send(3, ByteBuffer(string: "on"))
    let data = try server.receive(client.takeOutput())
    #expect(data == [.data(id: 3, ByteBuffer(string: "on"), isFinal: false)])
  }

  @Test func `a peer that keeps windows is not sent more than fits`() throws {
    let wire = try Wire()
    _ = try wire.run()
    var small = ByteBuffer()
    try SPDYEncoder().encode(.settings([.init(id: 7, value: 10)]), into: &small)
    _ = try wire.client.receive(small)
    let id = try wire.client.open([:])
    _ = try wire.run()
    try wire.client.send(id, ByteBuffer(string: "0123456789abcdef"), isFinal: true)
    let isHeld = wire.client.isHeld(id)
    let first = try wire.run().server
    #expect(isHeld && data(first, of: id) == Array("0123456789".utf8))
    var more = ByteBuffer()
    try SPDYEncoder().encode(.windowUpdate(id: id, delta: 100), into: &more)
    let opened = try wire.client.receive(more)
    #expect(opened == [.writable(id: id)])
    let rest = try wire.run().server
    #expect(data(rest, of: id) == Array("abcdef".utf8))
    #expect(rest.last == .data(id: id, ByteBuffer(), isFinal: true))
  }

  @Test func `bytes in any pieces mean the same`() throws {
    let bytes = try sample()
    let whole = try SPDYSession(.server)
    let expected = try joined(whole.receive(ByteBuffer(bytes: bytes)))
    for seed in UInt64(0)..<50 {
      let session = try SPDYSession(.server)
      var events: [SPDYSession.Event] = []
      for piece in pieces(bytes, sizeMax: 40, seed: seed) { events += try session.receive(piece) }
      #expect(joined(events) == expected, "seed \(seed)")
    }
  }

  @Test func `truncated anywhere, a connection waits for the rest`() throws {
    let bytes = try sample()
    for length in bytes.indices {
      let session = try SPDYSession(.server)
      _ = try session.receive(ByteBuffer(bytes: bytes[..<length]))
    }
  }

  @Test func `changed bytes end the connection or mean something else, and never more`() throws {
    let bytes = try sample()
    var refused = 0
    for (index, broken) in mutations(of: bytes, count: 5000, seed: 42).enumerated() {
      let session = try SPDYSession(.server)
      do {
        for piece in pieces(broken, sizeMax: 200, seed: UInt64(index)) { _ = try session.receive(piece) }
      } catch {
        refused += 1
      }
      // Nothing is answered at length: pings, resets, and a farewell.
      let said = session.takeOutput().readableBytes
      #expect(said < 4096)
    }
    #expect(refused > 500)
  }

  @Test func `a header block that unpacks to more than its limit is refused`() throws {
    let value = String(repeating: "a", count: SPDYHeaders.bytesMax)
    let compressor = SPDYCompressor()
    #expect(throws: SPDYError.self) { try compressor.compress(["bomb": value]) }
    // What another library would send: a kilobyte that unpacks to sixty.
    let half = String(repeating: "a", count: SPDYHeaders.bytesMax / 2)
    let packed = try compressor.compress(["bomb": half])
    #expect(packed.count < 1024)
    var many = ByteBuffer()
    for _ in 0..<3 {
      let text = SPDYHeaders([.init(name: "bomb", value: half)]).encoded
      many.writeBytes(text)
    }
    var stream = z_stream()
    deflateInit_(&stream, 9, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    defer { deflateEnd(&stream) }
    deflateSetDictionary(&stream, SPDYDictionary.bytes, UInt32(SPDYDictionary.bytes.count))
    var input = Array(many.readableBytesView)
    let bomb = [UInt8](unsafeUninitializedCapacity: 4096) { output, count in
      input.withUnsafeMutableBufferPointer { input in
        stream.next_in = input.baseAddress
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.baseAddress
        stream.avail_out = 4096
        deflate(&stream, Z_SYNC_FLUSH)
        count = 4096 - Int(stream.avail_out)
      }
    }
    #expect(bomb.count < 2048)
    #expect(throws: SPDYError.self) { _ = try SPDYDecompressor().decompress(bomb) }
  }

  @Test(arguments: [
    ("data of stream 0", [0, 0, 0, 0, 0, 0, 0, 1, 65]),
    ("version 2", [0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]),
    ("a control frame of 16 MB", [0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]),
    ("a ping that ends early", [0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0]),
    ("settings of another length", [0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]),
    ("data of a stream nobody opened", [0, 0, 0, 9, 0, 0, 0, 1, 65]),
    ("a stream number of the server's own", [0x80, 3, 0, 1, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]),
  ])
  func `what no peer may send ends the connection`(what: String, bytes: [UInt8]) throws {
    let session = try SPDYSession(.server)
    _ = session.takeOutput()
    var isRefused = false
    do { _ = try session.receive(ByteBuffer(bytes: bytes)) } catch { isRefused = true }
    #expect(isRefused, "\(what)")
    var farewell = SPDYDecoder()
    farewell.append(session.takeOutput())
    // Our windows come first.
    var last: SPDYFrame?
    while let frame = try farewell.next() { last = frame }
    #expect(last == .goAway(lastGood: 0, status: 1))
  }

  /// What kubectl sends for one forwarded connection, and more kinds of frames.
  private func sample() throws -> [UInt8] {
    let client = try SPDYSession(.client)
    let error = try client.open(["streamType": "error", "port": "8080", "requestID": "0"])
    try client.send(error, ByteBuffer(), isFinal: true)
    let stream = try client.open(["streamType": "data", "port": "8080", "requestID": "0"])
    try client.send(stream, ByteBuffer(string: "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    try client.send(stream, ByteBuffer(), isFinal: true)
    var bytes = client.takeOutput()
    let encoder = SPDYEncoder()
    try encoder.encode(.ping(1), into: &bytes)
    try encoder.encode(.windowUpdate(id: stream, delta: 1), into: &bytes)
    try encoder.encode(.reset(id: error, status: 5), into: &bytes)
    try encoder.encode(.goAway(lastGood: 0, status: 0), into: &bytes)
    return Array(bytes.readableBytesView)
  }

  /// Neighbouring pieces of one stream made one.
  private func joined(_ events: [SPDYSession.Event]) -> [SPDYSession.Event] {
    var out: [SPDYSession.Event] = []
    for event in events {
      if case .data(let id, var bytes, let isFinal) = event, case .data(id, var before, false) = out.last {
        before.writeBuffer(&bytes)
        out[out.count - 1] = .data(id: id, before, isFinal: isFinal)
      } else {
        out.append(event)
      }
    }
    return out
  }
}

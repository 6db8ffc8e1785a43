// Many watches on one HTTP/2 connection, over the wire: what one client or one stream does or does not do is no other's matter.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterServer

@Suite(.timeLimit(.minutes(3))) struct WatchStreamsTests {
  private static let path = "/api/v1/namespaces/default/configmaps"
  private static let watch = path + "?watch=1&resourceVersion="

  private func withClient(
    window: UInt32 = 1 << 20, widening: UInt32 = 1 << 30, givesBack: Bool = false,
    _ body: (FrameClient, ClusterServer, InProcessClient) async throws -> Void
  ) async throws {
    try await withServer { server, folder in
      let client = try await FrameClient.connect(
        server, folder, window: window, widening: widening, givesBack: givesBack)
      do {
        try await body(client, server, server.client(user: "admin"))
        try await client.close()
      } catch {
        try await client.close()
        throw error
      }
    }
  }

  /// A revision to watch from: what was before is not told.
  private func now(_ api: InProcessClient) async throws -> String {
    try await api.list(.configMaps, namespace: "default", options: ListOptions()).resourceVersion
  }

  private func write(_ api: InProcessClient, _ names: some Sequence<String>, label: String = "a") async throws
  {
    for name in names {
      _ = try await api.create(
        .configMaps,
        [
          "apiVersion": "v1", "kind": "ConfigMap",
          "metadata": ["name": JSON(name), "namespace": "default", "labels": ["half": JSON(label)]],
        ], options: WriteOptions())
    }
  }

  /// Names of the objects that a watch was told of, in order; lines that have come whole.
  private func names(_ body: String) -> [String] {
    var lines = body.split(separator: "\n", omittingEmptySubsequences: false)
    lines.removeLast()
    return lines.map { line in
      (try? JSON(parsing: Array(line.utf8)))?.at("object", "metadata", "name")?.string ?? "broken: \(line)"
    }
  }

  @Test func `watches of one connection each see what they select, in order`() async throws {
    try await withClient { client, _, api in
      let start = try await now(api)
      let selectors = [
        "", "&labelSelector=half=a", "&labelSelector=half=b", "&fieldSelector=metadata.name=a7",
      ]
      for stream in 0..<40 {
        client.get(Self.watch + start + selectors[stream % 4], stream: UInt32(2 * stream + 1))
      }
      try await eventually { (0..<40).allSatisfy { client.isAnswered(UInt32(2 * $0 + 1)) } }
      var all: [String] = []
      for number in 0..<20 {
        for half in ["a", "b"] {
          try await write(api, ["\(half)\(number)"], label: half)
          all.append("\(half)\(number)")
        }
      }
      let expected = [all, all.filter { $0.hasPrefix("a") }, all.filter { $0.hasPrefix("b") }, ["a7"]]
      try await eventually {
        (0..<40).allSatisfy { names(client.body(UInt32(2 * $0 + 1))).count >= expected[$0 % 4].count }
      }
      for stream in 0..<40 {
        #expect(names(client.body(UInt32(2 * stream + 1))) == expected[stream % 4])
      }
    }
  }

  @Test func `a stream whose window is closed holds up no other, and misses nothing`() async throws {
    try await withClient(window: 100) { client, _, api in
      let start = try await now(api)
      for stream: UInt32 in [1, 3, 5] { client.get(Self.watch + start, stream: stream) }
      try await eventually { [1, 3, 5].allSatisfy { client.isAnswered($0) } }
      client.open(1, by: 1 << 24)
      client.open(5, by: 1 << 24)
      // More than the stream's own buffer takes, so that the rest waits where all share it.
      let expected = (0..<500).map { "n\($0)" }
      try await write(api, expected)
      try await eventually { [1, 5].allSatisfy { names(client.body($0)).count == expected.count } }
      try await eventually { client.body(3).utf8.count == 100 }
      client.open(3, by: 1 << 24)
      try await eventually { names(client.body(3)).count == expected.count }
      for stream: UInt32 in [1, 3, 5] { #expect(names(client.body(stream)) == expected) }
    }
  }

  @Test func `streams that are reset in the middle leave the others alone`() async throws {
    try await withClient { client, _, api in
      let start = try await now(api)
      let streams = (0..<20).map { UInt32(2 * $0 + 1) }
      for stream in streams { client.get(Self.watch + start, stream: stream) }
      try await eventually { streams.allSatisfy { client.isAnswered($0) } }
      let expected = (0..<60).map { "n\($0)" }
      for (index, name) in expected.enumerated() {
        try await write(api, [name])
        // RST_STREAM, CANCEL.
        if index % 6 == 0 { client.frame(3, stream: streams[2 * (index / 6)], FrameClient.big(8)) }
      }
      let left = streams.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
      try await eventually { left.allSatisfy { names(client.body($0)).count == expected.count } }
      for stream in left { #expect(names(client.body(stream)) == expected) }
      #expect(!client.isClosed)
    }
  }

  @Test func `a client that says goodbye and goes leaves no watch behind`() async throws {
    try await withClient { client, server, api in
      let start = try await now(api)
      let cache = server.caches["configmaps"]
      let before = cache.watchCount
      for stream in 0..<30 { client.get(Self.watch + start, stream: UInt32(2 * stream + 1)) }
      try await eventually { (0..<30).allSatisfy { client.isAnswered(UInt32(2 * $0 + 1)) } }
      #expect(cache.watchCount == before + 30)
      try await write(api, ["one"])
      // GOAWAY: what is open goes on.
      client.frame(7, stream: 0, FrameClient.big(0) + FrameClient.big(0))
      try await write(api, ["two"])
      try await eventually {
        (0..<30).allSatisfy { names(client.body(UInt32(2 * $0 + 1))) == ["one", "two"] }
      }
      try await client.close()
      try await write(api, ["three"])
      try await eventually { cache.watchCount == before }
    }
  }

  // Of a connection that was never widened, of one that is just wide enough to be divided, and of a wide one.
  @Test(arguments: [0, 200_000, 4 << 20] as [UInt32])
  func `a client that gives back when half is used gets everything, and never more than it allowed`(
    widening: UInt32
  ) async throws {
    try await withClient(window: 6_000, widening: widening, givesBack: true) { client, _, api in
      let start = try await now(api)
      let streams = (0..<30).map { UInt32(2 * $0 + 1) }
      for stream in streams { client.get(Self.watch + start, stream: stream) }
      try await eventually { streams.allSatisfy { client.isAnswered($0) } }
      let expected = (0..<120).map { "n\($0)" }
      for (index, name) in expected.enumerated() {
        try await write(api, [name])
        // Answers that the library writes take from the same window.
        if index % 10 == 0 { client.get(Self.path, stream: UInt32(1001 + index)) }
      }
      try await eventually { streams.allSatisfy { names(client.body($0)).count == expected.count } }
      for stream in streams { #expect(names(client.body(stream)) == expected) }
      try await eventually {
        stride(from: 0, to: expected.count, by: 10).allSatisfy { client.hasEnded(UInt32(1001 + $0)) }
      }
      #expect(!client.hasOverrun)
      #expect(!client.isClosed)
    }
  }

  @Test func `a window that the client takes back is not written past`() async throws {
    try await withClient(window: 3_000) { client, _, api in
      let start = try await now(api)
      for stream: UInt32 in [1, 3] { client.get(Self.watch + start, stream: stream) }
      try await eventually { [1, 3].allSatisfy { client.isAnswered($0) } }
      // SETTINGS: streams may be sent 1,000 bytes at first, those that are open too (RFC 9113, 6.9.2).
      client.frame(4, stream: 0, [0, 4] + FrameClient.big(1_000))
      client.open(1, by: 1 << 20)
      let expected = (0..<40).map { "n\($0)" }
      try await write(api, expected)
      try await eventually { names(client.body(1)).count == expected.count }
      try await eventually { client.body(3).utf8.count == 1_000 }
      client.frame(4, stream: 0, [0, 4] + FrameClient.big(1 << 20))
      try await eventually { names(client.body(3)).count == expected.count }
      #expect(names(client.body(3)) == expected)
    }
  }

  @Test func `a window past what is allowed ends the connection`() async throws {
    try await withClient { client, _, api in
      let start = try await now(api)
      client.get(Self.watch + start, stream: 1)
      try await eventually { client.isAnswered(1) }
      client.open(1, by: 0x7fff_ffff)
      try await eventually { client.isClosed }
    }
  }
}

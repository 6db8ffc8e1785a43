// One capture of several nodes: what each sends becomes one file in the order of time, whoever comes late, refuses, or sends rubbish.

import Addresses
import ClusterObjects
import Diagnostics
import FuzzLab
import Glibc
import KernelSockets
import NamespaceLab
import Testing

@testable import Observe

/// The node process's end of a connection, with what it says written beforehand.
private final class ToldNode {
  let source: CaptureClient.Source
  private let end: Int32
  private let writer = PcapngWriter()

  init(_ name: String) throws {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else {
      throw NamespaceError(text: "socketpair")
    }
    source = CaptureClient.Source(name: "node \(name)", descriptor: pair[0])
    end = pair[1]
    var room: Int32 = 4 << 20
    setsockopt(end, SOL_SOCKET, SO_SNDBUF, &room, 4)
  }

  deinit { if !isClosed { close(end) } }
  private var isClosed = false

  func leave() {
    close(end)
    isClosed = true
  }

  func send(_ bytes: [UInt8]) { #expect(bytes.withUnsafeBytes { UnixSocket.send(end, $0) }) }

  func frame(_ kind: UInt32, _ content: [UInt8]) {
    var head = CaptureFrame.head(kind, content.count)
    send(withUnsafeBytes(of: &head) { Array($0) } + content)
  }

  private func flush() {
    frame(CaptureFrame.blocks, Array(writer.bytes))
    writer.empty()
  }

  func begin(_ links: [String], remarks: [String] = []) {
    frame(CaptureFrame.line, (["links": JSON(links), "remarks": JSON(remarks)] as JSON).bytes)
    writer.section(application: "weft", system: "Linux")
    for link in links { writer.interface(name: link, description: "", snapLength: 262_144) }
    flush()
  }

  func packets(_ list: [(at: UInt64, interface: UInt32, frame: [UInt8])], remark: String = "") {
    for (at, interface, frame) in list {
      frame.withUnsafeBytes {
        writer.packet(
          interface: interface, nanoseconds: start + at, bytes: $0, length: $0.count, isInbound: true,
          remark: Array(remark.utf8))
      }
    }
    flush()
  }

  func note(_ text: String, _ one: String, _ other: String) {
    let note = CaptureNotes.Behind(ends: [endpoint(one), endpoint(other)], transport: 6, text: text)
    frame(CaptureFrame.line, (["notes": .array([note.json])] as JSON).bytes)
  }

  func over(received: Int = 0, lost: Int = 0) {
    writer.statistics(interface: 0, nanoseconds: start, received: UInt64(received), dropped: UInt64(lost))
    flush()
    frame(
      CaptureFrame.line,
      (["end": "asked for", "received": JSON(received), "lost": JSON(lost)] as JSON).bytes)
  }
}

/// Takes everything, up to so many packets.
private struct Collected: CaptureSink {
  struct Packet: Hashable {
    var time: UInt64
    var link: String
    var remark: String
  }
  var packetsMax = Int.max
  var sections = 0
  var links: [String] = []
  var packets: [Packet] = []
  /// Interfaces of statistics, and how many packets stood before them.
  var statistics: [Int] = []

  mutating func take(_ block: PcapngBlock) throws(WeftError) -> Bool {
    if block.isSection { sections += 1 }
    if let name = block.interfaceName { links.append(name) }
    if block.isStatistics { statistics.append(packets.count) }
    if let packet = block.packet {
      packets.append(
        Packet(time: packet.time - start, link: links[packet.interface], remark: packet.remark))
    }
    return packets.count < packetsMax
  }
  mutating func flush() throws(WeftError) {}
}

private let frame = segment("10.42.0.10:4000", "10.42.1.11:8080")

private func ask(
  _ nodes: [ToldNode], seconds: Double? = nil, into sink: inout Collected,
  begun: (CaptureClient.Beginning) -> Void = { _ in }
) throws(WeftError) -> CaptureSummary {
  try CaptureClient.run(
    nodes.map { (CaptureQuestion(targets: "demo/*"), $0.source) }, seconds: seconds, into: &sink, begun: begun
  )
}

@Suite struct CaptureMergeTests {
  @Test func `packets of two nodes come out in the order of their times, each with its own link`() throws {
    let (one, other) = (try ToldNode("a"), try ToldNode("b"))
    one.begin(["demo/client-1"], remarks: ["left out: x"])
    one.packets([(0, 0, frame), (3000, 0, frame), (4000, 0, frame)])
    one.over(received: 3, lost: 1)
    other.begin(["demo/web-1", "demo/web-2"])
    other.packets([(1000, 1, frame), (2000, 0, frame), (5000, 1, frame)])
    other.over(received: 3, lost: 2)
    var sink = Collected()
    var said: CaptureClient.Beginning?
    let summary = try ask([one, other], into: &sink) { said = $0 }
    #expect(said?.links == ["demo/client-1", "demo/web-1", "demo/web-2"])
    #expect(said?.remarks == ["left out: x"])
    #expect(sink.sections == 1 && sink.links == said?.links)
    #expect(sink.packets.map(\.time) == [0, 1000, 2000, 3000, 4000, 5000])
    #expect(
      sink.packets.map(\.link) == [
        "demo/client-1", "demo/web-2", "demo/web-1", "demo/client-1", "demo/client-1", "demo/web-2",
      ])
    // What was counted is the last word, of both.
    #expect(sink.statistics == [6, 6])
    #expect(summary.received == 6 && summary.lost == 3 && summary.failure == nil)
  }

  @Test func `what one node translates is noted on the packets that another one sees`() throws {
    let (one, other) = (try ToldNode("a"), try ToldNode("b"))
    let text = "svc/demo/web:http 10.43.0.7:80; asked by 10.42.0.10:4000 demo/client-1"
    other.begin(["demo/web-1"])
    other.packets([(1000, 0, frame), (2000, 0, segment("10.42.1.11:8080", "10.42.0.10:4000"))])
    other.packets([(3000, 0, frame)], remark: "forwarded: allowed by demo/p, ingress rule 1")
    other.packets([(4000, 0, segment("10.42.0.10:4001", "10.42.1.11:8080"))])
    other.packets([(5000, 0, frame)], remark: text)
    other.over()
    one.begin(["demo/client-1"])
    one.note(text, "10.42.0.10:4000", "10.42.1.11:8080")
    one.over()
    var sink = Collected()
    _ = try ask([one, other], into: &sink)
    #expect(
      sink.packets.map(\.remark) == [
        text, text, "\(text); forwarded: allowed by demo/p, ingress rule 1", "", text,
      ])
  }

  @Test func `enough is enough, and a node that refuses or goes is said while another one captures`() throws {
    let (one, other) = (try ToldNode("a"), try ToldNode("b"))
    let refusal = WeftError("CAP0002", object: "pod demo/x", cause: "has ended", next: "look")
    one.send(CaptureServer.line(refusal) + [10])
    one.leave()
    other.begin(["demo/web-1"])
    other.packets((0..<10).map { ($0, 0, frame) })
    other.over(received: 10)
    var sink = Collected(packetsMax: 4)
    var said: CaptureClient.Beginning?
    let summary = try ask([one, other], into: &sink) { said = $0 }
    #expect(sink.packets.count == 4 && summary.failure == nil && summary.received == 10)
    #expect(said?.remarks.count == 1 && said?.remarks.first?.contains("demo/x: has ended") == true)

    let (gone, alone) = (try ToldNode("a"), try ToldNode("b"))
    for node in [gone, alone] {
      node.begin(["demo/\(node === gone ? "x" : "y")"])
      node.packets([(0, 0, frame)])
    }
    gone.leave()
    alone.over(received: 1)
    var rest = Collected()
    let left = try ask([gone, alone], into: &rest)
    #expect(rest.packets.count == 2 && left.failure?.code == "CAP0010" && left.failure?.object == "node a")

    // Nobody captures: the first reason is the answer.
    let (mute, refusing) = (try ToldNode("a"), try ToldNode("b"))
    mute.leave()
    refusing.send(CaptureServer.line(refusal) + [10])
    refusing.leave()
    var none = Collected()
    #expect { try ask([refusing, mute], into: &none) } throws: { ($0 as? WeftError)?.code == "CAP0002" }
  }

  @Test
  func `a node that is silent does not hold up the others for longer than the hold, nor past the bound`()
    throws
  {
    var merger = CaptureMerger(sources: 2)
    var sink = Collected()
    func give(_ capture: [UInt8], _ merger: inout CaptureMerger, _ sink: inout Collected) throws {
      _ = try capture.withUnsafeBytes { bytes in
        try PcapngBlocks.read(bytes) { try merger.take($0, from: 1, into: &sink) }
      }
    }
    try give(sampleCapture([(frame, ""), (frame, "")]), &merger, &sink)
    #expect(sink.packets.isEmpty)
    #expect(try merger.release(now: start + CaptureMerger.holdNanoseconds - 1, into: &sink))
    #expect(sink.packets.isEmpty)
    #expect(try merger.release(now: start + CaptureMerger.holdNanoseconds + 500, into: &sink))
    #expect(sink.packets.count == 1)
    merger.end(source: 0)
    #expect(try merger.release(now: start, into: &sink))
    #expect(sink.packets.count == 2)

    var full = CaptureMerger(sources: 2)
    var taken = Collected()
    let large = segment("10.42.0.10:4000", "10.42.1.11:8080", payload: [UInt8](repeating: 7, count: 60_000))
    let page = sampleCapture((0..<5).map { _ in (large, "") })
    for _ in 0..<120 { try give(page, &full, &taken) }
    // 36 MB came, and no more than the bound is held.
    let held = 600 - taken.packets.count
    #expect(held * 60_000 <= CaptureMerger.heldBytesMax && held > 500, "\(held)")
  }

  @Test func `rubbish is refused, and never trapped on`() throws {
    let strange = try ToldNode("a")
    strange.send([UInt8](repeating: 0xff, count: 64))
    strange.leave()
    var sink = Collected()
    #expect { try ask([strange], into: &sink) } throws: { ($0 as? WeftError)?.code == "CAP0006" }

    var head = CaptureFrame.head(CaptureFrame.line, 0)
    let short = withUnsafeBytes(of: &head) { Array($0) }
    let line = Array(#"{"links":["a"],"remarks":[],"notes":[[6,"1.2.3.4:1","1.2.3.4:2","x"]]}"#.utf8)
    var whole = CaptureFrame.head(CaptureFrame.line, line.count)
    let told = withUnsafeBytes(of: &whole) { Array($0) } + line
    let capture = sampleCapture([(frame, "a"), (frame, "")])
    var blocks = CaptureFrame.head(CaptureFrame.blocks, capture.count)
    let packets = withUnsafeBytes(of: &blocks) { Array($0) } + capture
    var count = 0
    for bytes in mutants(of: [told + packets, packets + told, short + packets], count: 2000, seed: 35) {
      let (one, other) = (try ToldNode("a"), try ToldNode("b"))
      one.send(bytes)
      one.leave()
      other.send(packets)
      other.leave()
      var sink = Lax()
      _ = try? CaptureClient.run(
        [one, other].map { (CaptureQuestion(targets: "a"), $0.source) }, into: &sink)
      count += sink.packets
    }
    #expect(count > 2000)
  }

  private struct Lax: CaptureSink {
    var packets = 0
    mutating func take(_ block: PcapngBlock) throws(WeftError) -> Bool {
      if block.packet != nil { packets += 1 }
      return true
    }
    mutating func flush() throws(WeftError) {}
  }
}

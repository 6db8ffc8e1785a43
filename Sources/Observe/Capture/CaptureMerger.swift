// Blocks of several nodes' captures as one: interfaces numbered through, one section, packets in the order of their times.
//
//   node a ─┐                  ┌ held until every node has said something later, or for `holdNanoseconds`
//   node b ─┴─ take(block) ──> heap by time ──> sink

import Diagnostics
import KernelSockets

/// For one thread. With a single source blocks pass as they are.
struct CaptureMerger {
  /// A node holds its packets back for a quarter of a second; the rest is for the way.
  static let holdNanoseconds: UInt64 = 1_500_000_000
  /// Beyond this the oldest packets go out, whatever may still come.
  static let heldBytesMax = 32 << 20

  private struct Held {
    var time: UInt64
    /// Equal times keep the order in which they came.
    var order: UInt64
    var bytes: [UInt8]
  }
  private struct Source {
    /// Numbers of its interfaces in the whole.
    var interfaces: [UInt32] = []
    var newest: UInt64 = 0
    var isOver = false
  }

  private var sources: [Source]
  private var interfaceCount: UInt32 = 0
  private var hasSection = false
  /// A binary heap, the earliest at the top.
  private var heap: [Held] = []
  private var heldBytes = 0
  private var order: UInt64 = 0
  private var statistics: [[UInt8]] = []
  private var notes = CaptureNotes()
  private let writer = PcapngWriter(room: 0)
  private static let statisticsMax = 1024

  init(sources count: Int) { sources = Array(repeating: Source(), count: count) }

  private var isSingle: Bool { sources.count == 1 }

  /// Takes a block of a source. False: the sink has enough.
  mutating func take(
    _ block: PcapngBlock, from source: Int, into sink: inout some CaptureSink
  ) throws(WeftError) -> Bool {
    if isSingle { return try sink.take(block) }
    switch block.type {
    case Pcapng.section:
      if hasSection { return true }
      hasSection = true
      return try sink.take(block)
    case Pcapng.interface:
      sources[source].interfaces.append(interfaceCount)
      interfaceCount += 1
      return try sink.take(block)
    case Pcapng.packet:
      guard let packet = block.packet, let bytes = renumbered(block, source) else { return true }
      sources[source].newest = max(sources[source].newest, packet.time)
      push(Held(time: packet.time, order: order, bytes: bytes))
      order += 1
      return try release(until: horizon, into: &sink)
    case Pcapng.statistics:
      if let bytes = renumbered(block, source), statistics.count < Self.statisticsMax {
        statistics.append(bytes)
      }
      return true
    default: return try sink.take(block)
    }
  }

  /// What one node knows of packets that another one sees.
  mutating func take(_ behind: CaptureNotes.Behind) { notes.take(behind) }

  /// Nothing more comes of it: nobody waits for it.
  mutating func end(source: Int) { sources[source].isOver = true }

  /// Hands on what has waited long enough. - Parameter now: nanoseconds since 1970. False: the sink has enough.
  mutating func release(now: UInt64, into sink: inout some CaptureSink) throws(WeftError) -> Bool {
    try release(until: max(horizon, now &- min(now, Self.holdNanoseconds)), into: &sink)
  }

  /// Hands on all that is held, at last what each source counted: a file's last word.
  mutating func finish(withPackets: Bool, into sink: inout some CaptureSink) throws(WeftError) {
    if withPackets { _ = try release(until: .max, into: &sink) }
    for bytes in statistics { _ = try Self.give(bytes, into: &sink) }
    statistics = []
  }

  /// Up to here every source has spoken.
  private var horizon: UInt64 { sources.filter { !$0.isOver }.map(\.newest).min() ?? .max }

  private mutating func release(until time: UInt64, into sink: inout some CaptureSink) throws(WeftError)
    -> Bool
  {
    while let first = heap.first, first.time <= time || heldBytes > Self.heldBytesMax {
      let bytes = pop().bytes
      let wanted =
        if note(bytes) { try sink.take(PcapngBlock(type: Pcapng.packet, bytes: writer.bytes)) } else {
          try Self.give(bytes, into: &sink)
        }
      if !wanted { return false }
    }
    return true
  }

  /// Writes a packet anew with what its own node does not know of it; false when there is nothing to add.
  private func note(_ bytes: [UInt8]) -> Bool {
    if notes.isEmpty { return false }
    writer.empty()
    return bytes.withUnsafeBytes { raw in
      guard let packet = PcapngBlock(type: Pcapng.packet, bytes: raw).packet,
        let note = PacketHeaders(ethernet: packet.bytes).flatMap({ notes.note($0) }),
        !packet.remark.contains(note.translation)
      else { return false }
      let remark = [note.translation, packet.remark].filter { !$0.isEmpty }.joined(separator: "; ")
      writer.packet(
        interface: UInt32(clamping: packet.interface), nanoseconds: packet.time, bytes: packet.bytes,
        length: packet.length, isInbound: packet.isInbound, remark: Array(remark.utf8))
      return true
    }
  }

  private static func give(_ bytes: [UInt8], into sink: inout some CaptureSink) throws(WeftError) -> Bool {
    do {
      return try bytes.withUnsafeBytes { raw in
        let type = UInt32(littleEndian: raw.loadUnaligned(as: UInt32.self))
        return try sink.take(PcapngBlock(type: type, bytes: raw))
      }
    } catch let error as WeftError {
      throw error
    } catch {
      // A sink throws nothing else.
      return false
    }
  }

  /// With the interface's number in the whole; nil for one that was not announced.
  private func renumbered(_ block: PcapngBlock, _ source: Int) -> [UInt8]? {
    guard block.bytes.count >= 12 else { return nil }
    let own = Int(UInt32(littleEndian: block.bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
    guard own < sources[source].interfaces.count else { return nil }
    var bytes = Array(block.bytes)
    withUnsafeBytes(of: sources[source].interfaces[own].littleEndian) { number in
      for (offset, byte) in number.enumerated() { bytes[8 + offset] = byte }
    }
    return bytes
  }

  // MARK: Heap

  private func isBefore(_ a: Int, _ b: Int) -> Bool {
    (heap[a].time, heap[a].order) < (heap[b].time, heap[b].order)
  }

  private mutating func push(_ held: Held) {
    heldBytes += held.bytes.count
    heap.append(held)
    var at = heap.count - 1
    while at > 0, isBefore(at, (at - 1) / 2) {
      heap.swapAt(at, (at - 1) / 2)
      at = (at - 1) / 2
    }
  }

  private mutating func pop() -> Held {
    heap.swapAt(0, heap.count - 1)
    let first = heap.removeLast()
    heldBytes -= first.bytes.count
    var at = 0
    while true {
      var least = at
      for child in [2 * at + 1, 2 * at + 2] where child < heap.count && isBefore(child, least) {
        least = child
      }
      if least == at { return first }
      heap.swapAt(at, least)
      at = least
    }
  }
}

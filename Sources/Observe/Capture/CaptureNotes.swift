// What is noted of a packet: the Service behind its connection's translation, on both sides of it, and what policies said.
//
//   10.42.0.5:4000 → 10.43.0.9:80     "svc/demo/web:http → 10.42.0.7:8080 demo/web-1"
//   10.42.0.5:4000 → 10.42.0.7:8080   "svc/demo/web:http 10.43.0.9:80; asked by 10.42.0.5:4000 demo/client"

import Addresses
import ClusterObjects
import KernelNftables
import KernelSockets

/// Notes by connection, whichever way its packets go. Of one thread at a time.
public struct CaptureNotes: Sendable {
  /// Past it all are forgotten: those of connections that begin from then on are noted again.
  public static let countMax = 65_536

  private struct Key: Hashable {
    var low: SocketEndpoint
    var high: SocketEndpoint
    var transport: UInt8

    init(_ one: SocketEndpoint, _ other: SocketEndpoint, _ transport: UInt8) {
      (low, high) = one < other ? (one, other) : (other, one)
      self.transport = transport
    }
  }

  /// Of one connection on one side of a translation.
  public struct Note: Sendable, Hashable {
    public var translation = ""
    public var verdict = ""
    public var isDenied = false
    /// Both, in UTF-8: made when one of them changes, so that a packet costs nothing but the look-up.
    public fileprivate(set) var remark: [UInt8] = []

    fileprivate mutating func compose() {
      remark = Array([translation, verdict].filter { !$0.isEmpty }.joined(separator: "; ").utf8)
    }
  }

  /// Two ends between which the packets of a translated connection pass behind the translation: what another node sees of it.
  struct Behind: Sendable, Hashable {
    var ends: [SocketEndpoint]
    var transport: UInt8
    var text: String
  }

  private var notes: [Key: Note] = [:]
  private let countMax: Int
  /// For other nodes' packets, since they were taken last; nil: nobody wants them.
  private(set) var news: [Behind]?
  /// Past it later ones are left out: notes are missing then, and no packet.
  static let newsMax = 4096

  public init(countMax: Int = CaptureNotes.countMax) { self.countMax = countMax }

  /// From now on keeps what other nodes need.
  mutating func keepNews() { news = [] }

  mutating func takeNews() -> [Behind] {
    defer { if news != nil { news = [] } }
    return news ?? []
  }

  public var isEmpty: Bool { notes.isEmpty }
  public var count: Int { notes.count }

  /// The note on a packet's connection.
  public func note(_ headers: PacketHeaders) -> Note? {
    notes[Key(headers.sourceEnd, headers.destinationEnd, headers.transport)]
  }

  private mutating func change(_ key: Key, _ body: (inout Note) -> Void) {
    if notes.count >= countMax, notes[key] == nil { notes.removeAll(keepingCapacity: true) }
    var note = notes[key] ?? Note()
    body(&note)
    note.compose()
    notes[key] = note.remark.isEmpty ? nil : note
  }

  /// A connection that is tracked.
  public mutating func take(_ record: FlowRecord, names: FlowNames) {
    guard record.event != .end else { return }
    let (asked, actual) = (record.original.destination, record.reply.source)
    let asker = record.original.source
    let before = Key(asker, asked, record.transport)
    // It passed: what was refused of the same ends before is another connection's.
    if record.event == .new, notes[before]?.isDenied == true { notes[before] = nil }
    guard asked != actual || asker != record.reply.destination else { return }
    let service = names.service(at: asked, transport: record.transport).map {
      "svc/\($0.key)" + ($0.portName.isEmpty ? "" : ":\($0.portName)")
    }
    let end = "\(actual)" + (names.name(of: actual.address).map { " \($0)" } ?? "")
    let source = "\(asker)" + (names.name(of: asker.address).map { " \($0)" } ?? "")
    let words = asked == actual ? "" : "\(service.map { "\($0) " } ?? "")→ \(end)"
    let masked = asker == record.reply.destination ? "" : "as \(record.reply.destination)"
    change(before) {
      $0.translation = [words, masked].filter { !$0.isEmpty }.joined(separator: ", ")
    }
    for other in [asker, record.reply.destination] {
      let after = Key(other, actual, record.transport)
      guard after != before else { continue }
      let text = "\(service.map { "\($0) " } ?? "")\(asked); asked by \(source)"
      change(after) { $0.translation = text }
      if let count = news?.count, count < Self.newsMax {
        news?.append(Behind(ends: [other, actual], transport: record.transport, text: text))
      }
    }
  }

  /// What another node knows of a connection.
  mutating func take(_ behind: Behind) {
    guard behind.ends.count == 2 else { return }
    change(Key(behind.ends[0], behind.ends[1], behind.transport)) { $0.translation = behind.text }
  }

  /// A flow with what policies had to do with it.
  public mutating func take(_ flow: Flow) {
    guard flow.event != .end, let decision = flow.decision else { return }
    let isDenied = flow.verdict == .denied
    let words = isDenied ? "denied: \(decision.reason)" : "\(flow.verdict.rawValue): \(decision.reason)"
    for asked in [flow.destination.endpoint, flow.service?.asked].compactMap({ $0 }) {
      change(Key(flow.source.endpoint, asked, flow.transport)) {
        $0.verdict = words
        $0.isDenied = isDenied
      }
    }
  }
}

extension FlowNames {
  /// `demo/web-1`, `svc/demo/web`, `node/node-1`: whose an address is now.
  func name(of address: IPAddress) -> String? {
    if let pod = holder(of: address, at: 0)?.pod { return "\(pod)" }
    if let service = service(at: address) { return "svc/\(service)" }
    return node(at: address).map { "node/\($0)" }
  }
}

extension CaptureNotes.Behind {
  /// `[6,"10.42.1.5:4000","10.42.0.11:8080","svc/demo/web:http …"]`
  var json: JSON { .array([JSON(Int(transport)), JSON("\(ends[0])"), JSON("\(ends[1])"), JSON(text)]) }

  /// Nil for what is none.
  init?(_ tree: JSON) {
    guard let list = tree.array, list.count == 4, let number = list[0].integer,
      let transport = UInt8(exactly: number), let text = list[3].string,
      text.utf8.count <= PcapngWriter.remarkMax
    else { return nil }
    let ends = list[1...2].compactMap { $0.string.flatMap { SocketEndpoint($0) } }
    guard ends.count == 2 else { return nil }
    self.init(ends: ends, transport: transport, text: text)
  }
}

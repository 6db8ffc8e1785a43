// What `weft capture` asks the node process, as one line of JSON; and what comes back, in frames.
//
//   -> {"targets":"demo/web","namespace":"default","filter":[[40,0,0,12],…],"snap":262144,"droppedOnly":false}
//   <- | kind u32 | length u32 | content |     kind 1: whole blocks of pcapng; kind 2: a line of JSON
//      {"links":[…],"remarks":[…]}             it begins
//      {"notes":[[6,"END","END","…"],…]}       for packets of other nodes: what is behind a translation here
//      {"end":"…","code":"CAP0010","received":12,"lost":0}   it is over; code only when that was not asked for
//      {"error":"…","code":"CAP0002",…}        it cannot be done
//
// The asker ends it by shutting down his half of the connection.

import ClusterObjects
import Diagnostics
import KernelSockets

/// One question.
public struct CaptureQuestion: Sendable, Hashable {
  /// As they were typed: they are looked up where they are captured.
  public var targets: String
  /// The namespace of names that do not say one.
  public var namespace = "default"
  /// Compiled where it was typed; the kernel checks it once more.
  public var filter: PacketFilter?
  /// Bytes of each packet at most.
  public var snapLength = PacketFilter.wholeFrame
  /// Only packets of connections that policies refused.
  public var isDroppedOnly = false
  /// Several nodes are asked: links that have no pod's name say whose they are, and translations are told for the others' packets.
  public var isOneOfSeveral = false

  public init(targets: String) { self.targets = targets }

  public var json: JSON {
    var object = JSONObject([
      ("targets", JSON(targets)), ("namespace", JSON(namespace)), ("snap", JSON(Int(snapLength))),
      ("droppedOnly", JSON(isDroppedOnly)), ("oneOfSeveral", JSON(isOneOfSeveral)),
    ])
    if let filter {
      object["filter"] = .array(
        filter.instructions.map {
          .array([
            JSON(Int($0.code)), JSON(Int($0.whenTrue)), JSON(Int($0.whenFalse)), JSON(Int($0.operand)),
          ])
        })
    }
    return .object(object)
  }

  /// Nil for what is no question.
  public init?(_ tree: JSON) {
    guard let targets = tree["targets"]?.string else { return nil }
    self.targets = targets
    namespace = tree["namespace"]?.string ?? "default"
    isDroppedOnly = tree["droppedOnly"]?.bool ?? false
    isOneOfSeveral = tree["oneOfSeveral"]?.bool ?? false
    if let snap = tree["snap"]?.integer {
      guard let value = UInt32(exactly: snap), value > 0 else { return nil }
      snapLength = min(value, PacketFilter.wholeFrame)
    }
    guard let list = tree["filter"]?.array else { return }
    guard list.count <= PacketFilter.instructionsMax else { return nil }
    var instructions: [PacketFilter.Instruction] = []
    for entry in list {
      let numbers = (entry.array ?? []).compactMap(\.integer)
      guard numbers.count == 4, let code = UInt16(exactly: numbers[0]),
        let whenTrue = UInt8(exactly: numbers[1]), let whenFalse = UInt8(exactly: numbers[2]),
        let operand = UInt32(exactly: numbers[3])
      else { return nil }
      instructions.append(.init(code, whenTrue: whenTrue, whenFalse: whenFalse, operand))
    }
    filter = PacketFilter(instructions: instructions)
  }
}

/// Kinds of frames, and their bound.
enum CaptureFrame {
  static let blocks: UInt32 = 1
  static let line: UInt32 = 2
  static let headBytes = 8
  /// No frame is longer.
  static let bytesMax = 2 << 20

  /// The head of a frame.
  static func head(_ kind: UInt32, _ count: Int) -> UInt64 {
    (UInt64(count) << 32 | UInt64(kind)).littleEndian
  }
}

/// How a capture ended.
public struct CaptureSummary: Sendable {
  /// Frames that the filter took, and how many of them found no room.
  public var received: UInt64 = 0
  public var lost: UInt64 = 0
  /// Why it ended by itself; nil: it was told to.
  public var failure: WeftError?

  init(_ tree: JSON) {
    received = tree["received"]?.integer.flatMap { UInt64(exactly: $0) } ?? 0
    lost = tree["lost"]?.integer.flatMap { UInt64(exactly: $0) } ?? 0
    failure = WeftError(captureLine: tree)
  }

  public init() {}
}

extension WeftError {
  /// The error that a line tells; nil when it tells none.
  init?(captureLine tree: JSON) {
    guard let cause = tree["cause"]?.string else { return nil }
    let code = tree["code"]?.string ?? ""
    self.init(
      ErrorCode(stringLiteral: code.hasPrefix("CAP") ? code : "CAP0006"),
      object: tree["object"]?.string ?? "capture", cause: cause, next: tree["next"]?.string ?? "",
      exit: code == "CAP0010" ? .finding : .usage)
  }

  var captureLine: JSONObject {
    JSONObject([
      ("code", JSON(code.text)), ("object", JSON(object)), ("cause", JSON(cause)), ("next", JSON(next)),
    ])
  }
}

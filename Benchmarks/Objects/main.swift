// What a pod of 3 kB costs on its way in and out: processor time of one thread, in turns with Foundation's JSON.
//
//   ObjectsBenchmark [ROUNDS]

import ClusterObjects
import FoundationEssentials
import Glibc

func say(_ text: String) {
  var text = text + "\n"
  _ = text.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

func processorNanoseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// The same tree as Foundation reads it.
enum PeerJSON: Codable {
  case null, bool(Bool), integer(Int64), number(Double), string(String)
  case array([PeerJSON]), object([String: PeerJSON])

  init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if let text = try? value.decode(String.self) {
      self = .string(text)
    } else if let fields = try? value.decode([String: PeerJSON].self) {
      self = .object(fields)
    } else if let elements = try? value.decode([PeerJSON].self) {
      self = .array(elements)
    } else if let number = try? value.decode(Int64.self) {
      self = .integer(number)
    } else if let truth = try? value.decode(Bool.self) {
      self = .bool(truth)
    } else if let number = try? value.decode(Double.self) {
      self = .number(number)
    } else {
      self = .null
    }
  }

  func encode(to encoder: any FoundationEncoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    case .object(let value): try container.encode(value)
    }
  }
}
typealias FoundationEncoder = Swift.Encoder

/// One thing that is measured; the lowest and the median of all rounds are told, in microseconds.
struct Measure {
  var name: String
  var count: Int
  var body: () throws -> Int
  var rounds: [Double] = []

  mutating func run() throws {
    var sum = 0
    let start = processorNanoseconds()
    for _ in 0..<count { sum &+= try body() }
    rounds.append(Double(processorNanoseconds() - start) / 1000 / Double(count))
    precondition(sum > 0)
  }
  var median: Double { rounds.sorted()[rounds.count / 2] }
  var least: Double { rounds.min() ?? 0 }
}

let rounds = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 15 : 15
let bytes = Array(podText.utf8)
guard let kind = KindRegistry.builtin[GroupVersionResource("", "v1", "pods")] else { exit(2) }
let tree = try JSON(parsing: bytes)
let protobuf = Encoder.body(tree, kind.schema)
let fromJSON = try kind.schema.decode(json: bytes, as: kind.gvk, validation: .warn)
let fromProtobuf = try kind.schema.decode(protobuf: try ProtobufEnvelope(protobuf))
// Otherwise two different things would be compared.
guard fromJSON.object == fromProtobuf.object, fromJSON.warnings.isEmpty else {
  say("the protobuf body does not hold the same pod:\n\(fromJSON.object.text)\n\(fromProtobuf.object.text)")
  exit(2)
}
let data = Data(bytes)
let peerTree = try JSONDecoder().decode(PeerJSON.self, from: data)

var measures = [
  Measure(name: "parse", count: 2000) { try JSON(parsing: bytes).object?.count ?? 0 },
  Measure(name: "print", count: 2000) {
    var out: [UInt8] = []
    out.reserveCapacity(4096)
    tree.write(to: &out)
    return out.count
  },
  Measure(name: "decode JSON", count: 1000) {
    try kind.schema.decode(json: bytes, as: kind.gvk, validation: .warn).object.object?.count ?? 0
  },
  Measure(name: "decode protobuf", count: 1000) {
    try kind.schema.decode(protobuf: try ProtobufEnvelope(protobuf)).object.object?.count ?? 0
  },
  Measure(name: "Foundation parse", count: 50) {
    if case .object(let fields) = try JSONDecoder().decode(PeerJSON.self, from: data) {
      fields.count
    } else {
      0
    }
  },
  Measure(name: "Foundation print", count: 100) { try JSONEncoder().encode(peerTree).count },
]
for _ in 0..<rounds { for index in measures.indices { try measures[index].run() } }

func rounded(_ number: Double) -> String { "\((number * 10).rounded() / 10)" }
say("pod of \(bytes.count) bytes JSON, \(protobuf.count) bytes protobuf; microseconds of processor time")
for measure in measures {
  say("  \(measure.name): median \(rounded(measure.median)), least \(rounded(measure.least))")
}
let (parse, print) = (measures[0], measures[1])
let ratio = measures[3].median / measures[2].median
say(
  "Foundation takes \(rounded(measures[4].median / parse.median)) times as long to parse, "
    + "\(rounded(measures[5].median / print.median)) to print")
// The least of the rounds: neighbours on the machine can only add.
let marks = [
  ("parse, at most 12 us", parse.least <= 12), ("print, at most 8 us", print.least <= 8),
  (
    "protobuf decode against JSON decode, at most 1.0: \(rounded(ratio * 10) == "10.0" ? "1.0" : "\((ratio * 100).rounded() / 100)")",
    ratio <= 1
  ),
]
for (text, isKept) in marks { say("\(isKept ? "pass" : "FAIL")  \(text)") }
exit(marks.allSatisfy(\.1) ? 0 : 1)

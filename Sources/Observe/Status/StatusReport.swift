// All of `weft status`: rows of parts under a header, counts of objects, what is left out; as a table and as JSON.
//
//        PART         NODE   VERSION         BEHIND   LAST COMMIT   DROPS
//   ok   API server   -      v1.37.0+weft    -        -             -       ready
//   ok   rules        n1     0.1.0           0ms      12s ago       0       5 tables in force
//   !!   dns          n1     0.1.0           4s       1m ago        0       EndpointSlices are not heard of
//                                                                           → kubectl get --raw /readyz

import ClusterObjects

/// A report; a value, judged and printed here.
public struct StatusReport: Sendable, Hashable {
  public var parts: [PartStatus]
  /// How many objects of a kind there are, in the order in which they are shown.
  public var objects: [Count]
  /// Objects that no plan contains, with reasons.
  public var leftOut: [String]

  public struct Count: Sendable, Hashable {
    public var name: String
    public var count: Int
    public init(_ name: String, _ count: Int) {
      self.name = name
      self.count = count
    }
  }

  public init(parts: [PartStatus], objects: [Count] = [], leftOut: [String] = []) {
    self.parts = parts
    self.objects = objects
    self.leftOut = leftOut
  }

  /// Rows that are shown of nodes; those that are not well come first when there are more, and all are in `json`.
  public static let rowsMax = 200

  public var isWell: Bool { leftOut.isEmpty && !parts.contains { $0.state == .failed } }

  static let header = ["", "PART", "NODE", "VERSION", "BEHIND", "LAST COMMIT", "DROPS", ""]

  /// - Parameter colour: escapes of a terminal.
  public func text(colour: Bool) -> String {
    let ordered =
      parts.count > Self.rowsMax
      ? parts.filter { $0.state != .ok } + parts.filter { $0.state == .ok } : parts
    var rows = [Self.header]
    for part in ordered.prefix(Self.rowsMax) {
      rows.append([
        Self.word(part.state), part.name, part.node.isEmpty ? "-" : part.node,
        part.version.isEmpty ? "-" : part.version, part.behindMilliseconds.map(Self.span) ?? "-",
        part.commitAgeMilliseconds.map { "\(Self.span($0)) ago" } ?? "-", part.drops.map { "\($0)" } ?? "-",
        part.text,
      ])
      if !part.next.isEmpty { rows.append(["", "", "", "", "", "", "", "→ \(part.next)"]) }
    }
    var lines = TextTable.lines(rows)
    if colour {
      let codes: [(String, Int)] = [("ok", 32), ("!!", 31), ("! ", 33)]
      lines = lines.map { line in
        guard let code = codes.first(where: { line.hasPrefix($0.0) }) else { return line }
        return "\u{1b}[\(code.1)m\(line.prefix(2))\u{1b}[0m\(line.dropFirst(2))"
      }
    }
    if ordered.count > Self.rowsMax { lines.append("and \(ordered.count - Self.rowsMax) more: -o json") }
    lines.append("")
    if !objects.isEmpty {
      lines.append("objects    " + objects.map { "\($0.count) \($0.name)" }.joined(separator: ", "))
    }
    lines.append("left out   " + (leftOut.isEmpty ? "nothing" : "\(leftOut.count) objects"))
    lines += leftOut.prefix(NodeStatus.leftOutMax).map { "           \($0)" }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func word(_ state: PartStatus.State) -> String {
    switch state {
    case .ok: "ok"
    case .warning: "!"
    case .failed: "!!"
    }
  }

  /// `0ms`, `940ms`, `12s`, `4m`, `3h`, `9d`: short, and good enough to see whether something stands.
  static func span(_ milliseconds: Int64) -> String {
    switch milliseconds {
    case ..<1000: "\(milliseconds)ms"
    case ..<120_000: "\(milliseconds / 1000)s"
    case ..<7_200_000: "\(milliseconds / 60_000)m"
    case ..<172_800_000: "\(milliseconds / 3_600_000)h"
    default: "\(milliseconds / 86_400_000)d"
    }
  }

  public var json: JSON {
    var counts: JSON = [:]
    for count in objects { counts[count.name] = JSON(count.count) }
    return [
      "ok": JSON(isWell), "parts": .array(parts.map(\.json)), "objects": counts, "quarantined": JSON(leftOut),
    ]
  }
}

// What a part of the network says of itself: one row of `weft status`, and its JSON, which travels from nodes to whoever asks.

import ClusterObjects

/// One part on one node, or of the whole cluster.
public struct PartStatus: Sendable, Hashable {
  public enum State: String, Sendable {
    case ok
    /// Works, and somebody should look at it; no reason for another exit code.
    case warning
    case failed
  }

  /// `API server`, `rules`, `dns`, …
  public var name: String
  /// Empty for parts that belong to no node.
  public var node: String
  public var state: State
  /// Empty when it has none, or nobody knows.
  public var version: String
  /// For how long the oldest change that was heard of waits to be in force; nil where that has no meaning.
  public var behindMilliseconds: Int64?
  /// Milliseconds since it last put something in force, at the time of the answer; nil when it never did.
  public var commitAgeMilliseconds: Int64?
  /// What was lost, refused or left out since it began; nil where nothing is counted.
  public var drops: UInt64?
  /// One clause: what is so, or what is wrong.
  public var text: String
  /// What to type next; empty when all is well.
  public var next: String

  public init(
    _ name: String, node: String = "", _ state: State = .ok, version: String = "",
    behindMilliseconds: Int64? = nil, commitAgeMilliseconds: Int64? = nil, drops: UInt64? = nil,
    text: String, next: String = ""
  ) {
    self.name = name
    self.node = node
    self.state = state
    self.version = version
    self.behindMilliseconds = behindMilliseconds
    self.commitAgeMilliseconds = commitAgeMilliseconds
    self.drops = drops
    self.text = text
    self.next = next
  }

  /// Stable fields; what is not known is left out.
  public var json: JSON {
    var object = JSONObject([("part", JSON(name)), ("state", JSON(state.rawValue))])
    if !node.isEmpty { object["node"] = JSON(node) }
    if !version.isEmpty { object["version"] = JSON(version) }
    if let behindMilliseconds { object["behindMilliseconds"] = JSON(behindMilliseconds) }
    if let commitAgeMilliseconds { object["commitAgeMilliseconds"] = JSON(commitAgeMilliseconds) }
    if let drops { object["drops"] = JSON(drops) }
    object["text"] = JSON(text)
    if !next.isEmpty { object["next"] = JSON(next) }
    return .object(object)
  }

  /// Reads what `json` wrote; nil for anything else. Texts of a node are cut to `textMax` and lose control characters: they go to a
  /// terminal.
  public init?(_ tree: JSON) {
    guard let name = tree["part"]?.string, let state = tree["state"]?.string.flatMap(State.init) else {
      return nil
    }
    func word(_ field: String) -> String { Self.printable(tree[field]?.string ?? "") }
    func milliseconds(_ field: String) -> Int64? {
      tree[field]?.integer.flatMap { (0..<1 << 50).contains($0) ? $0 : nil }
    }
    self.init(
      Self.printable(name), node: word("node"), state, version: word("version"),
      behindMilliseconds: milliseconds("behindMilliseconds"),
      commitAgeMilliseconds: milliseconds("commitAgeMilliseconds"),
      drops: tree["drops"]?.integer.flatMap { UInt64(exactly: $0) }, text: word("text"), next: word("next"))
  }

  static let textMax = 400

  /// Without control characters, cut to `textMax`: what others wrote goes to a terminal.
  public static func printable(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.filter { $0.value >= 32 && $0.value != 127 }.prefix(textMax)))
  }
}

/// What one node answers.
public struct NodeStatus: Sendable, Hashable {
  public var node: String
  public var parts: [PartStatus]
  /// Objects that are left out of its plans, with reasons; the first `leftOutMax`.
  public var leftOut: [String]
  /// Nil: not known. See `weft diff`.
  public var tables: Int?

  public static let leftOutMax = 20
  /// Parts that are read of one answer.
  static let partsMax = 64

  public init(node: String, parts: [PartStatus], leftOut: [String] = [], tables: Int? = nil) {
    self.node = node
    self.parts = parts
    self.leftOut = leftOut
    self.tables = tables
  }

  public var json: JSON {
    var object = JSONObject([("node", JSON(node)), ("parts", .array(parts.map(\.json)))])
    object["leftOut"] = JSON(Array(leftOut.prefix(Self.leftOutMax)))
    if let tables { object["tables"] = JSON(tables) }
    return .object(object)
  }

  /// Nil for what is no such answer.
  public init?(_ tree: JSON) {
    guard let node = tree["node"]?.string, let parts = tree["parts"]?.array else { return nil }
    self.node = PartStatus.printable(node)
    self.parts = parts.prefix(Self.partsMax).compactMap(PartStatus.init)
    leftOut = (tree["leftOut"]?.elements ?? []).prefix(Self.leftOutMax).compactMap {
      $0.string.map(PartStatus.printable)
    }
    tables = tree["tables"]?.integer.flatMap { Int(exactly: $0) }
  }
}

// What `weft check` found, and its two forms: categories, a line for each thing looked at, cause and next command where it is not well.
//
//   services
//   √ demo/db          10.43.0.9 to 2 endpoints
//   × demo/web         CLI0130 its selector app=wbe selects no pod
//                      → kubectl get pods -n demo --show-labels

import ClusterObjects

/// A report; a value.
public struct CheckReport: Sendable, Hashable {
  public enum State: String, Sendable {
    case ok
    /// May be meant so; no reason for another exit code.
    case warning
    case failed
  }

  /// One thing that was looked at.
  public struct Item: Sendable, Hashable {
    public var name: String
    public var state: State
    /// What was seen, or what is wrong: one clause.
    public var text: String
    /// Nil when all is well.
    public var code: String?
    /// What to type next; empty when all is well.
    public var next: String

    public init(_ name: String, _ state: State, _ text: String, code: String? = nil, next: String = "") {
      self.name = name
      self.state = state
      self.text = text
      self.code = code
      self.next = next
    }

    public static func ok(_ name: String, _ text: String) -> Item { Item(name, .ok, text) }
    public static func failed(_ name: String, _ code: String, _ cause: String, next: String) -> Item {
      Item(name, .failed, cause, code: code, next: next)
    }
    public static func warning(_ name: String, _ code: String, _ cause: String, next: String) -> Item {
      Item(name, .warning, cause, code: code, next: next)
    }
  }

  public struct Category: Sendable, Hashable {
    public var name: String
    public var items: [Item]
    public init(_ name: String, _ items: [Item]) {
      self.name = name
      self.items = items
    }
  }

  public var categories: [Category]
  public init(_ categories: [Category] = []) { self.categories = categories }

  private var items: [Item] { categories.flatMap(\.items) }
  public var isWell: Bool { !items.contains { $0.state == .failed } }

  /// Lines shown of each category; the rest is counted, and all of it is in `json`.
  public static let linesMax = 50

  /// - Parameter colour: escapes of a terminal.
  public func text(colour: Bool) -> String {
    var lines: [String] = []
    for category in categories where !category.items.isEmpty {
      if !lines.isEmpty { lines.append("") }
      lines.append(category.name)
      // What is wrong comes first when not all of it is shown.
      let ordered =
        category.items.count > Self.linesMax
        ? category.items.filter { $0.state != .ok } + category.items.filter { $0.state == .ok }
        : category.items
      let shown = ordered.prefix(Self.linesMax)
      let width = shown.map(\.name.count).max() ?? 0
      for item in shown {
        let name = item.name + String(repeating: " ", count: width - item.name.count)
        lines.append(
          "\(Self.mark(item.state, colour)) \(name)  \(item.code.map { "\($0) " } ?? "")\(item.text)")
        if !item.next.isEmpty {
          lines.append(String(repeating: " ", count: width + 4) + "→ \(item.next)")
        }
      }
      let rest = ordered.count - shown.count
      if rest > 0 { lines.append("  and \(rest) more: -o json") }
    }
    let failed = items.count { $0.state == .failed }
    let warnings = items.count { $0.state == .warning }
    lines.append("")
    lines.append(
      failed + warnings == 0
        ? "all well: \(items.count) looked at"
        : "\(failed) wrong, \(warnings) to look at, \(items.count - failed - warnings) well")
    return lines.joined(separator: "\n") + "\n"
  }

  private static func mark(_ state: State, _ colour: Bool) -> String {
    let (sign, number) = state == .ok ? ("√", 32) : state == .warning ? ("‼", 33) : ("×", 31)
    return colour ? "\u{1b}[\(number)m\(sign)\u{1b}[0m" : sign
  }

  public var json: JSON {
    [
      "ok": JSON(isWell),
      "categories": .array(
        categories.map { category in
          [
            "name": JSON(category.name),
            "items": .array(
              category.items.map { item in
                var object = JSONObject([
                  ("name", JSON(item.name)), ("state", JSON(item.state.rawValue)), ("text", JSON(item.text)),
                ])
                if let code = item.code { object["code"] = JSON(code) }
                if !item.next.isEmpty { object["next"] = JSON(item.next) }
                return .object(object)
              }),
          ]
        }),
    ]
  }
}

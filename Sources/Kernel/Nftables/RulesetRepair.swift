// What another program did to our tables, in words that fit a line of a log.

import Ruleset

/// A foreign change of our tables that has been put right.
public struct RulesetRepair: Sendable, Hashable, CustomStringConvertible {
  /// What was found: `ip KUBE-PROXY: chain KUBE-BALANCE was taken away`. At most `namedMax`, the first ones.
  public var found: [String]
  /// How many more there were.
  public var more: Int
  /// Elements, rules, chains and tables that were put back or taken out.
  public var operations: Int

  /// Bound on changes that are named, and on elements named of each.
  public static let namedMax = 6
  static let elementsMax = 3
  /// Bound on one element's text, in bytes.
  static let elementTextMax = 80

  /// - Parameter operations: what leads from the tables as they were found to the tables as they were.
  init(_ operations: [Operation]) {
    self.operations = operations.reduce(0) { $0 + $1.weight }
    let remade = Set(operations.compactMap { if case .addTable(let id) = $0 { id } else { nil } })
    let texts = operations.compactMap { Self.text($0, remade: remade) }
    found = Array(texts.prefix(Self.namedMax))
    more = texts.count - found.count
  }

  /// One line.
  public var description: String {
    found.joined(separator: "; ") + (more > 0 ? "; and \(more) more" : "")
  }

  /// Nil for what follows from another operation.
  private static func text(_ operation: Operation, remade: Set<Table.ID>) -> String? {
    let id = operation.table
    if case .addTable = operation { return "\(id): the table was taken away or made anew" }
    guard !remade.contains(id) else { return nil }
    return switch operation {
    case .addTable: nil
    case .deleteTable: "\(id): a table that nobody planned"
    case .addCounter(_, let name): "\(id): counter \(name) was taken away"
    case .deleteCounter(_, let name): "\(id): counter \(name) was put in"
    case .addSet(_, let set): "\(id): set \(set.name) was taken away"
    case .deleteSet(_, let name): "\(id): set \(name) was put in"
    case .addChain(_, let chain): "\(id): chain \(chain.name) was taken away"
    case .deleteChain(_, let name): "\(id): chain \(name) was put in"
    case .replaceRules(_, let chain, _): "\(id): rules of chain \(chain) were changed"
    case .addElements(_, let set, let changes):
      "\(id): \(set.name) lacked \(elements(set, changes))"
    case .deleteElements(_, let set, let changes):
      "\(id): \(set.name) had \(elements(set, changes))"
    }
  }

  private static func elements(_ set: NamedSet, _ changes: [Operation.ElementChange]) -> String {
    let texts = changes.prefix(elementsMax).map { change in
      let text = set.elementText(change.key, change.element)
      return "{ \(text.utf8.count > elementTextMax ? String(text.prefix(elementTextMax)) + "…" : text) }"
    }
    let rest = changes.count - texts.count
    return texts.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
  }
}

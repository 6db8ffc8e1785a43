// What `weft diff` shows: a line for each thing in the kernel that is not as planned.
//
//   - delete route 10.99.0.0/24 dev ext0
//   + add element …
//   ~ change name other.shop.svc.cluster.local. from nothing to 10.43.99.9

import ClusterObjects

/// Differences between what is planned for a node and what it has; a value.
public struct DifferenceReport: Sendable, Hashable {
  public var node: String
  /// What would put the planned rules in force.
  public var operations: [String]
  /// How many changes they are: one may be of many elements.
  public var weight: Int
  /// Routes, rows of the tunnel, neighbours.
  public var paths: [String]
  /// Answers of cluster DNS.
  public var names: [String]
  /// Tables in force.
  public var tables: Int

  public init(
    node: String, operations: [String], weight: Int, paths: [String], names: [String], tables: Int
  ) {
    self.node = node
    self.operations = operations
    self.weight = weight
    self.paths = paths
    self.names = names
    self.tables = tables
  }

  public var isEqual: Bool { operations.isEmpty && paths.isEmpty && names.isEmpty }

  /// Green for what would come, red for what would go. Nothing when all is equal.
  public func text(colour: Bool) -> String {
    (operations + paths + names).map { line in
      let (sign, number) =
        line.hasPrefix("delete") ? ("-", 31) : line.hasPrefix("add") ? ("+", 32) : ("~", 33)
      return colour ? "\u{1b}[\(number)m\(sign) \(line)\u{1b}[0m\n" : "\(sign) \(line)\n"
    }.joined()
  }

  /// For standard error.
  public var summary: String {
    isEqual
      ? "equal: \(tables) tables in force as planned"
      : "\(weight + paths.count + names.count) changes would put the plan in force"
  }

  public var json: JSON {
    [
      "node": JSON(node), "equal": JSON(isEqual), "operations": JSON(operations), "paths": JSON(paths),
      "names": JSON(names),
    ]
  }
}

// YAML documents as JSON trees, with the types that kubectl gives plain words. See YAMLReader for how they are read.

import ClusterObjects

/// Why text is no YAML document that JSON can express. `line` counts from one; 0 when unknown.
public struct YAMLError: Error, Sendable, Hashable, CustomStringConvertible {
  public var reason: String
  public var line: Int
  /// Nested past `JSON.depthMax`.
  public var isTooDeep = false
  /// A mapping names something twice.
  public var isDuplicate = false
  public var description: String { line > 0 ? "line \(line): \(reason)" : reason }
}

public enum YAML {
  /// Values in one text, or in what of a streamed file is held at once, long texts counted by their length, aliases by what they stand for.
  public static let nodesMax = 2_000_000
  /// What aliases may stand for in one text: a text of a few lines must not become a gigabyte.
  public static let aliasedMax = 100_000

  public struct Document: Sendable {
    public var value: JSON
    /// The line it begins at.
    public var line: Int
  }

  /// One document; null for empty text.
  public static func parse(_ text: String) throws(YAMLError) -> JSON {
    try parseAll(text).first?.value ?? .null
  }

  /// All documents that are not empty. JSON is YAML too.
  public static func parseAll(_ text: String) throws(YAMLError) -> [Document] {
    try YAMLReader.documents(text)
  }
}

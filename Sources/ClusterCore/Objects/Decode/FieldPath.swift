// Where in an object: `spec.ports[0].name`, `metadata.labels[app.kubernetes.io/name]`.

/// A path as messages of the API write it. A value of one string; steps append.
public struct FieldPath: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
  public var description: String
  public init(_ text: String = "") { description = text }
  public init(stringLiteral value: String) { description = value }

  public func child(_ names: String...) -> FieldPath {
    FieldPath(names.reduce(description) { $0.isEmpty ? $1 : "\($0).\($1)" })
  }
  public func index(_ position: Int) -> FieldPath { FieldPath("\(description)[\(position)]") }
  public func key(_ key: String) -> FieldPath { FieldPath("\(description)[\(key)]") }
}

// Reads an object field by field, strictly: what is not asked for is an error, and so is what has another
// type.

import ClusterObjects
import Diagnostics

/// One object of a configuration file. Errors gather in a list that all its readers share, with the path of
/// the field, as a strict decoder of Kubernetes words them.
struct ConfigurationReader {
  final class Errors {
    var texts: [String] = []
  }
  let fields: JSONObject
  let path: String
  let errors: Errors
  private var asked: Set<String> = []

  init(_ tree: JSON, path: String = "", errors: Errors = Errors()) {
    fields = tree.object ?? [:]
    self.path = path
    self.errors = errors
    if tree.object == nil, !tree.isNull { errors.texts.append("\(path): must be an object") }
  }

  private func name(_ field: String) -> String { path.isEmpty ? field : "\(path).\(field)" }
  func complain(_ field: String, _ text: String) { errors.texts.append("\(name(field)): \(text)") }

  private mutating func take(_ field: String) -> JSON? {
    asked.insert(field)
    guard let value = fields[field], !value.isNull else { return nil }
    return value
  }

  mutating func any(_ field: String) -> JSON? { take(field) }

  mutating func string(_ field: String) -> String? {
    guard let value = take(field) else { return nil }
    if value.string == nil { complain(field, "must be a string") }
    return value.string
  }
  mutating func int(_ field: String, _ range: ClosedRange<Int> = 0...Int(Int32.max)) -> Int? {
    guard let value = take(field) else { return nil }
    guard let number = value.int else {
      complain(field, "must be an integer")
      return nil
    }
    guard range.contains(number) else {
      complain(
        field, "Invalid value: \(number): must be in the range \(range.lowerBound)-\(range.upperBound)")
      return nil
    }
    return number
  }
  mutating func bool(_ field: String) -> Bool? {
    guard let value = take(field) else { return nil }
    if value.bool == nil { complain(field, "must be true or false") }
    return value.bool
  }
  /// Go's spelling: `15s`, `1m30s`, `100ms`.
  mutating func duration(_ field: String) -> Duration? {
    guard let text = string(field) else { return nil }
    guard let duration = GoDuration.parse(text) else {
      complain(field, "Invalid value: \"\(text)\": must be a duration such as 15s")
      return nil
    }
    return duration
  }
  mutating func strings(_ field: String) -> [String]? {
    guard let value = take(field) else { return nil }
    guard let array = value.array, !array.contains(where: { $0.string == nil }) else {
      complain(field, "must be a list of strings")
      return nil
    }
    return array.compactMap(\.string)
  }
  mutating func object(_ field: String) -> ConfigurationReader? {
    take(field).map { ConfigurationReader($0, path: name(field), errors: errors) }
  }
  mutating func objects(_ field: String) -> [ConfigurationReader]? {
    guard let value = take(field) else { return nil }
    guard let array = value.array else {
      complain(field, "must be a list")
      return nil
    }
    return array.enumerated().map {
      ConfigurationReader($1, path: "\(name(field))[\($0)]", errors: errors)
    }
  }

  /// Complains of every field that was not asked for.
  func finish() {
    for field in fields.keys where !asked.contains(field) {
      errors.texts.append("unknown field \"\(name(field))\"")
    }
  }
}

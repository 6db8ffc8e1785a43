// Values of ingress-nginx's annotations as nginx reads them. Nothing here knows what they are for.

import Addresses

/// One Ingress's annotations of ingress-nginx, by name without the prefix. Keeps account of what was asked for and of what could
/// not be read.
struct AnnotationReader {
  static let prefix = "nginx.ingress.kubernetes.io/"
  private let values: [String: String]
  /// What people should know, one sentence each.
  private(set) var problems: [String] = []

  init(_ annotations: [String: String]) {
    var values: [String: String] = [:]
    for (name, value) in annotations where name.hasPrefix(Self.prefix) {
      values[String(name.dropFirst(Self.prefix.count))] = value
    }
    self.values = values
  }

  var names: [String] { values.keys.sorted() }
  var isEmpty: Bool { values.isEmpty }

  subscript(name: String) -> String? {
    values[name].flatMap { text in
      let text = text.split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
      return text.isEmpty ? nil : text
    }
  }

  mutating func complain(_ reason: String) { problems.append(reason) }

  mutating func wrong(_ name: String, _ wanted: String) {
    complain("annotation \(name): \"\(values[name] ?? "")\" is not \(wanted), so it is passed over (ING0004)")
  }

  func isTrue(_ name: String) -> Bool { self[name]?.lowercased() == "true" }

  mutating func number(_ name: String, _ range: ClosedRange<Int>) -> Int? {
    guard let text = self[name] else { return nil }
    guard let value = Int(text), range.contains(value) else {
      wrong(name, "a number from \(range.lowerBound) to \(range.upperBound)")
      return nil
    }
    return value
  }

  /// Seconds, as milliseconds.
  mutating func seconds(_ name: String) -> UInt32? {
    number(name, 1...86_400).map { UInt32($0 * 1000) }
  }

  /// `8m`, `512k`, `1g`, `100`.
  mutating func size(_ name: String) -> UInt64? {
    guard let text = self[name] else { return nil }
    let units: [Character: UInt64] = ["k": 10, "m": 20, "g": 30]
    let unit = text.last.flatMap { units[Character($0.lowercased())] }
    let digits = unit == nil ? text[...] : text.dropLast()
    guard let value = UInt64(digits), value < 1 << 32 else {
      wrong(name, "a size such as 8m")
      return nil
    }
    return value << (unit ?? 0)
  }

  /// Elements with commas between them.
  func list(_ name: String) -> [String] {
    (self[name] ?? "").split(separator: ",").map { String($0.filter { $0 != " " }) }.filter { !$0.isEmpty }
  }

  /// Blocks of addresses; single addresses are blocks of one. Nil when one cannot be read: a list that protects is not to be
  /// applied in part.
  mutating func blocks(_ name: String) -> [IPPrefix]? {
    var blocks: [IPPrefix] = []
    for text in list(name) {
      let address = IPAddress(text)
      guard let block = IPPrefix(text) ?? address.flatMap({ IPPrefix($0, length: $0.family.width) }) else {
        wrong(name, "a list of addresses and blocks")
        return nil
      }
      blocks.append(block)
    }
    return blocks
  }

  mutating func template(_ name: String) -> RouteTemplate? {
    guard let text = self[name] else { return nil }
    guard let template = RouteTemplate(text) else {
      wrong(name, "a text with the variables that are known here")
      return nil
    }
    return template
  }

  mutating func field(_ name: String, _ header: String) -> HeaderField? {
    guard let text = self[name] else { return nil }
    guard let field = HeaderField(header, text) else {
      wrong(name, "a value that a field can have")
      return nil
    }
    return field
  }
}

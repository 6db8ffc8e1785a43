// Reads typed values out of an object's tree and says which field could not be read.

import Addresses
import ClusterObjects

/// An object that cannot mean anything to the network: it is left out, by name and with the reason, and everything
/// else goes on.
public struct UnreadableObject: Error, Sendable, Hashable, CustomStringConvertible {
  public var kind: String
  public var key: ObjectKey
  public var field: String
  public var value: String
  public var description: String {
    "\(kind) \(key): \(field) cannot be read: \(value.isEmpty ? "(nothing)" : value)"
  }
}

struct TreeReader {
  let kind: String
  let key: ObjectKey

  init(_ kind: String, _ tree: JSON) {
    self.kind = kind
    key = tree.key
  }

  func unreadable(_ field: String, _ value: String) -> UnreadableObject {
    UnreadableObject(kind: kind, key: key, field: field, value: String(value.prefix(200)))
  }

  func choice<Value: RawRepresentable<String>>(_ tree: JSON?, _ field: String, default absent: Value)
    throws(UnreadableObject) -> Value
  {
    guard let text = tree?.string, !text.isEmpty else { return absent }
    guard let value = Value(rawValue: text) else { throw unreadable(field, text) }
    return value
  }

  func port(_ tree: JSON?, _ field: String, default absent: UInt16? = nil) throws(UnreadableObject) -> UInt16
  {
    guard let tree, !tree.isNull else {
      guard let absent else { throw unreadable(field, "") }
      return absent
    }
    guard let number = tree.integer, let port = UInt16(exactly: number) else {
      throw unreadable(field, tree.text)
    }
    return port
  }

  func addresses(_ tree: JSON?, _ field: String, skipping skipped: String? = nil) throws(UnreadableObject)
    -> [IPAddress]
  {
    var result: [IPAddress] = []
    for element in tree?.elements ?? [] {
      guard let text = element.string else { throw unreadable(field, element.text) }
      if text == skipped || text.isEmpty { continue }
      guard let address = IPAddress(text) else { throw unreadable(field, text) }
      result.append(address)
    }
    return result
  }

  func prefixes(_ tree: JSON?, _ field: String) throws(UnreadableObject) -> [IPPrefix] {
    var result: [IPPrefix] = []
    for element in tree?.elements ?? [] {
      guard let text = element.string, let prefix = IPPrefix(text.trimmingBlanks) else {
        throw unreadable(field, element.text)
      }
      result.append(prefix)
    }
    return result
  }

  func selector(_ tree: JSON, _ field: String) throws(UnreadableObject) -> LabelSelector {
    do throws(SelectorError) {
      return try LabelSelector(tree)
    } catch {
      throw unreadable(field, "\(tree.text) (\(error))")
    }
  }
}

extension String {
  fileprivate var trimmingBlanks: Substring {
    var view = self[...]
    while view.first == " " { view.removeFirst() }
    while view.last == " " { view.removeLast() }
    return view
  }
}

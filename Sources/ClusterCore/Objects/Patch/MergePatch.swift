// JSON merge patch, RFC 7386: objects are merged, null removes, all else replaces.

/// Why a patch cannot be applied. `isConflict` tells a failed `test` (422) from a malformed patch (400).
public struct PatchError: Error, Sendable, Hashable, CustomStringConvertible {
  public var description: String
  public var isUnprocessable: Bool
  public init(_ description: String, isUnprocessable: Bool = false) {
    self.description = description
    self.isUnprocessable = isUnprocessable
  }
}

extension JSON {
  /// The document after a merge patch. Never fails.
  public func applying(mergePatch patch: JSON) -> JSON {
    guard case .object(let changes) = patch else { return patch }
    var result = object ?? [:]
    for (name, change) in changes {
      if change.isNull {
        result.removeValue(forKey: name)
      } else {
        result[name] = (result[name] ?? .null).applying(mergePatch: change)
      }
    }
    return .object(result)
  }
}

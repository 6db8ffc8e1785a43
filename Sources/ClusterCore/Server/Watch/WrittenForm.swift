// An object on its way into the store: serialized once, for the store, the answer and everybody who watches.
//
//   {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a", … ◆},"data":{ … }}
//                                                                   ◆ ,"resourceVersion":"17" once the store has said so

import ClusterObjects
import ClusterStore
import NIOCore
import Synchronization

/// The tree and the bytes of one object as it is stored: without a revision.
final class WrittenForm: Sendable {
  let tree: JSON
  let bytes: [UInt8]
  /// Where a revision belongs in the bytes: before the end of `metadata`. Nil where that cannot be said.
  private let revisionAt: Int?
  /// Made by who needs it first: the writer's answer or the watch cache.
  private let made = Mutex<CachedObject?>(nil)

  /// The tree must have no `metadata.resourceVersion`.
  init(_ tree: JSON) {
    self.tree = tree
    var out: [UInt8] = []
    out.reserveCapacity(2048)
    revisionAt = tree.write(to: &out, endOf: "metadata")
    bytes = out
  }

  /// The object as the store keeps it now.
  func cached(_ key: String, _ revision: Revision) -> CachedObject {
    made.withLock { made in
      if let made, made.revision == revision { return made }
      let object = CachedObject(key: key, revision: revision, form: self)
      made = object
      return object
    }
  }

  /// The bytes with the revision in them.
  func bytes(_ revision: Revision) -> ByteBuffer? {
    guard let revisionAt else { return nil }
    var buffer = ByteBuffer()
    buffer.reserveCapacity(bytes.count + 48)
    buffer.writeBytes(bytes[..<revisionAt])
    // An object that is stored has a name, hence a field before this one.
    buffer.writeString(",\"resourceVersion\":\"")
    buffer.writeString(String(revision))
    buffer.writeInteger(UInt8(ascii: "\""))
    buffer.writeBytes(bytes[revisionAt...])
    return buffer
  }
}

/// What was written here and did not come back through the store's feed yet. The feed brings bytes; whose bytes these are is
/// looked up and not parsed.
struct ExpectedForms {
  /// More than fit into the store's queue are parsed.
  static let formsMax = 4096
  private var forms: [String: WrittenForm] = [:]

  mutating func expect(_ form: WrittenForm, _ key: String) {
    if forms.count >= Self.formsMax { forms = [:] }
    forms[key] = form
  }

  mutating func forget(_ form: WrittenForm, _ key: String) {
    if forms[key] === form { forms[key] = nil }
  }

  /// The form with these bytes, if it was written here.
  mutating func take(_ key: String, _ bytes: [UInt8]) -> WrittenForm? {
    guard let form = forms[key], form.bytes == bytes else { return nil }
    forms[key] = nil
    return form
  }
}

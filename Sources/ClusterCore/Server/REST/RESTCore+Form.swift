// The form of what is written: old and new merged by part, the order of fields, identifiers.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

extension RESTCore {
  /// The old object with the new one's changes, as far as the part allows them.
  func merge(_ kind: ResourceKind, old: JSON, new: JSON, part: Part) -> JSON {
    var object = new
    object["apiVersion"] = JSON(kind.apiVersion)
    object["kind"] = JSON(kind.kind)
    var metadata = new.metadata.object == nil ? [:] : new.metadata
    for field in [
      "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
      "generation", "generateName", "resourceVersion",
    ] { metadata[field] = old.metadata[field] }
    switch part {
    case .status where kind.isCertificateRequest, .approval:
      object = old
      object["status"] = new["status"]
      CertificateStrategy.prepareForUpdate(&object, old: old, part: part.subresource, now: .now)
      return Self.ordered(object)
    case .status:
      object = old
      object["status"] = new["status"]
      kind.applyDefaults(&object)
      return Self.ordered(object)
    case .finalize:
      object["metadata"] = metadata
      object["status"] = old["status"]
      return Self.ordered(object)
    case .ephemeralContainers:
      object = old
      object.set(new.at("spec", "ephemeralContainers"), at: "spec", "ephemeralContainers")
      kind.applyDefaults(&object)
      return Self.ordered(object)
    case .resize:
      object = old
      for list in ["containers", "initContainers"] {
        var containers = old.at("spec", list)?.elements ?? []
        for index in containers.indices {
          guard
            let wanted = new.at("spec", list)?.elements.first(where: {
              $0["name"] == containers[index]["name"]
            })
          else { continue }
          containers[index]["resources"] = wanted["resources"]
          containers[index]["resizePolicy"] = wanted["resizePolicy"]
        }
        if !containers.isEmpty { object.set(.array(containers), at: "spec", list) }
      }
      kind.applyDefaults(&object)
      return Self.ordered(object)
    case .main: break
    }
    object["metadata"] = metadata
    kind.applyDefaults(&object)
    kind.prepareForUpdate(&object, old: old)
    if kind.isCertificateRequest { object["spec"] = old["spec"] }
    ObjectStrategy.normalize(kind, &object)
    return Self.ordered(object)
  }

  /// What is answered: the object as it was written. What is stored is what is served, for most kinds; then the watch cache
  /// shows the very same.
  static func served(
    _ form: WrittenForm, _ object: JSON, _ kind: ResourceKind, _ key: String, _ revision: Revision
  ) -> CachedObject {
    kind.isStoredAsServed && kind.custom == nil
      ? form.cached(key, revision) : CachedObject(key: key, revision: revision, tree: object)
  }

  /// Stored objects are of the storage's version and carry no revision: it is the change that stored them.
  static func stored(_ object: JSON, _ kind: ResourceKind) -> JSON {
    var object = kind.stored(object)
    object.set(nil, at: "metadata", "resourceVersion")
    return object
  }

  /// `apiVersion`, `kind`, `metadata`, then the rest in its order.
  static func ordered(_ object: JSON) -> JSON {
    guard let fields = object.object else { return object }
    var out = JSONObject()
    for name in ["apiVersion", "kind", "metadata"] { if let value = fields[name] { out[name] = value } }
    for (name, value) in fields where out[name] == nil { out[name] = value }
    return .object(out)
  }

  /// A random UUID, RFC 9562 version 4.
  static func uid() -> String {
    var generator = SystemRandomNumberGenerator()
    let high = generator.next() & ~0xf000 | 0x4000
    let low = generator.next() & ~(3 << 62) | 1 << 63
    return String(unsafeUninitializedCapacity: 36) { text in
      var position = 0
      for digit in 0..<32 {
        if digit == 8 || digit == 12 || digit == 16 || digit == 20 {
          text[position] = UInt8(ascii: "-")
          position += 1
        }
        let word = digit < 16 ? high : low
        let value = UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * (digit & 15))) & 0xf
        text[position] = value < 10 ? 48 + value : 87 + value
        position += 1
      }
      return position
    }
  }
}

// Annotations about what clients get to see: fields of answers, and who tells of errors.

import ClusterObjects
import ClusterView

/// What `custom-headers` takes from a ConfigMap: a field for each key.
public func headerFields(configMap tree: JSON) -> [String: String] {
  var fields: [String: String] = [:]
  guard let values = tree["data"]?.object else { return fields }
  for (name, value) in values { fields[name] = value.string }
  return fields
}

extension AnnotationPlan {
  /// The ConfigMap of `custom-headers`, of the Ingress's own namespace.
  static func headersKey(_ ingress: Ingress) -> ObjectKey? { secretKey(ingress, "custom-headers") }

  /// Fields of every answer, from a ConfigMap with a key for each.
  mutating func customHeaders(
    _ reader: inout AnnotationReader, _ ingress: Ingress, _ maps: [ObjectKey: [String: String]]
  ) {
    guard reader["custom-headers"] != nil else { return }
    guard let key = Self.headersKey(ingress), let fields = maps[key] else {
      return reader.complain(
        "annotation custom-headers names no ConfigMap of the Ingress's own namespace that exists (ING0004)")
    }
    for (name, value) in fields.sorted(by: { $0.key < $1.key }) {
      if let field = HeaderField(name, value) {
        action.response.set.append(field)
      } else {
        reader.complain("custom-headers: \(name) of configmap \(key) is no field that can be set (ING0004)")
      }
    }
  }

  mutating func errors(_ reader: inout AnnotationReader) {
    let words = reader.list("custom-http-errors")
    let statuses = words.compactMap { UInt16($0) }.filter { (300...599).contains($0) }
    if statuses.count != words.count || statuses.count > RouteErrors.statusesMax {
      reader.wrong("custom-http-errors", "a list of statuses from 300 to 599, 64 at most")
    }
    tellErrors(Array(statuses.prefix(RouteErrors.statusesMax)), by: reader["default-backend"])
    if !statuses.isEmpty, reader["default-backend"] == nil {
      reader.complain("custom-http-errors without default-backend has nobody to tell them (ING0004)")
    }
  }
}

// The data of ConfigMaps and Secrets as bytes: text as it is, the rest from base64.

import ClusterObjects

/// The data of a ConfigMap (`data`, `binaryData`) or a Secret (`data`, in base64).
func objectData(_ object: JSON) -> [String: [UInt8]] {
  var out: [String: [UInt8]] = [:]
  let isSecret = object.kind == "Secret"
  for (key, value) in object["data"]?.stringMap ?? [:] {
    out[key] = isSecret ? Base64.decode(value) : Array(value.utf8)
  }
  for (key, value) in object["binaryData"]?.stringMap ?? [:] { out[key] = Base64.decode(value) }
  return out
}

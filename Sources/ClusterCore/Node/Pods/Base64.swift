// Base64 of RFC 4648, for the data of Secrets.

import ClusterObjects

enum Base64 {
  /// The bytes; nil when the text is no base64. Line breaks are skipped.
  static func decode(_ text: String) -> [UInt8]? {
    var out: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    var padding = 0
    for byte in text.utf8 {
      let value: UInt32
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(byte) - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(byte) - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(byte) + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "="):
        padding += 1
        continue
      case 10, 13: continue
      default: return nil
      }
      guard padding == 0 else { return nil }
      bits = bits << 6 | value
      count += 1
      if count % 4 == 0 { out += [UInt8(bits >> 16 & 0xff), UInt8(bits >> 8 & 0xff), UInt8(bits & 0xff)] }
    }
    switch count % 4 {
    case 0: break
    case 2: out.append(UInt8(bits >> 4 & 0xff))
    case 3: out += [UInt8(bits >> 10 & 0xff), UInt8(bits >> 2 & 0xff)]
    default: return nil
    }
    return out
  }
}

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

// Base64 with the standard alphabet (RFC 4648 section 4), as Secrets and protobuf bytes need it.

public enum Base64 {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let values: [UInt8] = {
    var table = [UInt8](repeating: 0xff, count: 256)
    for (value, byte) in alphabet.enumerated() { table[Int(byte)] = UInt8(value) }
    return table
  }()

  public static func encode(_ bytes: some Collection<UInt8>) -> String {
    var out: [UInt8] = []
    out.reserveCapacity((bytes.count + 2) / 3 * 4)
    var iterator = bytes.makeIterator()
    while let a = iterator.next() {
      let b = iterator.next()
      let c = iterator.next()
      out.append(alphabet[Int(a >> 2)])
      out.append(alphabet[Int((a & 3) << 4 | (b ?? 0) >> 4)])
      out.append(b == nil ? UInt8(ascii: "=") : alphabet[Int((b! & 15) << 2 | (c ?? 0) >> 6)])
      out.append(c == nil ? UInt8(ascii: "=") : alphabet[Int(c! & 63)])
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// Nil for what is not base64. Line breaks are skipped, padding is required.
  public static func decode(_ text: String) -> [UInt8]? {
    var out: [UInt8] = []
    out.reserveCapacity(text.utf8.count / 4 * 3)
    var group: UInt32 = 0
    var count = 0
    var padding = 0
    for byte in text.utf8 {
      if byte == 10 || byte == 13 { continue }
      if byte == UInt8(ascii: "=") {
        padding += 1
        guard padding <= 2, count >= 2 else { return nil }
        group <<= 6
      } else {
        let value = values[Int(byte)]
        guard value != 0xff, padding == 0 else { return nil }
        group = group << 6 | UInt32(value)
      }
      count += 1
      if count == 4 {
        out.append(UInt8(truncatingIfNeeded: group >> 16))
        if padding < 2 { out.append(UInt8(truncatingIfNeeded: group >> 8)) }
        if padding < 1 { out.append(UInt8(truncatingIfNeeded: group)) }
        if padding > 0 { count = 5 }  // Nothing may follow.
        if count == 4 { count = 0 }
        group = 0
      } else if count > 4 {
        return nil
      }
    }
    return count == 0 || count == 5 ? out : nil
  }
}

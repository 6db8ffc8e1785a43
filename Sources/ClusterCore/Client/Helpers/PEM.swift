// Several certificates or keys in one text.

/// PEM documents (RFC 7468) that hold several things.
public enum PEM {
  /// From each `-----BEGIN` to the end of its `-----END` line; what is between them is passed over.
  public static func blocks(_ text: String) -> [String] {
    var blocks: [String] = []
    var current: [Substring]?
    for line in text.split(whereSeparator: \.isNewline) {
      if line.hasPrefix("-----BEGIN ") { current = [] }
      current?.append(line)
      if line.hasPrefix("-----END "), let lines = current {
        blocks.append(lines.joined(separator: "\n") + "\n")
        current = nil
      }
    }
    return blocks
  }
}

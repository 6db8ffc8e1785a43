// Tar archives in memory, in the ustar format of POSIX.1-1988: what image layers and image archives are made of.

/// Builds an archive. The same entries give the same bytes: times are zero and owners root, so digests are stable.
struct TarWriter {
  private(set) var bytes: [UInt8] = []

  mutating func directory(_ path: String, mode: Int = 0o755) {
    header(path.hasSuffix("/") ? path : path + "/", size: 0, mode: mode, kind: "5")
  }

  mutating func file(_ path: String, _ content: [UInt8], mode: Int = 0o644) {
    header(path, size: content.count, mode: mode, kind: "0")
    bytes += content
    pad()
  }

  mutating func file(_ path: String, _ text: String, mode: Int = 0o644) {
    file(path, Array(text.utf8), mode: mode)
  }

  mutating func link(_ path: String, to target: String) {
    header(path, size: 0, mode: 0o777, kind: "2", target: target)
  }

  /// The archive, closed by two empty blocks.
  consuming func finish() -> [UInt8] {
    bytes + [UInt8](repeating: 0, count: 1024)
  }

  private mutating func header(
    _ path: String, size: Int, mode: Int, kind: Character, target: String = ""
  ) {
    // Longer names need the prefix field, which no path of ours does.
    precondition(path.utf8.count <= 100 && target.utf8.count <= 100, "a path in an image is too long")
    var block = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int) {
      block.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
    }
    func octal(_ value: Int, digits: Int) -> String {
      let text = String(value, radix: 8)
      return String(repeating: "0", count: digits - text.count) + text
    }
    put(path, at: 0)
    put(octal(mode, digits: 7), at: 100)
    put(octal(0, digits: 7), at: 108)
    put(octal(0, digits: 7), at: 116)
    put(octal(size, digits: 11), at: 124)
    put(octal(0, digits: 11), at: 136)
    put("        ", at: 148)
    put(String(kind), at: 156)
    put(target, at: 157)
    put("ustar", at: 257)
    put("00", at: 263)
    put("root", at: 265)
    put("root", at: 297)
    let sum = block.reduce(0) { $0 + Int($1) }
    put(octal(sum, digits: 6), at: 148)
    block[154] = 0
    block[155] = UInt8(ascii: " ")
    bytes += block
  }

  private mutating func pad() {
    let rest = bytes.count % 512
    if rest > 0 { bytes += [UInt8](repeating: 0, count: 512 - rest) }
  }
}

// An archive of plain files, as tar(1) reads it (POSIX.1-2008, pax, "ustar interchange format").

/// Collects files; `bytes` is the archive so far and ends it. Costs the files' sizes in memory.
public struct TarArchive: Sendable {
  /// A name is cut to this many bytes.
  public static let nameMax = 100
  private static let block = 512

  private var written: [UInt8] = []
  private let modified: Int64

  /// - Parameter modified: seconds since 1970, of all files.
  public init(modified: Int64) { self.modified = modified }

  /// Names of at most `nameMax` bytes; the same name twice is two files, of which tar keeps the last.
  public mutating func add(_ name: String, _ content: [UInt8]) {
    var head = [UInt8](repeating: 0, count: Self.block)
    func put(_ bytes: some Sequence<UInt8>, at offset: Int) {
      for (index, byte) in bytes.enumerated() { head[offset + index] = byte }
    }
    func octal(_ value: Int64, digits: Int) -> [UInt8] {
      let text = String(value, radix: 8)
      return Array((String(repeating: "0", count: max(0, digits - text.count)) + text).utf8)
    }
    put(name.utf8.prefix(Self.nameMax), at: 0)
    put(octal(0o644, digits: 7), at: 100)
    put(octal(0, digits: 7), at: 108)
    put(octal(0, digits: 7), at: 116)
    put(octal(Int64(content.count), digits: 11), at: 124)
    put(octal(modified, digits: 11), at: 136)
    put(Array("        ".utf8), at: 148)
    head[156] = UInt8(ascii: "0")
    put(Array("ustar\u{0}00".utf8), at: 257)
    put(Array("root".utf8), at: 265)
    put(Array("root".utf8), at: 297)
    // The checksum is taken with blanks in its own place.
    put(octal(head.reduce(0) { $0 + Int64($1) }, digits: 6) + [0, 0x20], at: 148)
    written += head
    written += content
    written += [UInt8](repeating: 0, count: (Self.block - content.count % Self.block) % Self.block)
  }

  /// The archive, ended by two empty blocks.
  public var bytes: [UInt8] { written + [UInt8](repeating: 0, count: 2 * Self.block) }
}

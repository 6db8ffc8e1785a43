// Reads SQLite's write-ahead log before SQLite does. SQLite takes the first frame that does not fit for the log's end: right
// for a write that a power cut tore, wrong for damage further up, where acknowledged writes would silently be gone.
//
//   header 32   magic, version, page size, sequence, salt, checksum
//   frame  24 + page   page number, pages after commit (0: no commit), salt, checksum of everything so far
//
// Each commit is on the disk before the next begins. So at most one commit can be torn: when two commits of this log's
// salt follow the first bad frame, the bad frame was whole once. (https://sqlite.org/fileformat2.html#walformat)

import Glibc

enum WALCheck {
  /// What is wrong with the log of `path`, or nil. Costs one reading of the log, which is a few MiB.
  static func damage(in path: String) -> String? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var header = [UInt8](repeating: 0, count: 32)
    guard pread(file, &header, 32, 0) == 32, header.contains(where: { $0 != 0 }) else { return nil }
    let words = (0..<8).map { bigEndian(header, $0 * 4) }
    let isBig = words[0] & 1 == 1
    var sum: (UInt32, UInt32) = (0, 0)
    add(header[0..<24], isBig, &sum)
    guard words[0] & ~1 == 0x377f_0682, sum == (words[6], words[7]), (512...65_536).contains(words[2]) else {
      // No frame: nothing was ever committed to this log.
      var next: UInt8 = 0
      return pread(file, &next, 1, 32) == 1 ? "the head of its log is damaged" : nil
    }
    return frames(file, size: Int(words[2]), salt: (words[4], words[5]), isBig, sum)
  }

  private static func frames(
    _ file: Int32, size: Int, salt: (UInt32, UInt32), _ isBig: Bool, _ start: (UInt32, UInt32)
  ) -> String? {
    var sum = start
    var frame = [UInt8](repeating: 0, count: 24 + size)
    var number = 0
    var bad: Int?
    var commitsAfter = 0
    while pread(file, &frame, frame.count, off_t(32 + number * frame.count)) == frame.count {
      let isOurs = bigEndian(frame, 8) == salt.0 && bigEndian(frame, 12) == salt.1
      if bad == nil {
        add(frame[0..<8], isBig, &sum)
        add(frame[24...], isBig, &sum)
        if !isOurs || sum != (bigEndian(frame, 16), bigEndian(frame, 20)) { bad = number }
      }
      if bad != nil, isOurs, bigEndian(frame, 4) != 0 { commitsAfter += 1 }
      number += 1
    }
    guard let bad, commitsAfter > 1 else { return nil }
    return "frame \(bad) of its log is damaged, and later writes are there"
  }

  private static func bigEndian(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    UInt32(bytes[at]) << 24 | UInt32(bytes[at + 1]) << 16 | UInt32(bytes[at + 2]) << 8 | UInt32(bytes[at + 3])
  }

  private static func add(_ bytes: ArraySlice<UInt8>, _ isBig: Bool, _ sum: inout (UInt32, UInt32)) {
    bytes.withUnsafeBytes { bytes in
      var offset = 0
      while offset + 8 <= bytes.count {
        var first = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        var second = bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
        if isBig {
          first = first.bigEndian
          second = second.bigEndian
        }
        sum.0 = sum.0 &+ first &+ sum.1
        sum.1 = sum.1 &+ second &+ sum.0
        offset += 8
      }
    }
  }
}

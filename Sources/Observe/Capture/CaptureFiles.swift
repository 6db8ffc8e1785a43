// A capture on its way to a file, to a ring of files, or to whoever reads standard output. What is there is whole blocks, whatever
// happens: a full disk costs the packets that found no room, and no more.

import Diagnostics
import Glibc

/// How much is wanted.
public struct CaptureLimits: Sendable, Hashable {
  public var packets: Int?
  /// Of the file, or of each of a ring's.
  public var bytes: Int?
  /// So many files are kept, the newest; a new one begins when one is full.
  public var ring: Int?
  public init(packets: Int? = nil, bytes: Int? = nil, ring: Int? = nil) {
    self.packets = packets
    self.bytes = bytes
    self.ring = ring
  }
}

/// Writes blocks. Of one thread at a time.
public final class CaptureFiles: CaptureSink {
  /// What waits to be written.
  private static let waitingMax = 256 << 10
  /// Section, interfaces and names that every file of a ring begins with; past it later names are left out.
  private static let preambleMax = 4 << 20

  private let path: String
  private let limits: CaptureLimits
  private var descriptor: Int32 = -1
  private var waiting: [UInt8] = []
  private var preamble: [UInt8] = []
  /// Of the file at hand, what waits included.
  private var size = 0
  private var number = 0
  private var files: [String] = []
  /// Packets that were taken, of all files.
  public private(set) var packets = 0

  /// - Parameter path: `-` is standard output. Of a ring `web.pcapng` becomes `web-00001.pcapng` and so on.
  /// Throws `CAP0009`.
  public init(_ path: String, limits: CaptureLimits = CaptureLimits()) throws(WeftError) {
    self.path = path
    self.limits = limits
    waiting.reserveCapacity(2 * Self.waitingMax)
    try open()
  }

  deinit { if descriptor > 1 { close(descriptor) } }

  /// The files that are there, the oldest first.
  public var paths: [String] { files }

  private var isOutput: Bool { path == "-" }

  private func open() throws(WeftError) {
    guard !isOutput else {
      descriptor = 1
      return
    }
    number += 1
    let name = limits.ring == nil ? path : Self.numbered(path, number)
    let opened = Glibc.open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard opened >= 0 else { throw Self.failure(name, errno) }
    if descriptor > 1 { close(descriptor) }
    descriptor = opened
    files.append(name)
    size = 0
    while let ring = limits.ring, files.count > max(ring, 1) { unlink(files.removeFirst()) }
  }

  /// `web.pcapng`, 3: `web-00003.pcapng`.
  static func numbered(_ path: String, _ number: Int) -> String {
    let digits = String(number)
    let text = "-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    let name = path.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
    guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return path + text }
    return path.dropLast(name[dot...].count) + text + name[dot...]
  }

  public func take(_ block: PcapngBlock) throws(WeftError) -> Bool {
    if block.isPreamble, limits.ring != nil, preamble.count + block.bytes.count <= Self.preambleMax {
      preamble += block.bytes
    }
    if let most = limits.bytes, size + block.bytes.count > most, block.isPacket {
      guard limits.ring != nil else { return false }
      try write()
      try open()
      append(preamble)
    }
    append(block.bytes)
    if waiting.count >= Self.waitingMax { try write() }
    if block.isPacket {
      packets += 1
      if let most = limits.packets, packets >= most { return false }
    }
    return true
  }

  private func append(_ bytes: some Collection<UInt8>) {
    waiting.append(contentsOf: bytes)
    size += bytes.count
  }

  public func flush() throws(WeftError) { try write() }

  private func write() throws(WeftError) {
    var done = 0
    while done < waiting.count {
      let count = waiting.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, $0.count - done)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let reason = count < 0 ? errno : ENOSPC
        if !isOutput {
          let end = lseek(descriptor, 0, SEEK_END)
          // Half a block would not be read.
          if end >= 0 { _ = ftruncate(descriptor, end - off_t(done - Self.wholeBlocks(waiting, done))) }
        }
        waiting.removeAll(keepingCapacity: true)
        throw Self.failure(files.last ?? "standard output", reason)
      }
      done += count
    }
    waiting.removeAll(keepingCapacity: true)
  }

  /// How many of the first `count` bytes are whole blocks.
  private static func wholeBlocks(_ bytes: [UInt8], _ count: Int) -> Int {
    bytes.withUnsafeBytes { all in
      (try? PcapngBlocks.read(UnsafeRawBufferPointer(rebasing: all[..<count])) { _ in true }) ?? 0
    }
  }

  private static func failure(_ path: String, _ reason: Int32) -> WeftError {
    let isFull = reason == ENOSPC || reason == EDQUOT || reason == EFBIG
    return WeftError(
      "CAP0009", object: path,
      cause: "cannot be written: \(String(cString: strerror(reason)))"
        + (isFull ? "; what is there is whole and can be read" : ""),
      next: isFull
        ? "make room, or bound it: --max-size 100M --ring 3"
        : "see that its folder is there and is yours: ls -ld \(path)")
  }
}

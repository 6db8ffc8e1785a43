// How full connection tracking is and what it has refused, as the kernel counts it for one network namespace.
//
//   entries  clashres found new invalid … insert insert_failed drop early_drop …     names, which differ between kernels
//   000004d2 00000000 …                                                              one line a processor, hexadecimal

import CLinux
import Glibc

/// A reading of `/proc/net/stat/nf_conntrack`, summed over processors. Counters are 32 bits wide on each and begin again at 0.
public struct ConntrackStatistics: Sendable, Hashable {
  /// Flows that are remembered now.
  public var entries: UInt32 = 0
  /// How many there may be: of the whole machine, for each namespace.
  public var limit: UInt32 = 0
  /// Packets of new flows that were dropped, for whatever reason.
  public var drop: UInt32 = 0
  /// Of them, those whose place in the table was taken: no port was free for a translated source, or two came at once.
  public var insertFailed: UInt32 = 0
  /// Flows that were forgotten before their time, to make room.
  public var earlyDrop: UInt32 = 0

  public init() {}

  /// Bound on what is read: some thousand processors.
  static let bytesMax = 1 << 20

  /// Reads the file's text; nil when it is not such a table.
  public init?(_ text: some Collection<UInt8>) {
    let lines = text.split(separator: UInt8(ascii: "\n"))
    guard let names = lines.first?.split(separator: UInt8(ascii: " ")), lines.count > 1 else { return nil }
    func column(_ name: String) -> Int? { names.firstIndex { $0.elementsEqual(name.utf8) } }
    guard let entries = column("entries"), let drop = column("drop"),
      let insertFailed = column("insert_failed"), let earlyDrop = column("early_drop")
    else { return nil }
    for line in lines.dropFirst() {
      let values = line.split(separator: UInt8(ascii: " "))
      func value(_ column: Int) -> UInt32? {
        column < values.count ? UInt32(String(decoding: values[column], as: UTF8.self), radix: 16) : nil
      }
      guard let count = value(entries), let dropped = value(drop), let failed = value(insertFailed),
        let early = value(earlyDrop)
      else { return nil }
      // The same on each line; the others are each processor's own.
      self.entries = count
      self.drop &+= dropped
      self.insertFailed &+= failed
      self.earlyDrop &+= early
    }
  }

  /// Reads those of the calling thread's network namespace. Nil when the kernel does not track connections here, or keeps no
  /// statistics.
  public static func read() -> ConntrackStatistics? {
    guard let text = file("/proc/thread-self/net/stat/nf_conntrack"),
      var statistics = ConntrackStatistics(text)
    else { return nil }
    let limit = file("/proc/sys/net/netfilter/nf_conntrack_max") ?? []
    statistics.limit =
      UInt32(String(decoding: limit.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)) ?? 0
    return statistics
  }

  private static func file(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16_384)
    while bytes.count < bytesMax {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    return bytes
  }
}

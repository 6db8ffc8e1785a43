// Time zones by name, from the machine's zone files.

import Diagnostics
import Glibc
import Synchronization

/// Finds zones and remembers them. Thread-safe.
final class TimeZones: Sendable {
  /// Zones remembered; there are about 600 names.
  static let zonesMax = 700
  static let fileBytesMax = 256 << 10
  static let folders = [
    "/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo",
  ]

  private let folders: [String]
  private let known = Mutex<[String: TimeZoneRules]>([:])

  init(folders: [String] = TimeZones.folders) { self.folders = folders }

  /// The zone of a name such as `Europe/Paris`; nil when this machine knows none.
  func zone(_ name: String) -> TimeZoneRules? {
    if name == "UTC" || name == "Etc/UTC" { return .utc }
    guard Self.isName(name) else { return nil }
    if let zone = known.withLock({ $0[name] }) { return zone }
    for folder in folders {
      guard let bytes = Self.read("\(folder)/\(name)"), let zone = TimeZoneRules(tzif: bytes) else {
        continue
      }
      known.withLock { known in
        if known.count >= Self.zonesMax { known = [:] }
        known[name] = zone
      }
      return zone
    }
    return nil
  }

  /// A name leads to no file outside the folder.
  static func isName(_ name: String) -> Bool {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    return name.utf8.count <= 128
      && parts.allSatisfy { part in
        guard let first = part.utf8.first, (first | 0x20) >= 0x61, (first | 0x20) <= 0x7A else {
          return false
        }
        return part.utf8.allSatisfy {
          ($0 | 0x20) >= 0x61 && ($0 | 0x20) <= 0x7A || $0 >= 48 && $0 <= 57 || [43, 45, 95].contains($0)
        }
      }
  }

  private static func read(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: fileBytesMax)
    var count = 0
    while count < bytes.count {
      let part = bytes.withUnsafeMutableBytes { buffer in
        Glibc.read(descriptor, buffer.baseAddress.map { $0 + count }, buffer.count - count)
      }
      if part < 0, errno == EINTR { continue }
      guard part >= 0 else { return nil }
      if part == 0 { return Array(bytes[..<count]) }
      count += part
    }
    return nil
  }
}

// Kernel settings under /proc/sys. Those of `net/` belong to the calling thread's network namespace.
import Glibc

/// Reads and writes kernel settings by their path: `net/ipv4/ip_forward`.
public enum Sysctl {
  /// `sysctl -w NAME=VALUE`. Writes only when the value differs.
  /// - Parameter namespace: path of the network namespace to do it in; nil for the calling thread's.
  public static func write(_ name: String, _ value: String, inNamespace namespace: String? = nil) throws {
    if let namespace {
      return try runInNamespace(namespace) { try write(name, value) }
    }
    if (try? read(name)) != value { try set(name, value) }
  }

  /// Makes a number that is less `value`; one that is more stays.
  /// - Returns: what it was; nil when nothing was written.
  @discardableResult
  public static func raise(_ name: String, to value: Int) throws -> Int? {
    guard let now = Int(try read(name)), now < value else { return nil }
    try set(name, "\(value)")
    return now
  }

  /// Writes without asking first what it is: for settings of something new, which have their defaults.
  public static func set(_ name: String, _ value: String) throws(NetlinkError) {
    let file = open("/proc/sys/\(name)", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { throw NetlinkError(errno: errno, command: "sysctl -w \(name)=\(value)") }
    defer { close(file) }
    let text = Array((value + "\n").utf8)
    guard Glibc.write(file, text, text.count) == text.count else {
      throw NetlinkError(errno: errno, command: "sysctl -w \(name)=\(value)")
    }
  }

  /// `sysctl -n NAME`, without the closing line end.
  public static func read(_ name: String, inNamespace namespace: String? = nil) throws -> String {
    if let namespace {
      return try runInNamespace(namespace) { try read(name) }
    }
    let file = open("/proc/sys/\(name)", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw NetlinkError(errno: errno, command: "sysctl -n \(name)") }
    defer { close(file) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = Glibc.read(file, &buffer, buffer.count)
    guard count >= 0 else { throw NetlinkError(errno: errno, command: "sysctl -n \(name)") }
    var text = buffer[0..<count]
    while text.last == UInt8(ascii: "\n") { text.removeLast() }
    return String(decoding: text, as: UTF8.self)
  }
}

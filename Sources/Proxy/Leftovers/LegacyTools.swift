// Runs the legacy iptables tools: the only way to x_tables rules, which netlink does not show.

import Addresses
import CLinux
import Glibc

/// `iptables-legacy-save` and `iptables-legacy-restore` of one family, in the calling thread's network namespace.
enum LegacyTools {
  static let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"]
  /// As much as a cluster of 100,000 rules writes.
  static let outputBytesMax = 64 << 20

  struct Failure: Error {
    var text: String
  }

  /// Whether the kernel has legacy tables in this namespace. Asking the tool itself would make them.
  static func hasTables(_ family: IPFamily) -> Bool {
    let path = "/proc/thread-self/net/\(family == .v4 ? "ip_tables_names" : "ip6_tables_names")"
    return (read(path, bytesMax: 4096) ?? "").contains { $0.isLetter }
  }

  static func find(_ family: IPFamily, _ word: String) -> String? {
    let name = (family == .v4 ? "iptables" : "ip6tables") + "-legacy-" + word
    return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  static func save(_ family: IPFamily) throws(Failure) -> [SavedTable] {
    guard let tool = find(family, "save") else {
      throw Failure(text: "iptables-legacy-save is not installed")
    }
    return SavedTable.parse(try run(tool, []))
  }

  /// Runs `iptables-legacy-restore --noflush` with this text.
  static func restore(_ family: IPFamily, _ text: String) throws(Failure) {
    guard let tool = find(family, "restore") else {
      throw Failure(text: "iptables-legacy-restore is not installed")
    }
    let path = try temporaryFile(text)
    defer { unlink(path) }
    _ = try run(tool, ["--noflush", "--wait=5", path])
  }

  /// Runs a program to its end and returns what it wrote, output and errors together.
  private static func run(_ path: String, _ arguments: [String]) throws(Failure) -> String {
    let output = try temporaryFile("")
    defer { unlink(output) }
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
    var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil]
    defer { for word in words + environment { free(word) } }
    let process = weft_spawn(path, &words, &environment, output)
    guard process > 0 else { throw Failure(text: "\(path): \(String(cString: strerror(-process)))") }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    let text = read(output, bytesMax: outputBytesMax) ?? ""
    guard status == 0 else {
      throw Failure(
        text: "\(path): \(text.split(separator: "\n").first ?? "ended with status \(status >> 8)")")
    }
    return text
  }

  private static func temporaryFile(_ text: String) throws(Failure) -> String {
    var template = Array("/tmp/weft-iptables-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else {
      throw Failure(text: "no temporary file: \(String(cString: strerror(errno)))")
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    defer { close(descriptor) }
    let path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { throw Failure(text: "\(path): \(String(cString: strerror(errno)))") }
      bytes = bytes.dropFirst(count)
    }
    return path
  }

  private static func read(_ path: String, bytesMax: Int) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while bytes.count < bytesMax {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

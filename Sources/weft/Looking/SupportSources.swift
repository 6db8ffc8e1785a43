// What a support archive asks of this machine: programs and pages, each with a time limit.

import Addresses
import CLinux
import Glibc

/// Runs a program for what it prints.
enum ProgramOutput {
  enum Failure: Error {
    /// It is not installed.
    case missing
    case failed(String)
  }
  private static let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]

  /// Output and errors together, at most `bytesMax`. Exit code 1 of our own commands is an answer, not a failure. A program that
  /// takes longer than `seconds` is killed.
  static func read(_ words: [String], seconds: Int, bytesMax: Int) async -> Result<String, Failure> {
    let candidates = words[0].hasPrefix("/") ? [words[0]] : folders.map { "\($0)/\(words[0])" }
    guard let path = candidates.first(where: { (path: String) in access(path, X_OK) == 0 }) else {
      return .failure(.missing)
    }
    var template = Array("/tmp/weft-support-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { return .failure(.failed("no temporary file")) }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    let output = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      close(descriptor)
      unlink(output)
    }
    let process: pid_t = spawn(path, words, output)
    guard process > 0 else { return .failure(.failed(String(cString: strerror(-process)))) }
    let deadline = ContinuousClock.now + .seconds(seconds)
    var status: Int32 = 0
    while waitpid(process, &status, WNOHANG) == 0 {
      if ContinuousClock.now > deadline {
        kill(process, SIGKILL)
        waitpid(process, &status, 0)
        return .failure(.failed("killed after \(seconds) s"))
      }
      try? await Task.sleep(for: .milliseconds(5))
    }
    let text = content(of: descriptor, bytesMax: bytesMax)
    let isFinding = words[0] == Programs.own && status == 1 << 8
    if status == 0 || isFinding { return .success(text) }
    return .failure(
      .failed(text.split(separator: "\n").first.map(String.init) ?? "ended with status \(status >> 8)"))
  }

  private static func spawn(_ path: String, _ words: [String], _ output: String) -> pid_t {
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=\(folders.joined(separator: ":"))"), nil]
    defer { for word in arguments + environment { free(word) } }
    return weft_spawn(path, &arguments, &environment, output)
  }

  private static func content(of descriptor: Int32, bytesMax: Int) -> String {
    var bytes = [UInt8]()
    var part = [UInt8](repeating: 0, count: 64 << 10)
    while bytes.count < bytesMax {
      let count = pread(descriptor, &part, part.count, off_t(bytes.count))
      if count <= 0 { break }
      bytes += part.prefix(count)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Reads a page that a part of this node serves without credentials.
enum LocalPage {
  private static let bytesMax = 16 << 20

  /// The body of 127.0.0.1:PORT/PATH; nil when nobody answers within two seconds, or with anything but 200.
  static func read(port: Int, path: String) -> String? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var limit = timeval(tv_sec: 2, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(truncatingIfNeeded: port).bigEndian)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let isConnected = withUnsafeBytes(of: &address) { bytes in
      bytes.withMemoryRebound(to: sockaddr.self) {
        connect(descriptor, $0.baseAddress, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    let request = Array("GET \(path) HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".utf8)
    guard isConnected, send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count
    else { return nil }
    var answer = [UInt8]()
    var part = [UInt8](repeating: 0, count: 64 << 10)
    while answer.count < bytesMax {
      let count = recv(descriptor, &part, part.count, 0)
      if count <= 0 { break }
      answer += part.prefix(count)
    }
    let text = String(decoding: answer, as: UTF8.self)
    guard text.hasPrefix("HTTP/1.0 200") || text.hasPrefix("HTTP/1.1 200"),
      let end = answer.indices.first(where: { answer[$0...].starts(with: Array("\r\n\r\n".utf8)) })
    else { return nil }
    return String(decoding: answer[(end + 4)...], as: UTF8.self)
  }
}

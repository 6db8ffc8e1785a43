// Programs that tests start: run to their end, or kept until this process ends, however it ends.

import CLinux
import Glibc

/// A program that runs beside the test. A shell between us and it reads a pipe of ours: when that closes, because we closed
/// it or died, it kills the program.
public final class Program: @unchecked Sendable {
  private let shell: pid_t
  private var pipeEnd: Int32
  public let pid: pid_t

  public init(
    _ path: String, _ arguments: [String], output: String = "/dev/null", environment: [String] = []
  ) throws {
    var input: [Int32] = [0, 0]
    var answer: [Int32] = [0, 0]
    guard pipe(&input) == 0, pipe(&answer) == 0 else { throw Failed(text: "pipe: errno \(errno)") }
    for end in input + answer { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let script =
      "\"$@\" </dev/null >\"$OUTPUT\" 2>&1 & p=$!; echo $p; exec >/dev/null; read x; kill -9 $p 2>/dev/null; wait $p"
    let nowhere = open("/dev/null", O_RDWR | O_CLOEXEC)
    defer { close(nowhere) }
    shell = try Self.spawn(
      "/bin/sh", ["-c", script, "sh", path] + arguments, streams: [input[0], answer[1], nowhere],
      environment: ["HOME=/tmp", "OUTPUT=\(output)"] + environment)
    close(input[0])
    close(answer[1])
    pipeEnd = input[1]
    var text = [UInt8](repeating: 0, count: 16)
    let count = read(answer[0], &text, 16)
    close(answer[0])
    guard let found = pid_t(String(decoding: text.prefix(max(0, count)).prefix { $0 >= 48 }, as: UTF8.self))
    else {
      throw Failed(text: "\(path) was not started")
    }
    pid = found
  }

  /// SIGKILL, and waits until it is gone.
  public func stop() {
    if pipeEnd < 0 { return }
    close(pipeEnd)
    pipeEnd = -1
    var status: Int32 = 0
    while waitpid(shell, &status, 0) < 0, errno == EINTR {}
  }

  /// Sends a signal to the program itself; nothing once it was stopped. After SIGSTOP every thread stands: a thread that waits for
  /// the disk takes the signal late, and until then the others go on.
  public func signal(_ number: Int32) {
    guard pipeEnd >= 0 else { return }
    kill(pid, number)
    guard number == SIGSTOP else { return }
    for _ in 0..<10_000 {
      if stands { return }
      usleep(1000)
    }
  }

  /// Whether no thread of it runs or will run (proc(5): state T).
  private var stands: Bool {
    guard let folder = opendir("/proc/\(pid)/task") else { return true }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard name.first != ".", let line = try? Self.contents(of: "/proc/\(pid)/task/\(name)/stat"),
        let end = line.lastIndex(of: ")")
      else { continue }
      // PID (NAME) STATE
      guard line[end...].dropFirst(2).first == "T" else { return false }
    }
    return true
  }

  deinit { stop() }

  public struct Result: Sendable {
    public var status: Int32
    public var output: String
  }

  /// Runs a program to its end, at most `limit` seconds. Output and errors go together.
  @discardableResult
  public static func run(_ path: String, _ arguments: [String], limit: Int = 60, environment: [String] = [])
    throws
    -> Result
  {
    var template = Array("/tmp/weft-run-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw Failed(text: "mkstemp: errno \(errno)") }
    let file = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      close(descriptor)
      unlink(file)
    }
    let nowhere = open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { close(nowhere) }
    let pid = try spawn(
      "/usr/bin/timeout", ["-s", "KILL", String(limit), path] + arguments,
      streams: [nowhere, descriptor, descriptor], environment: ["HOME=/tmp"] + environment)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return Result(
      status: status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f), output: try contents(of: file))
  }

  public static func contents(of path: String) throws -> String {
    String(decoding: try bytes(of: path), as: UTF8.self)
  }

  public static func bytes(of path: String) throws -> [UInt8] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Failed(text: "\(path): errno \(errno)") }
    defer { close(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(file, &chunk, chunk.count)
      if count <= 0 { return bytes }
      bytes += chunk[..<count]
    }
  }

  /// Starts a program that the caller waits for, with `streams` as its standard input, output and error and nothing else of ours: a
  /// socket of a server that the test stops would stay open in it, and a signal that a thread of tests blocks would never come.
  public static func spawn(
    _ path: String, _ arguments: [String], streams: [Int32], environment: [String]
  ) throws -> pid_t {
    var argv: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] =
      (["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] + environment).map { strdup($0) } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    let pid = weft_spawn_streams(path, &argv, &envp, streams)
    guard pid > 0 else { throw Failed(text: "\(path): errno \(-pid)") }
    return pid
  }
}

/// Why a helper could not do its part.
public struct Failed: Error, CustomStringConvertible {
  public var description: String
  public init(text: String) { description = text }
}

/// A folder of its own under /tmp for `body`, gone afterwards.
public func withScratch<T>(_ body: (String) async throws -> T) async throws -> T {
  let folder = try ScratchFolder.make("store")
  defer { ScratchFolder.remove(folder) }
  return try await body(folder)
}

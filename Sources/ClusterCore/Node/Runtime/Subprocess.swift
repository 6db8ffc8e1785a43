// Starting programs: in a session of their own, so that Ctrl-C at our terminal is ours alone.

import CLinux
import Diagnostics
import Glibc

/// Programs outside this process.
enum Subprocess {
  /// Starts a program with its output written to a file; returns its process id. The caller waits for it.
  static func spawn(_ arguments: [String], outputPath: String, environment: [String: String] = [:])
    throws(WeftError) -> pid_t
  {
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] =
      environmentList(adding: environment).map { strdup($0) } + [nil]
    defer { for word in words + variables { free(word) } }
    let pid = weft_spawn(arguments[0], &words, &variables, outputPath)
    guard pid > 0 else {
      errno = -pid
      throw Files.failure(arguments[0], "start the program")
    }
    return pid
  }

  /// Runs a program to its end, at most `seconds`. Returns its exit code (128 + signal when killed) and what it wrote.
  static func run(_ arguments: [String], environment: [String: String] = [:], seconds: Int = 60) async throws
    -> (code: Int32, output: String)
  {
    let path = "/tmp/weft-\(getpid())-\(UInt64.random(in: 0 ... .max)).out"
    defer { unlink(path) }
    let pid = try spawn(arguments, outputPath: path, environment: environment)
    let deadline = ContinuousClock.now + .seconds(seconds)
    while true {
      if let code = reap(pid) { return (code, Files.readText(path, bytesMax: 64 << 10) ?? "") }
      if ContinuousClock.now > deadline {
        kill(pid, SIGKILL)
        while reap(pid) == nil { try? await Task.sleep(for: .milliseconds(5)) }
        return (124, "killed after \(seconds) s")
      }
      try? await Task.sleep(for: .milliseconds(5))
    }
  }

  /// The exit code of a child that ended; nil while it runs. For a process that is no child: nil while it lives.
  static func reap(_ pid: pid_t) -> Int32? {
    var status: Int32 = 0
    let result = waitpid(pid, &status, WNOHANG)
    if result == pid { return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f) }
    if result < 0, errno == ECHILD { return kill(pid, 0) == 0 ? nil : 0 }
    return nil
  }

  /// The words a process was started with.
  static func commandLine(_ pid: pid_t) -> [String] {
    guard let bytes = Files.read("/proc/\(pid)/cmdline", bytesMax: 64 << 10) else { return [] }
    return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Processes whose command line contains all of `words`.
  static func find(words: [String]) -> [pid_t] {
    Files.list("/proc").compactMap { pid_t($0) }.filter { pid in
      let line = commandLine(pid)
      return words.allSatisfy(line.contains)
    }
  }

  private static func environmentList(adding extra: [String: String]) -> [String] {
    var out = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"] {
      if let value = getenv(name) { out.append("\(name)=\(String(cString: value))") }
    }
    for (name, value) in extra.sorted(by: { $0.key < $1.key }) { out.append("\(name)=\(value)") }
    return out
  }
}

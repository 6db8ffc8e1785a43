// Runs programs as a user would: with a limit on time, and with what they printed.
import Foundation

/// What a program printed and how it ended.
struct Output: CustomStringConvertible {
  var command: String
  var status: Int32
  var standardOutput: String
  var standardError: String
  var isTimedOut = false
  var lines: [String] { standardOutput.split(separator: "\n").map(String.init) }
  var trimmed: String { standardOutput.trimmingCharacters(in: .whitespacesAndNewlines) }
  var description: String {
    "\(command)\n  status \(status)\(isTimedOut ? " (timed out)" : "")\n  out: \(standardOutput)\n  err: \(standardError)"
  }
}

struct CommandFailed: Error, CustomStringConvertible {
  var output: Output
  var description: String { output.description }
}

/// Runs a program to its end, at most `seconds`; then it is killed. Output goes through files, so that a child which
/// inherits them cannot keep us waiting. Spawned directly: Foundation's `Process` notices an end a second late.
@discardableResult
func run(_ arguments: [String], seconds: Double = 60, environment: [String: String] = [:]) -> Output {
  var output = Output(
    command: arguments.joined(separator: " "), status: -1, standardOutput: "", standardError: "")
  let base = "/tmp/weft-run-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
  let paths = (out: base + ".out", err: base + ".err")
  defer {
    unlink(paths.out)
    unlink(paths.err)
  }
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  posix_spawn_file_actions_addopen(&actions, 1, paths.out, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  posix_spawn_file_actions_addopen(&actions, 2, paths.err, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  var argv: [UnsafeMutablePointer<CChar>?] = (["/usr/bin/env"] + arguments).map { strdup($0) } + [nil]
  let merged = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  var envp: [UnsafeMutablePointer<CChar>?] = merged.map { strdup("\($0.key)=\($0.value)") } + [nil]
  defer { for pointer in argv + envp { free(pointer) } }
  // Threads of a test block signals, and a child would inherit that: nobody could end what it starts.
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var none = sigset_t()
  sigemptyset(&none)
  posix_spawnattr_setsigmask(&attributes, &none)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
  var pid: pid_t = 0
  let spawned = posix_spawn(&pid, "/usr/bin/env", &actions, &attributes, &argv, &envp)
  guard spawned == 0 else {
    output.standardError = String(cString: strerror(spawned))
    return output
  }
  let deadline = Date(timeIntervalSinceNow: seconds)
  var status: Int32 = 0
  while waitpid(pid, &status, WNOHANG) == 0 {
    if Date() > deadline {
      output.isTimedOut = true
      kill(pid, SIGKILL)
      waitpid(pid, &status, 0)
      break
    }
    usleep(1000)
  }
  // As a shell says it: the exit code, or 128 and the signal.
  output.status = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
  output.standardOutput = (try? String(contentsOfFile: paths.out, encoding: .utf8)) ?? ""
  output.standardError = (try? String(contentsOfFile: paths.err, encoding: .utf8)) ?? ""
  return output
}

/// Asks again until `condition` holds, at most `seconds`. Returns how long it took, or nil.
func eventually(within seconds: Double, every interval: Double = 0.05, _ condition: () throws -> Bool)
  rethrows -> Double?
{
  let start = Date()
  while true {
    if try condition() { return Date().timeIntervalSince(start) }
    if Date().timeIntervalSince(start) > seconds { return nil }
    usleep(UInt32(interval * 1_000_000))
  }
}

/// Asks again until it holds, at most a minute.
func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
  let start = ContinuousClock.now
  while ContinuousClock.now - start < .seconds(60) {
    if try await condition() { return true }
    try await Task.sleep(for: .milliseconds(10))
  }
  return try await condition()
}

/// The processes that `parent` has started: any of its threads may have.
func children(of parent: Int32) -> [Int32] {
  let threads = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(parent)/task")) ?? []
  return threads.flatMap { thread in
    let text = try? String(contentsOfFile: "/proc/\(parent)/task/\(thread)/children", encoding: .utf8)
    return (text ?? "").split(separator: " ").compactMap { Int32($0) }
  }
}

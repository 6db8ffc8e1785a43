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
/// inherits them cannot keep us waiting.
@discardableResult
func run(_ arguments: [String], seconds: Double = 20, environment: [String: String] = [:]) -> Output {
  let folder = FileManager.default.temporaryDirectory.appending(path: "weft-run-\(UUID().uuidString)")
  try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let outURL = folder.appending(path: "out")
  let errURL = folder.appending(path: "err")
  for url in [outURL, errURL] { _ = FileManager.default.createFile(atPath: url.path(), contents: nil) }
  var output = Output(
    command: arguments.joined(separator: " "), status: -1, standardOutput: "", standardError: "")
  let process = Process()
  process.executableURL = URL(filePath: "/usr/bin/env")
  process.arguments = arguments
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  process.standardInput = FileHandle.nullDevice
  process.standardOutput = try? FileHandle(forWritingTo: outURL)
  process.standardError = try? FileHandle(forWritingTo: errURL)
  do {
    try process.run()
  } catch {
    output.standardError = "\(error)"
    return output
  }
  let deadline = Date(timeIntervalSinceNow: seconds)
  while process.isRunning, Date() < deadline { usleep(2000) }
  if process.isRunning {
    output.isTimedOut = true
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }
  output.status = process.terminationStatus
  output.standardOutput = (try? String(contentsOf: outURL, encoding: .utf8)) ?? ""
  output.standardError = (try? String(contentsOf: errURL, encoding: .utf8)) ?? ""
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

// Programs that are asked something: bytes go in, bytes come out, and none of them touch a disk.

import CLinux
import Diagnostics
import Glibc

extension Subprocess {
  /// How a program that was asked ended.
  struct Answer: Sendable, Hashable {
    /// 128 + signal when it was killed.
    var code: Int32
    var output: [UInt8]
    /// The end of its standard error, `errorBytesMax` at most.
    var errors: String
  }

  /// Why there is no answer.
  enum AskFailure: Error, Hashable {
    case notStarted(String)
    case tookTooLong(seconds: Int)
    case saidTooMuch(bytes: Int)
  }

  private static let errorBytesMax = 4 << 10

  /// Runs a program with `input` as its standard input, at most `seconds`, and with at most `bytesMax` of output: it is killed
  /// above either. It has this process' environment, with `environment` before it. What it says is kept in memory: it may be
  /// somebody's password.
  static func ask(
    _ arguments: [String], environment: [String: String], input: [UInt8], seconds: Int, bytesMax: Int
  ) async throws(AskFailure) -> Answer {
    let streams = ["in", "out", "err"].map { weft_memory_file("weft-\($0)") }
    defer { for stream in streams where stream >= 0 { close(stream) } }
    guard streams.allSatisfy({ $0 >= 0 }), writeAll(streams[0], input), lseek(streams[0], 0, SEEK_SET) == 0
    else { throw .notStarted(String(cString: strerror(errno))) }
    let pid = start(arguments, environment, streams)
    guard pid > 0 else { throw .notStarted(String(cString: strerror(-pid))) }
    let deadline = ContinuousClock.now + .seconds(seconds)
    var failure: AskFailure?
    while true {
      if let code = reap(pid) {
        if let failure { throw failure }
        return Answer(
          code: code, output: contents(streams[1], last: bytesMax),
          errors: String(decoding: contents(streams[2], last: errorBytesMax), as: UTF8.self))
      }
      if failure == nil {
        if ContinuousClock.now > deadline { failure = .tookTooLong(seconds: seconds) }
        if size(streams[1]) > bytesMax || size(streams[2]) > bytesMax {
          failure = .saidTooMuch(bytes: bytesMax)
        }
        // It leads a group of its own, and takes along what it started.
        if failure != nil { kill(-pid, SIGKILL) }
      }
      try? await Task.sleep(for: .milliseconds(2))
    }
  }

  private static func start(
    _ arguments: [String], _ environment: [String: String], _ streams: [Int32]
  ) -> pid_t {
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] =
      inherited(adding: environment).map { strdup($0) } + [nil]
    defer { for word in words + variables { free(word) } }
    return weft_spawn_streams(arguments[0], &words, &variables, streams)
  }

  private static func inherited(adding extra: [String: String]) -> [String] {
    var variables: [String] = []
    var next = environ
    while let variable = next.pointee {
      let text = String(cString: variable)
      if let name = text.split(separator: "=", maxSplits: 1).first, extra[String(name)] == nil {
        variables.append(text)
      }
      next += 1
    }
    return variables + extra.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
  }

  private static func size(_ descriptor: Int32) -> Int {
    Int(clamping: Files.info("/proc/self/fd/\(descriptor)", followingLinks: true)?.size ?? 0)
  }

  /// The last bytes of a file in memory. Its position is the program's, and is left alone.
  private static func contents(_ descriptor: Int32, last count: Int) -> [UInt8] {
    let total = size(descriptor)
    let from = max(total - count, 0)
    return [UInt8](unsafeUninitializedCapacity: total - from) { buffer, filled in
      filled = max(pread(descriptor, buffer.baseAddress, buffer.count, off_t(from)), 0)
    }
  }

  private static func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { buffer in
      var written = 0
      while written < buffer.count, let base = buffer.baseAddress {
        let count = Glibc.write(descriptor, base + written, buffer.count - written)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        written += count
      }
      return true
    }
  }
}

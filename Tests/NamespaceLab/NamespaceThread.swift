// Runs a test's body on a thread of its own in a fresh network namespace, which ends with the thread: nothing
// to clean up.

import CLinux
import Glibc

/// Runs `body` in a new network namespace with loopback up. Child processes started by `run` are in it too.
public func inFreshNamespace<Result>(_ body: @escaping () throws -> Result) throws -> Result {
  let box = ThreadBody()
  nonisolated(unsafe) var outcome: Swift.Result<Result, any Error>?
  box.body = {
    outcome = Swift.Result {
      let status = weft_unshare(CLONE_NEWNET)
      guard status == 0 else { throw NamespaceError(text: "unshare: \(String(cString: strerror(-status)))") }
      _ = run("ip link set lo up")
      return try body()
    }
  }
  var thread = pthread_t()
  let status = pthread_create(
    &thread, nil,
    { raw in
      Unmanaged<ThreadBody>.fromOpaque(raw!).takeRetainedValue().body()
      return nil
    }, Unmanaged.passRetained(box).toOpaque())
  guard status == 0 else { throw NamespaceError(text: "pthread_create: \(status)") }
  pthread_join(thread, nil)
  guard let result = outcome else { throw NamespaceError(text: "the thread ended early") }
  return try result.get()
}

private final class ThreadBody {
  var body: () -> Void = {}
}

/// Why a namespace could not be made, in words.
public struct NamespaceError: Error {
  public var text: String
  public init(text: String) { self.text = text }
}

/// Runs a shell command and returns its exit status and output (both streams).
@discardableResult
public func run(_ command: String) -> (status: Int32, output: String) {
  guard let pipe = popen(command + " 2>&1", "r") else { return (-1, "popen failed") }
  var output: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = fread(&chunk, 1, chunk.count, pipe)
    if count == 0 { break }
    output += chunk[..<count]
  }
  let status = pclose(pipe)
  return (status >> 8 & 0xff, String(decoding: output, as: UTF8.self))
}

/// Feeds text to a shell command's standard input through a temporary file.
public func run(_ command: String, input: String) -> (status: Int32, output: String) {
  var template = Array("/tmp/weft-test-XXXXXX".utf8CString)
  let descriptor = mkstemp(&template)
  let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  defer { unlink(path) }
  var bytes = Array(input.utf8)[...]
  while !bytes.isEmpty {
    let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if count <= 0 { break }
    bytes = bytes.dropFirst(count)
  }
  close(descriptor)
  return run("\(command) < \(path)")
}

/// Polls until `condition` holds, at most half a minute.
public func becomesTrue(_ condition: () -> Bool) -> Bool {
  for _ in 0..<600 {
    if condition() { return true }
    usleep(50_000)
  }
  return false
}

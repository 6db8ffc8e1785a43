// libFuzzer's loop around something that takes bytes.

import Glibc

/// Takes bytes from outside. Whatever they are, `take` returns.
public protocol InputTaker {
  func take(_ bytes: UnsafeRawBufferPointer)
}

/// The C library's arguments of a program.
public typealias Arguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

/// libFuzzer's own loop (FuzzerInterface.h).
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<Int32>, _ arguments: UnsafeMutablePointer<Arguments>,
  _ take: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

nonisolated(unsafe) private var taker: (any InputTaker)?

/// Runs until libFuzzer has had as many inputs as its arguments say; its exit code. Once in a program.
public func runFuzzer(_ count: Int32, _ arguments: Arguments, _ takes: any InputTaker) -> Int32 {
  var count = count
  var arguments = arguments
  signal(SIGPIPE, SIG_IGN)
  taker = takes
  return runDriver(&count, &arguments) { bytes, count in
    taker?.take(UnsafeRawBufferPointer(start: bytes, count: count))
    return 0
  }
}

/// What `FUZZ` in the environment says: which of a program's takers it is.
public var wanted: String { getenv("FUZZ").map { String(cString: $0) } ?? "" }

/// Ends the run, with what was seen, unless `isSo`.
public func check(_ isSo: Bool, _ what: @autoclosure () -> String) {
  guard !isSo else { return }
  let line = "fuzz: \(what())\n"
  _ = line.withCString { write(2, $0, strlen($0)) }
  abort()
}

// Who asked for what and what became of it: a line a request. Workers append to buffers of their own and never wait; a thread
// writes what has gathered.
//
//   worker --append--> [AccessLogBuffer] --swap, 20 times a second--> writer --> file or standard output
//
// A buffer that is full drops its worker's lines and counts them: the log never holds up a request.

import CLinux
import Diagnostics
import Glibc
import Logging
import Reactor
import Synchronization

/// How a line of the access log looks.
public enum AccessLogFormat: String, Sendable, CaseIterable {
  /// One JSON object a line, everything in it.
  case json
  /// nginx's and Apache's combined format.
  case combined
  /// The format that ingress-nginx has by default: combined, then request length and time, backend, endpoint and its times.
  case upstreaminfo
}

/// Where the access log goes, and how it looks.
public struct AccessLogConfiguration: Sendable, Hashable {
  /// A file, which is made and appended to; `-` for standard output.
  public var path: String
  public var format: AccessLogFormat

  public init(path: String, format: AccessLogFormat = .upstreaminfo) {
    self.path = path
    self.format = format
  }
}

/// One worker's lines on their way. Appended to by its worker, emptied by the writer.
final class AccessLogBuffer: Sendable {
  /// Bytes that wait for the writer at most.
  static let bytesMax = 1 << 20

  private struct State {
    var lines: [UInt8] = []
    var spare: [UInt8] = []
  }
  private let state = Mutex(State())
  private let wakeUp: Int32
  private let dropped: Counter

  init(wakeUp: Int32, dropped: Counter) {
    self.wakeUp = wakeUp
    self.dropped = dropped
    state.withLock {
      $0.lines.reserveCapacity(Self.bytesMax)
      $0.spare.reserveCapacity(Self.bytesMax)
    }
  }

  /// Takes one line, or drops it.
  func append(_ line: UnsafeRawBufferPointer) {
    let (isFirst, isTaken) = state.withLock { state -> (Bool, Bool) in
      let isFirst = state.lines.isEmpty
      guard state.lines.count + line.count <= Self.bytesMax else { return (false, false) }
      state.lines.append(contentsOf: line)
      return (isFirst, true)
    }
    if !isTaken { dropped.increment() }
    guard isFirst else { return }
    var one: UInt64 = 1
    _ = Glibc.write(wakeUp, &one, 8)
  }

  /// Runs `body` with everything that has gathered.
  fileprivate func empty(_ body: (UnsafeRawBufferPointer) -> Void) {
    // The array leaves the lock with its storage, and comes back empty: nothing is copied or allocated.
    var lines = state.withLock { state in
      var taken: [UInt8] = []
      swap(&taken, &state.lines)
      swap(&state.lines, &state.spare)
      return taken
    }
    if !lines.isEmpty { lines.withUnsafeBytes(body) }
    lines.removeAll(keepingCapacity: true)
    state.withLock { swap(&lines, &$0.spare) }
  }
}

/// The log of one data plane, and the thread that writes it.
final class AccessLog: @unchecked Sendable {
  /// Time in which lines gather before they are written.
  private static let gatherMicroseconds: UInt32 = 50_000

  let format: AccessLogFormat
  private let path: String
  private let wakeUp: Int32
  private let signals: Int32
  private let buffers = Mutex<[AccessLogBuffer]>([])
  private let isStopping = Atomic<Bool>(false)
  private let wantsReopen = Atomic<Bool>(false)
  private let metrics: AccessLogMetrics
  /// Of the writer's thread alone once it runs.
  private var file: Int32
  private var thread = pthread_t()

  /// Opens the file and starts the writer.
  /// - Parameter reopensOnSignal: takes SIGUSR1, which the caller has blocked in every thread.
  /// - Throws: `WeftError` ING0020 when the file cannot be written to.
  init(
    _ configuration: AccessLogConfiguration, reopensOnSignal: Bool = false, metrics: Metrics = .shared
  ) throws(WeftError) {
    format = configuration.format
    path = configuration.path
    self.metrics = AccessLogMetrics(metrics)
    file = Self.open(configuration.path)
    guard file >= 0 else {
      throw WeftError(
        "ING0020", object: "access log \(configuration.path)", cause: String(cString: strerror(errno)),
        next: "name a file in a folder that exists and can be written to, or - for standard output",
        exit: .usage)
    }
    wakeUp = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGUSR1)
    signals = reopensOnSignal ? signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK)) : -1
    let retained = Unmanaged.passRetained(self)
    let result = pthread_create(
      &thread, nil,
      { raw in
        guard let raw else { return nil }
        weft_prepare_thread("access-log")
        Unmanaged<AccessLog>.fromOpaque(raw).takeRetainedValue().run()
        return nil
      }, retained.toOpaque())
    if result != 0 {
      retained.release()
      throw WeftError(
        "ING0020", object: "access log \(configuration.path)", cause: "no thread: \(result)",
        next: "look at limits of threads", exit: .unreachable)
    }
  }

  /// A buffer for one more worker.
  func share() -> AccessLogBuffer {
    let buffer = AccessLogBuffer(wakeUp: wakeUp, dropped: metrics.dropped)
    buffers.withLock { $0.append(buffer) }
    return buffer
  }

  /// Has the file opened anew, after it was renamed: what nginx does on SIGUSR1.
  func reopen() {
    wantsReopen.store(true, ordering: .releasing)
    wake()
  }

  /// Writes what has gathered and ends the thread. Call once.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    wake()
    pthread_join(thread, nil)
    if path != "-" { close(file) }
    close(wakeUp)
    if signals >= 0 { close(signals) }
  }

  private func wake() {
    var one: UInt64 = 1
    _ = Glibc.write(wakeUp, &one, 8)
  }

  private static func open(_ path: String) -> Int32 {
    path == "-" ? STDOUT_FILENO : Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
  }

  private func run() {
    var watched = [
      pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0),
      pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
    ]
    while true {
      _ = poll(&watched, 2, -1)
      var discarded = [UInt8](repeating: 0, count: MemoryLayout<signalfd_siginfo>.size)
      _ = read(wakeUp, &discarded, 8)
      if signals >= 0, read(signals, &discarded, discarded.count) > 0 {
        wantsReopen.store(true, ordering: .releasing)
      }
      let isLast = isStopping.load(ordering: .acquiring)
      if !isLast { usleep(Self.gatherMicroseconds) }
      // What was said until now belongs to the file as it was.
      for buffer in buffers.withLock({ $0 }) { buffer.empty(write) }
      if wantsReopen.exchange(false, ordering: .acquiring) { openAnew() }
      if isLast { return }
    }
  }

  private func openAnew() {
    guard path != "-" else { return }
    let next = Self.open(path)
    guard next >= 0 else {
      metrics.failed.increment()
      Logger(label: "ingress").error(
        "access log cannot be opened anew", metadata: ["file": "\(path)", "errno": "\(errno)"])
      return
    }
    close(file)
    file = next
    metrics.reopened.increment()
  }

  private func write(_ bytes: UnsafeRawBufferPointer) {
    var at = 0
    while at < bytes.count {
      let count = Glibc.write(file, bytes.baseAddress.map { $0 + at }, bytes.count - at)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return metrics.failed.increment() }
      at += count
    }
  }
}

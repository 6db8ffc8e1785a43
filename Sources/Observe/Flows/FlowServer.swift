// Hands flows out over a local socket: a thread for whoever asks, so many at once. Nobody who reads slowly holds up the node: he
// misses flows, and is told how many.

import ClusterObjects
import Diagnostics
import Glibc
import Synchronization

/// Listens from `start` to `stop`.
public final class FlowServer: Sendable {
  /// Who asks beyond these is turned away.
  public static let readersMax = 16
  /// A reader that takes nothing for so long is left.
  static let patienceSeconds = 30
  static let questionMax = 16 << 10
  /// Flows that are read at once for one reader.
  static let pageMax = 1024
  /// How long a follower sleeps when there is nothing new.
  static let pauseMicroseconds: UInt32 = 50_000

  private let path: String
  private let keeper: FlowKeeper
  private let listener = Mutex<Int32>(-1)
  private let readers = Atomic<Int>(0)
  private let isStopping = Atomic<Bool>(false)

  public init(path: String, keeper: FlowKeeper) {
    self.path = path
    self.keeper = keeper
  }

  /// The socket is for root alone. Throws `FLW0004`.
  public func start() throws(WeftError) {
    let descriptor = FlowSocket.listen(path)
    guard descriptor >= 0 else {
      throw WeftError(
        "FLW0004", object: path, cause: "cannot be listened on: \(String(cString: strerror(errno)))",
        next: "see that its folder is there and is root's; choose another with --run-dir")
    }
    listener.withLock { $0 = descriptor }
    OwnThread.start { [weak self] in
      while true {
        let connection = accept(descriptor, nil, nil)
        if connection < 0 {
          if errno == EINTR || errno == ECONNABORTED { continue }
          return
        }
        guard let self else {
          close(connection)
          return
        }
        _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
        serve(connection)
      }
    }
  }

  public func stop() {
    isStopping.store(true, ordering: .releasing)
    let descriptor = listener.withLock { value in
      defer { value = -1 }
      return value
    }
    guard descriptor >= 0 else { return }
    // Wakes the accepting thread, which then sees the end.
    shutdown(descriptor, Int32(SHUT_RDWR))
    close(descriptor)
    unlink(path)
  }

  private func serve(_ connection: Int32) {
    guard readers.add(1, ordering: .relaxed).newValue <= Self.readersMax else {
      readers.subtract(1, ordering: .relaxed)
      _ = FlowSocket.send(connection, ["error": "too many read flows of this node"])
      close(connection)
      return
    }
    let isStarted = OwnThread.start { [self] in
      defer {
        close(connection)
        readers.subtract(1, ordering: .relaxed)
      }
      answer(connection)
    }
    if !isStarted {
      readers.subtract(1, ordering: .relaxed)
      close(connection)
    }
  }

  private func answer(_ connection: Int32) {
    FlowSocket.setPatience(connection, seconds: Self.patienceSeconds)
    var lines = FlowLines(connection, lineMax: Self.questionMax)
    guard let line = lines.next(), let question = (try? JSON(parsing: line)).flatMap(FlowQuestion.init)
    else {
      _ = FlowSocket.send(connection, ["error": "not a question in a line of JSON"])
      return
    }
    let filter: FlowFilter
    do throws(WeftError) {
      filter = try question.filter()
    } catch {
      _ = FlowSocket.send(connection, ["error": JSON(error.description)])
      return
    }
    var next: UInt64 = 0
    let end = keeper.end
    if let limit = question.limit {
      // The newest so many that match: found from behind, a page at a time.
      next = newest(limit, before: end, filter)
    }
    var isFirst = true
    while !isStopping.load(ordering: .acquiring) {
      let page = keeper.read(from: next, limit: Self.pageMax, filter: filter)
      if page.missed > 0, !isFirst, !FlowSocket.send(connection, ["missed": JSON(page.missed)]) { return }
      isFirst = false
      for flow in page.flows where !FlowSocket.send(connection, flow.json) { return }
      let isAtEnd = page.next == next || page.next >= keeper.end
      next = page.next
      guard isAtEnd else { continue }
      if !question.follows { return }
      if FlowSocket.isGone(connection, waitMicroseconds: Self.pauseMicroseconds) { return }
    }
  }

  /// The number from which on `limit` flows match, as of now.
  private func newest(_ limit: Int, before end: UInt64, _ filter: FlowFilter) -> UInt64 {
    var left = max(0, limit)
    var at = end
    while left > 0, at > 0 {
      let from = at > UInt64(Self.pageMax) ? at - UInt64(Self.pageMax) : 0
      let page = keeper.read(from: from, limit: Int(at - from))
      // Older ones are gone.
      if page.flows.isEmpty || page.missed >= at - from { return at }
      for (offset, flow) in page.flows.enumerated().reversed() where filter.matches(flow) {
        left -= 1
        if left == 0 { return from + page.missed + UInt64(offset) }
      }
      if page.missed > 0 { return from + page.missed }
      at = from
    }
    return at
  }
}

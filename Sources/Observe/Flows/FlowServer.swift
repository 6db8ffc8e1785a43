// Hands flows out over a local socket: a thread for whoever asks, so many at once. Nobody who reads slowly holds up the node: he
// misses flows, and is told how many.

import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets

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

  private let server: UnixServer

  public init(path: String, keeper: FlowKeeper) {
    let refusal: JSON = ["error": "too many read flows of this node"]
    server = UnixServer(path: path, connectionsMax: Self.readersMax, refusal: refusal.bytes) {
      Self.answer($1, keeper, $0)
    }
  }

  /// The socket is for root alone. Throws `FLW0004`.
  public func start() throws(WeftError) {
    guard server.start() else {
      throw WeftError(
        "FLW0004", object: server.path,
        cause: "cannot be listened on: \(String(cString: strerror(errno)))",
        next: "see that its folder is there and is root's; choose another with --run-dir")
    }
  }

  public func stop() { server.stop() }

  private static func answer(_ connection: Int32, _ keeper: FlowKeeper, _ server: UnixServer) {
    UnixSocket.setPatience(connection, seconds: patienceSeconds)
    var lines = SocketLines(connection, lineMax: questionMax)
    guard let line = lines.next(), let question = (try? JSON(parsing: line)).flatMap(FlowQuestion.init)
    else {
      send(connection, ["error": "not a question in a line of JSON"])
      return
    }
    let filter: FlowFilter
    do throws(WeftError) {
      filter = try question.filter()
    } catch {
      send(connection, ["error": JSON(error.description)])
      return
    }
    var next: UInt64 = 0
    let end = keeper.end
    if let limit = question.limit {
      // The newest so many that match: found from behind, a page at a time.
      next = keeper.newest(limit, before: end, filter)
    }
    var isFirst = true
    while !server.isStopping {
      let page = keeper.read(from: next, limit: pageMax, filter: filter)
      if page.missed > 0, !isFirst, !send(connection, ["missed": JSON(page.missed)]) { return }
      isFirst = false
      for flow in page.flows where !send(connection, flow.json) { return }
      let isAtEnd = page.next == next || page.next >= keeper.end
      next = page.next
      guard isAtEnd else { continue }
      if !question.follows { return }
      if UnixSocket.isGone(connection, waitMicroseconds: pauseMicroseconds) { return }
    }
  }

  @discardableResult
  private static func send(_ connection: Int32, _ line: JSON) -> Bool {
    UnixSocket.send(connection, line: line.bytes)
  }
}

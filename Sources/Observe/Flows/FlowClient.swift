// The asking end of the local socket, and saved flows: both give lines of JSON.

import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets

/// What comes back on a question.
public enum FlowAnswer: Sendable, Hashable {
  case flow(Flow)
  /// So many were overwritten before they could be sent.
  case missed(UInt64)
}

public enum FlowClient {
  /// Asks the node process at `path` and hands out what it answers until it ends, or `body` returns false.
  /// Throws `FLW0005` when nobody listens there, and `FLW0006` when it refuses.
  public static func ask(
    _ question: FlowQuestion, at path: String, _ body: (FlowAnswer) -> Bool
  ) throws(WeftError) {
    let descriptor = UnixSocket.connect(path)
    guard descriptor >= 0 else {
      let reason = errno
      throw WeftError(
        "FLW0005", object: path, cause: "cannot be asked for flows: \(String(cString: strerror(reason)))",
        next: reason == EACCES || reason == EPERM
          ? "run as root" : "run it where `weft up`, `weft node` or `weft proxy` runs, or give its --run-dir",
        exit: .unreachable)
    }
    defer { close(descriptor) }
    guard UnixSocket.send(descriptor, line: question.json.bytes) else { return }
    var lines = SocketLines(descriptor)
    while let line = lines.next() {
      guard let tree = try? JSON(parsing: line) else { continue }
      if let reason = tree["error"]?.string {
        throw WeftError(
          "FLW0006", object: path, cause: "refuses: \(reason)", next: "see: weft flows --help")
      }
      if let missed = tree["missed"]?.integer {
        if !body(.missed(UInt64(clamping: missed))) { return }
      } else if let flow = Flow(tree), !body(.flow(flow)) {
        return
      }
    }
  }

  /// Reads saved flows from a descriptor, as far as the filter takes them.
  /// - Returns: how many lines were no flow.
  @discardableResult
  public static func read(_ descriptor: Int32, filter: FlowFilter, _ body: (Flow) -> Bool) -> Int {
    var lines = SocketLines(descriptor)
    var others = 0
    while let line = lines.next() {
      if line.allSatisfy({ $0 == 32 || $0 == 13 }) { continue }
      guard let flow = (try? JSON(parsing: line)).flatMap(Flow.init) else {
        others += 1
        continue
      }
      if filter.matches(flow), !body(flow) { break }
    }
    return others
  }
}

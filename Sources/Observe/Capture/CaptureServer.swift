// Captures over a local socket: a thread for whoever asks, so many at once.

import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets

/// Listens from `start` to `stop`, for root alone. Captures run in the network namespace of the thread that called `start`.
public final class CaptureServer: Sendable {
  /// Each takes 64 MiB of the kernel's memory; who asks beyond these is turned away.
  public static let capturesMax = 4
  /// An asker that takes nothing for so long is left.
  static let patienceSeconds = 30
  static let questionMax = 1 << 20
  /// In the run directory.
  public static let socketName = "capture.sock"

  private let server: UnixServer

  public init(path: String, source: CaptureSource) {
    let refusal = WeftError(
      "CAP0006", object: "this node", cause: "runs \(Self.capturesMax) captures already",
      next: "end one of them: pgrep -af 'weft capture'")
    server = UnixServer(
      path: path, connectionsMax: Self.capturesMax, refusal: Self.line(refusal)
    ) {
      Self.answer($1, source, $0)
    }
  }

  /// Throws `CAP0004`.
  public func start() throws(WeftError) {
    guard server.start() else {
      throw WeftError(
        "CAP0004", object: server.path, cause: "cannot be listened on: \(String(cString: strerror(errno)))",
        next: "see that its folder is there and is root's; choose another with --run-dir")
    }
  }

  /// A refusal as it goes to the asking end, without its line's end.
  public static func line(_ refusal: WeftError) -> [UInt8] { JSON.object(refusal.captureLine).bytes }

  /// Ends running captures: their files are whole so far.
  public func stop() { server.stop() }
  /// Captures that run.
  public var running: Int { server.open }

  private static func answer(_ connection: Int32, _ source: CaptureSource, _ server: UnixServer) {
    UnixSocket.setPatience(connection, seconds: patienceSeconds)
    var room: Int32 = 4 << 20
    setsockopt(connection, SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
    var lines = SocketLines(connection, lineMax: questionMax)
    guard let line = lines.next(), let question = (try? JSON(parsing: line)).flatMap(CaptureQuestion.init)
    else {
      refuse(
        connection,
        WeftError("CAP0006", object: "capture", cause: "the question is no line of JSON", next: ""))
      return
    }
    do throws(WeftError) {
      let session = try CaptureSession(question, source: source, connection: connection)
      session.run { server.isStopping }
    } catch {
      refuse(connection, error)
    }
  }

  private static func refuse(_ connection: Int32, _ error: WeftError) {
    let bytes = JSON.object(error.captureLine).bytes
    var head = CaptureFrame.head(CaptureFrame.line, bytes.count)
    _ = withUnsafeBytes(of: &head) { UnixSocket.send(connection, $0) }
    _ = bytes.withUnsafeBytes { UnixSocket.send(connection, $0) }
  }
}

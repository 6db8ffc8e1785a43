// A capture at another node: by the API server's node proxy to the agent there, and from there to its node process. To the asker it looks
// like a connection to a node process of this machine.
//
//   CaptureExchange <──socket pair── RemoteCapture <──lines of base64── API server <── agent <── node process

import CLinux
import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets
import Observe
import Synchronization

/// One node's part. Ends with its connection.
final class RemoteCapture: Sendable {
  /// What may wait for the asker; beyond it the node's ring fills.
  private static let waitingMax: Int32 = 4 << 20
  private static let pause: Duration = .milliseconds(20)

  private let node: String
  private let pages: NodePageClient
  /// Our end of the pair.
  private let descriptor: Int32
  private let id = String(UInt64.random(in: 0...UInt64.max), radix: 16)
  private let problem = Mutex<WeftError?>(nil)

  private init(_ node: String, _ pages: NodePageClient, _ descriptor: Int32) {
    self.node = node
    self.pages = pages
    self.descriptor = descriptor
  }

  /// Begins when the question has come. Throws `CAP0014`.
  static func start(node: String, pages: NodePageClient) throws(WeftError) -> CaptureClient.Source {
    var pair: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &pair) == 0 else {
      throw WeftError(
        "CAP0014", object: "node \(node)",
        cause: "no connection can be made: \(String(cString: strerror(errno)))", next: "look at: ulimit -n")
    }
    var room = waitingMax
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
    let capture = RemoteCapture(node, pages, pair[1])
    var source = CaptureClient.Source(name: "node \(node)", descriptor: pair[0])
    source.failure = { capture.problem.withLock { $0 } }
    Task.detached { await capture.carry() }
    return source
  }

  private func carry() async {
    do {
      let question = try await question()
      let lines = try await pages.lines(
        node, "capture", [("id", id), ("question", Base64.encode(question))])
      let watch = Task { await watchForEnd() }
      do { try await pass(lines) } catch { problem.withLock { $0 = failure(error) } }
      // It looks at the descriptor, too.
      watch.cancel()
      await watch.value
    } catch {
      problem.withLock { $0 = failure(error) }
    }
    close(descriptor)
  }

  private func pass(_ lines: LineStream) async throws {
    while let line = try await lines.next() {
      guard let bytes = Base64.decode(String(decoding: line, as: UTF8.self)), await send(bytes) else {
        return
      }
    }
  }

  /// The line that the exchange sends first. Throws `CAP0016`.
  private func question() async throws -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: NodeHandlers.captureQuestionMax)
    while bytes.count <= NodeHandlers.captureQuestionMax {
      let count = recv(descriptor, &chunk, chunk.count, Int32(MSG_DONTWAIT))
      if count == 0 { throw CancellationError() }
      if count > 0 { bytes += chunk[..<count] }
      if bytes.last == 10 { return Array(bytes.dropLast()) }
      if count < 0 { try await Task.sleep(for: Self.pause) }
    }
    throw WeftError(
      "CAP0016", object: "filter", cause: "is too long for another node",
      next: "shorten it, or run weft capture on node \(node)")
  }

  /// The exchange says that it wants no more by closing its half.
  private func watchForEnd() async {
    var byte: UInt8 = 0
    while !Task.isCancelled {
      if recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT) | Int32(MSG_PEEK)) == 0 {
        _ = try? await pages.read(node, "capture", [("end", id)])
        return
      }
      try? await Task.sleep(for: Self.pause)
    }
  }

  /// False when nobody takes them any more. Waits without holding a thread.
  private func send(_ bytes: [UInt8]) async -> Bool {
    var at = 0
    while at < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(
          descriptor, $0.baseAddress.map { $0 + at }, $0.count - at,
          Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        at += count
      } else if count < 0, errno == EAGAIN || errno == EINTR {
        try? await Task.sleep(for: Self.pause)
      } else {
        return false
      }
    }
    return true
  }

  // MARK: Refusals

  private func failure(_ error: any Error) -> WeftError {
    if let error = error as? WeftError { return error }
    let object = "node \(node)"
    guard let refusal = error as? APIStatusError else {
      return WeftError(
        "CAP0014", object: object, cause: "the connection broke; what was captured is whole",
        next: "kubectl get node \(node); try again", exit: .finding, underlying: error)
    }
    switch refusal.code {
    case 401, 403:
      return WeftError(
        "CAP0015", object: object, cause: "no rights to its packets: \(NodePageClient.reason(refusal))",
        next:
          "kubectl auth can-i get nodes --subresource=proxy; a ClusterRole with get of nodes/proxy allows it",
        underlying: error)
    case 404:
      return WeftError(
        "CAP0014", object: object,
        cause: "does not exist, or its agent carries no captures: \(NodePageClient.reason(refusal))",
        next: "kubectl get node \(node) -o wide", underlying: error)
    default:
      return WeftError(
        "CAP0014", object: object, cause: NodePageClient.reason(refusal),
        next: "kubectl describe node \(node)",
        exit: .unreachable, underlying: error)
    }
  }
}

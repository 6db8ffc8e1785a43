// A capture at another node: by the API server's node proxy to the agent there, and from there to its node process. To the asker it looks
// like a connection to a node process of this machine.
//
//   CaptureExchange <──socket pair── pump <──lines of base64── API server <── agent <── node process

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
  private let node: String
  private let api: RemoteClient
  /// Our end of the pair.
  private let descriptor: Int32
  private let id = String(UInt64.random(in: 0...UInt64.max), radix: 16)
  private let problem = Mutex<WeftError?>(nil)
  private static let pause: Duration = .milliseconds(20)
  private static let questionMax = 48 << 10

  private init(_ node: String, _ api: RemoteClient, _ descriptor: Int32) {
    self.node = node
    self.api = api
    self.descriptor = descriptor
  }

  /// Begins when the question has come.
  static func start(node: String, api: RemoteClient) throws(WeftError) -> CaptureClient.Source {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0
    else {
      throw WeftError(
        "CAP0014", object: "node \(node)",
        cause: "no connection can be made: \(String(cString: strerror(errno)))",
        next: "look at: ulimit -n")
    }
    let capture = RemoteCapture(node, api, pair[1])
    var source = CaptureClient.Source(name: "node \(node)", descriptor: pair[0])
    source.failure = { capture.problem.withLock { $0 } }
    Task.detached { await capture.carry() }
    return source
  }

  private func carry() async {
    do {
      let question = try await question()
      let lines = try await api.lines(
        path, query: [("id", id), ("question", Base64.encode(question))])
      let watch = Task { await watchForEnd() }
      defer { watch.cancel() }
      while let line = try await lines.next() {
        guard let bytes = Base64.decode(String(decoding: line, as: UTF8.self)) else { break }
        guard await send(bytes) else { break }
      }
    } catch {
      problem.withLock { $0 = failure(error) }
    }
    close(descriptor)
  }

  private var path: String { "/api/v1/nodes/\(node)/proxy/weft/capture" }

  private func failure(_ error: any Error) -> WeftError {
    if let error = error as? WeftError { return error }
    guard let refusal = error as? APIStatusError else {
      return WeftError(
        "CAP0014", object: "node \(node)",
        cause: "the connection broke (\(error)); what was captured is whole",
        next: "kubectl get node \(node); try again", exit: .finding, underlying: error)
    }
    switch refusal.code {
    case 401, 403:
      return WeftError(
        "CAP0015", object: "node \(node)", cause: "packets may not be asked for: \(refusal.message)",
        next:
          "kubectl auth can-i get nodes --subresource=proxy; a ClusterRole with get of nodes/proxy allows it",
        underlying: error)
    case 404:
      return WeftError(
        "CAP0014", object: "node \(node)",
        cause: "does not exist, or its agent is not Weft's: \(refusal.message)",
        next: "kubectl get node \(node) -o wide", underlying: error)
    default:
      return WeftError(
        "CAP0014", object: "node \(node)", cause: refusal.message, next: "kubectl describe node \(node)",
        exit: .unreachable, underlying: error)
    }
  }

  /// The line that the exchange sends first.
  private func question() async throws -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = recv(descriptor, &chunk, chunk.count, Int32(MSG_DONTWAIT.rawValue))
      if count == 0 { throw CancellationError() }
      if count > 0 { bytes += chunk[..<count] }
      if let end = bytes.firstIndex(of: 10) {
        guard end <= Self.questionMax else { break }
        return Array(bytes[..<end])
      }
      guard bytes.count <= Self.questionMax else { break }
      if count < 0 { try await Task.sleep(for: Self.pause) }
    }
    throw WeftError(
      "CAP0016", object: "filter", cause: "is too long for another node",
      next: "shorten it, or run it on the node")
  }

  /// The exchange says that it wants no more by closing its half.
  private func watchForEnd() async {
    var byte: UInt8 = 0
    while !Task.isCancelled {
      if recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT.rawValue) | Int32(MSG_PEEK.rawValue)) == 0 {
        _ = try? await api.raw("\(path)?end=\(id)")
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
          Int32(MSG_DONTWAIT.rawValue) | Int32(MSG_NOSIGNAL.rawValue))
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
}

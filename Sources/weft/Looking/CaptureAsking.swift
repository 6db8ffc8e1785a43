// What `weft capture` asks, of this node or of several, and the thread that it is asked on.

import ClusterClient
import ClusterView
import Diagnostics
import Glibc
import KernelSockets
import Observe

struct CaptureAsking: Sendable {
  typealias Part = (question: CaptureQuestion, source: CaptureClient.Source)

  /// Each is a connection and up to 4 MiB that wait.
  static let nodesMax = 64

  var question: CaptureQuestion
  var seconds: Double?
  /// Can be read from once somebody wants the end.
  var stop: Int32
  /// Of the node process here.
  var socket: String

  /// Of this node alone.
  func run(into sink: inout some CaptureSink) async throws -> CaptureSummary {
    try await run([(question, CaptureClient.connect(socket))], into: &sink)
  }

  /// Of every node that a target concerns.
  func run(
    by api: RemoteClient, view: ClusterView, into sink: inout some CaptureSink
  ) async throws -> CaptureSummary {
    let targets = try CaptureTarget.read(question.targets, namespace: question.namespace)
    let nodes = try view.captureNodes(targets).sorted()
    guard nodes.count <= Self.nodesMax else {
      throw WeftError(
        "CAP0001", object: question.targets,
        cause: "is on \(nodes.count) nodes, and \(Self.nodesMax) are asked at once", next: "name pods")
    }
    let own = NodeNote.read()?.nodeName
    let pages = NodePageClient(api)
    var parts: [Part] = []
    for node in nodes {
      var part = question
      part.targets = view.captureTargets(targets, on: node)
      part.isOneOfSeveral = nodes.count > 1
      // Here the way is short, for whoever may take it.
      let near = node == own ? try? CaptureClient.connect(socket) : nil
      parts.append((part, try near ?? RemoteCapture.start(node: node, pages: pages)))
    }
    return try await run(parts, into: &sink)
  }

  /// On a thread of its own: what comes from other nodes is carried by the pool, which may be one thread.
  private func run(_ parts: [Part], into sink: inout some CaptureSink) async throws -> CaptureSummary {
    let (seconds, stop) = (seconds, stop)
    // This task waits for as long as the thread has it.
    nonisolated(unsafe) var lent = sink
    defer { sink = lent }
    return try await withCheckedThrowingContinuation { continuation in
      let isStarted = DetachedThread.start {
        continuation.resume(
          with: Result {
            try CaptureClient.run(parts, seconds: seconds, stop: stop, into: &lent, begun: Self.say)
          })
      }
      if !isStarted {
        continuation.resume(
          throwing: WeftError(
            "CAP0014", object: "weft capture", cause: "no thread can be had", next: "look at: ulimit -u"))
      }
    }
  }

  private static func say(_ beginning: CaptureClient.Beginning) {
    let some = beginning.links.prefix(8).joined(separator: ", ")
    let more = beginning.links.count > 8 ? " and \(beginning.links.count - 8) more" : ""
    Terminal.complain("capturing at \(some)\(more); Ctrl-C ends it")
    for remark in beginning.remarks { Terminal.complain(remark) }
  }
}

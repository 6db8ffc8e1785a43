// Joins the API server's `pods/log` to the node agent, which starts later.

import ClusterClient
import ClusterNode
import ClusterServer
import Synchronization

final class LogPipe: Sendable {
  private let agent = Mutex<NodeAgent?>(nil)

  func connect(_ agent: NodeAgent) { self.agent.withLock { $0 = agent } }

  func read(_ namespace: String, _ pod: String, _ container: String, _ options: PodLogOptions) async throws -> [UInt8] {
    guard let agent = agent.withLock({ $0 }) else {
      throw APIStatusError(code: 503, reason: "ServiceUnavailable", message: "the node agent has not started yet")
    }
    var wanted = ClusterNode.LogOptions()
    wanted.previous = options.previous
    wanted.timestamps = options.timestamps
    wanted.tailLines = options.tailLines
    wanted.sinceSeconds = options.sinceSeconds
    wanted.limitBytes = options.limitBytes
    var bytes: [UInt8] = []
    for await piece in try await agent.readLogs(namespace: namespace, pod: pod, container: container, options: wanted) {
      bytes += piece
    }
    return bytes
  }
}

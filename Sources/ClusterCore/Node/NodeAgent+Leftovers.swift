// Takes away what an earlier agent on the same directories left, without a cluster: pods, containerd, mounts.

import CLinux
import ClusterObjects
import Glibc

extension NodeAgent {
  /// Does nothing when no containerd of these directories has run since the machine started.
  public static func removeLeftovers(_ settings: NodeSettings) async throws {
    guard access(settings.containerd.stateDirectory, F_OK) == 0 else { return }
    let agent = NodeAgent(settings, source: NoPods(), sink: NoPods(), objects: NoPods(), record: { _ in })
    try await agent.start()
    await agent.stop(keepPods: false)
  }
}

/// A cluster in which nothing runs: every pod found is an orphan.
private struct NoPods: PodSource, PodStatusSink, PodObjects {
  func podChanges() -> AsyncStream<PodChange> {
    AsyncStream { output in
      output.yield(.synced)
    }
  }
  func report(_ pod: JSON, status: JSON) async throws {}
  func finishDeletion(_ pod: JSON) async throws {}
  func object(_ kind: String, namespace: String, name: String) async throws -> JSON? { nil }
  func services(namespace: String) async throws -> [JSON] { [] }
  func token(_ pod: JSON, audience: String, seconds: Int) async throws -> PodToken {
    PodToken(text: "")
  }
}

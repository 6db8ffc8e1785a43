// The pods of a folder on this node and of a server of manifests, beside those of the API: they run without it, and when it is there it
// shows a mirror of each.
//
//   folder ---- look at changes -----> pods by digest ---+--> PodChange
//   server ---- asked each 20 s ------------/            |
//   API  ---- its pods, without mirrors -----------------+
//   status of a static pod --> the mirror, made when it is missing, made anew when it was deleted or is of an old manifest

import CLinux
import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import Logging

/// What is done with mirrors: the API's part.
protocol MirrorPods: Sendable {
  /// Nil when there is none of this name.
  func mirror(namespace: String, name: String) async throws -> JSON?
  func createMirror(_ pod: JSON) async throws -> JSON
  func deleteMirror(_ pod: JSON) async throws
}

/// A source and a sink around those of the API. Safe from anywhere.
struct StaticPodSource: PodSource, PodStatusSink {
  let own: StaticPods
  let source: any PodSource
  let sink: any PodStatusSink

  func podChanges() -> AsyncStream<PodChange> {
    // Unbounded for the same reason as the API's own: no wish may be lost.
    let (stream, output) = AsyncStream.makeStream(of: PodChange.self)
    let changes = source.podChanges()
    let own = own
    let task = Task.detached {
      // Before the API's: what runs by a file is nobody's orphan.
      await own.look(output)
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await own.follow(output) }
        group.addTask { await own.followServer(output) }
        group.addTask {
          for await change in changes { if await own.passes(change) { output.yield(change) } }
        }
        await group.next()
        group.cancelAll()
      }
      output.finish()
    }
    output.onTermination = { _ in task.cancel() }
    return stream
  }

  func report(_ pod: JSON, status: JSON) async throws {
    guard pod.isStaticPod, !pod.isMirrorPod else { return try await sink.report(pod, status: status) }
    guard let mirror = try await own.mirror(of: pod, status: status) else { return }
    try await sink.report(mirror, status: status)
  }

  func finishDeletion(_ pod: JSON) async throws {
    if !pod.isStaticPod || pod.isMirrorPod { try await sink.finishDeletion(pod) }
  }
}

/// Mirrors through the API.
struct APIMirrorPods: MirrorPods {
  let api: any ClusterAPI
  let nodeName: String

  func mirror(namespace: String, name: String) async throws -> JSON? {
    do {
      return try await api.get(.pods, namespace: namespace, name: name)
    } catch let error as APIStatusError where error.isNotFound {
      return nil
    }
  }

  func createMirror(_ pod: JSON) async throws -> JSON {
    let node = try? await api.get(.nodes, namespace: "", name: nodeName)
    return try await api.create(
      .pods, StaticPodPlan.mirror(pod, node: node), options: WriteOptions(fieldManager: "weft-node"))
  }

  func deleteMirror(_ pod: JSON) async throws {
    do {
      try await api.delete(
        .pods, namespace: pod.namespace, name: pod.name,
        options: DeleteOptions(gracePeriodSeconds: 0, uid: pod.uid))
    } catch let error as APIStatusError where error.isNotFound || error.isConflict {
      return
    }
  }
}

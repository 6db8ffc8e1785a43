// The pods of a folder on this node, beside those of the API: they run without it, and when it is there it shows a mirror of
// each.
//
//   folder ---- look at changes -----> pods by digest ---+--> PodChange
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
  let folder: StaticPodFolder
  let source: any PodSource
  let sink: any PodStatusSink

  func podChanges() -> AsyncStream<PodChange> {
    // Unbounded for the same reason as the API's own: no wish may be lost.
    let (stream, output) = AsyncStream.makeStream(of: PodChange.self)
    let changes = source.podChanges()
    let folder = folder
    let task = Task.detached {
      // Before the API's: what runs by a file is nobody's orphan.
      await folder.look(output)
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await folder.follow(output) }
        group.addTask {
          for await change in changes { if await folder.passes(change) { output.yield(change) } }
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
    guard let mirror = try await folder.mirror(of: pod, status: status) else { return }
    try await sink.report(mirror, status: status)
  }

  func finishDeletion(_ pod: JSON) async throws {
    if !pod.isStaticPod || pod.isMirrorPod { try await sink.finishDeletion(pod) }
  }
}

actor StaticPodFolder {
  private let path: String
  private let nodeName: String
  private let interval: Duration
  private let mirrors: any MirrorPods
  private let sink: any PodStatusSink
  private let log = Logger(label: "node")
  private var pods: [String: JSON] = [:]
  private var statuses: [String: JSON] = [:]
  /// By uid: the API's objects that stand for static pods.
  private var known: [String: JSON] = [:]
  /// Files that are no pods, and why; said once.
  private var refused: [String: String] = [:]
  private var looked: [String: (text: String, pod: JSON?)] = [:]
  static let filesMax = 512
  /// How often one looks where nothing tells of changes.
  private static let blindInterval: Duration = .seconds(1)

  init(
    path: String, nodeName: String, interval: Duration, mirrors: any MirrorPods, sink: any PodStatusSink
  ) {
    (self.path, self.nodeName, self.interval) = (path, nodeName, interval)
    self.mirrors = mirrors
    self.sink = sink
  }

  /// Looks whenever something changes, and each `interval` whatever happens.
  func follow(_ output: AsyncStream<PodChange>.Continuation) async {
    let watch = FolderWatch(path)
    if watch == nil {
      log.warning(
        "nothing tells of changes in the folder of static pods, it is looked at each second",
        metadata: ["path": "\(path)", "hint": "sysctl fs.inotify.max_user_instances"])
    }
    while !Task.isCancelled {
      // Before the look, so that nothing falls between.
      if let watch, watch.arm() {
        await look(output)
        await watch.wait(interval)
      } else {
        await look(output)
        do { try await Task.sleep(for: min(interval, Self.blindInterval)) } catch { return }
      }
    }
  }

  /// One look at the folder, or at the one file that the path is.
  func look(_ output: AsyncStream<PodChange>.Continuation) async {
    let now = read()
    let (gone, added) = StaticPodPlan.changes(from: pods, to: now)
    let old = pods
    pods = now
    for uid in gone {
      statuses[uid] = nil
      output.yield(.gone(uid: uid))
      if let pod = old[uid], !now.values.contains(where: { $0.key == pod.key }) {
        await removeMirror(of: pod)
      }
    }
    for pod in added { output.yield(.desired(pod)) }
  }

  private func read() -> [String: JSON] {
    var found: [String: JSON] = [:]
    var names: [String: (text: String, pod: JSON?)] = [:]
    let whole = Files.info(path, followingLinks: true)
    let list = whole?.kind == UInt32(Glibc.S_IFREG) ? [""] : Files.list(path)
    // Folders, pipes and devices are passed over, as are hidden files: reading them might wait for ever.
    for name in list.prefix(Self.filesMax) where !name.hasPrefix(".") {
      let file = name.isEmpty ? path : path + "/" + name
      guard let info = Files.info(file, followingLinks: true), info.kind == UInt32(Glibc.S_IFREG) else {
        continue
      }
      // The content decides: an editor may keep both size and time.
      guard let text = Files.readText(file, bytesMax: StaticPodPlan.manifestBytesMax) else { continue }
      if let before = looked[name], before.text == text {
        names[name] = before
      } else {
        names[name] = (text, pod(text, file))
      }
      if let pod = names[name]?.pod { found[pod.uid] = pod }
    }
    looked = names
    return found
  }

  private func pod(_ text: String, _ file: String) -> JSON? {
    do throws(StaticPodPlan.Refusal) {
      let pod = try StaticPodPlan.pod(text, path: file, nodeName: nodeName, seen: Timestamp.nowText())
      refused[file] = nil
      return pod
    } catch {
      if refused.updateValue(error.message, forKey: file) != error.message {
        log.warning("file is no static pod", metadata: ["file": "\(file)", "reason": "\(error.message)"])
      }
      if refused.count > Self.filesMax { refused.removeAll() }
      return nil
    }
  }

  // MARK: - Mirrors

  /// Whether a change of the API is for the agent's pods: mirrors are not, they only show what runs.
  func passes(_ change: PodChange) async -> Bool {
    switch change {
    case .desired(let pod):
      guard pod.isMirrorPod else { return true }
      known[pod.uid] = pod
      let isWanted = pods.values.contains { $0.key == pod.key && $0.uid == pod.mirrorHash }
      if pod.isTerminating || !isWanted { try? await mirrors.deleteMirror(pod) }
      return false
    case .gone(let uid):
      guard let mirror = known.removeValue(forKey: uid) else { return true }
      // Somebody deleted it, and the pod still runs: it is shown again.
      if let pod = pods.values.first(where: { $0.key == mirror.key }), let status = statuses[pod.uid] {
        if let fresh = try? await self.mirror(of: pod, status: status) {
          try? await sink.report(fresh, status: status)
        }
      }
      return false
    case .synced: return true
    }
  }

  /// The mirror of a pod, made when there is none. Nil when the pod is no longer wanted.
  func mirror(of pod: JSON, status: JSON) async throws -> JSON? {
    guard pods[pod.uid] != nil else { return nil }
    statuses[pod.uid] = status
    let hash = pod.annotations[StaticPodAnnotations.hash]
    if let present = try await mirrors.mirror(namespace: pod.namespace, name: pod.name) {
      // A pod of the same name that is no mirror belongs to somebody else.
      guard present.isMirrorPod else { return nil }
      if present.mirrorHash == hash, !present.isTerminating {
        known[present.uid] = present
        return present
      }
      try await mirrors.deleteMirror(present)
    }
    let made = try await mirrors.createMirror(pod)
    known[made.uid] = made
    return made
  }

  private func removeMirror(of pod: JSON) async {
    for mirror in known.values where mirror.key == pod.key { try? await mirrors.deleteMirror(mirror) }
  }
}

extension JSON {
  fileprivate var mirrorHash: String? { annotations[StaticPodAnnotations.mirror] }
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

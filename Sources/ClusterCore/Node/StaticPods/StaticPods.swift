// The pods that this node runs by its own word: read from a folder, told by a server, mirrored in the API.

import CLinux
import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import Logging

/// What this node runs whatever the API says. At most `filesMax` pods.
actor StaticPods {
  private let path: String?
  private let server: ManifestURL?
  private let serverInterval: Duration
  private let netnsPath: String?
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
  /// What the server said last, by uid, and its words.
  private var told: [String: JSON] = [:]
  private var toldText: String?
  static let filesMax = 512
  /// How often one looks where nothing tells of changes.
  private static let blindInterval: Duration = .seconds(1)

  init(_ settings: NodeSettings, mirrors: any MirrorPods, sink: any PodStatusSink) {
    path = settings.staticPodPath
    nodeName = settings.nodeName
    interval = settings.staticPodInterval
    server = settings.staticPodURL
    serverInterval = settings.staticPodURLInterval
    netnsPath = settings.netnsPath
    self.mirrors = mirrors
    self.sink = sink
  }

  /// Looks whenever something changes, and each `interval` whatever happens.
  func follow(_ output: AsyncStream<PodChange>.Continuation) async {
    guard let path else { return await forever() }
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

  /// Asks the server again and again. What it says counts until it says something else: one that is away, or says what is no pod, takes
  /// nothing away.
  func followServer(_ output: AsyncStream<PodChange>.Continuation) async {
    guard let server else { return await forever() }
    while !Task.isCancelled {
      await ask(server, output)
      do { try await Task.sleep(for: serverInterval) } catch { return }
    }
  }

  /// Nothing is to be done; the other sources go on.
  private func forever() async {
    while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
  }

  private func ask(_ server: ManifestURL, _ output: AsyncStream<PodChange>.Continuation) async {
    do throws(StaticPodPlan.Refusal) {
      let text = try await server.fetch(netnsPath: netnsPath)
      if text == toldText { return }
      let pods = try StaticPodPlan.pods(
        text, url: server.text, nodeName: nodeName, seen: Timestamp.nowText())
      let isFirst = toldText == nil
      toldText = text
      told = Dictionary(pods.prefix(Self.filesMax).map { ($0.uid, $0) }, uniquingKeysWith: { $1 })
      refused[server.text] = nil
      await look(output)
      if isFirst { output.yield(.heard) }
    } catch {
      refuse(server.text, error.message)
    }
  }

  private func refuse(_ place: String, _ reason: String) {
    if refused.updateValue(reason, forKey: place) != reason {
      log.warning("no static pod", metadata: ["place": "\(place)", "reason": "\(reason)"])
    }
    if refused.count > Self.filesMax { refused.removeAll() }
  }

  /// One look at the folder, or at the one file that the path is, beside what the server said.
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
    var found = told
    guard let path else { return found }
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
      refuse(file, error.message)
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
    case .synced, .heard: return true
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

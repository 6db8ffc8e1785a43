// Pods of a folder: read, changed, taken away, mirrored. With a real folder and mirrors in memory.

import CLinux
import ClusterObjects
import FuzzLab
import Glibc
import SoakLab
import Synchronization
import Testing

@testable import ClusterNode

/// Mirrors in memory, and what was written to them.
final class FakeMirrors: MirrorPods, PodStatusSink, Sendable {
  struct State {
    var mirrors: [String: JSON] = [:]
    var made = 0
    var statuses: [String: JSON] = [:]
  }
  let state = Mutex(State())

  func mirror(namespace: String, name: String) async throws -> JSON? {
    state.withLock { $0.mirrors["\(namespace)/\(name)"] }
  }
  func createMirror(_ pod: JSON) async throws -> JSON {
    state.withLock {
      $0.made += 1
      var mirror = StaticPodPlan.mirror(pod, node: ["metadata": ["name": "n1", "uid": "node-uid"]])
      mirror.set(JSON("mirror-\($0.made)"), at: "metadata", "uid")
      $0.mirrors["\(pod.namespace)/\(pod.name)"] = mirror
      return mirror
    }
  }
  func deleteMirror(_ pod: JSON) async throws {
    state.withLock { _ = $0.mirrors.removeValue(forKey: "\(pod.namespace)/\(pod.name)") }
  }
  func report(_ pod: JSON, status: JSON) async throws { state.withLock { $0.statuses[pod.uid] = status } }
  func finishDeletion(_ pod: JSON) async throws {}
  var mirrors: [JSON] { state.withLock { Array($0.mirrors.values) } }
}

private let manifest = """
  apiVersion: v1
  kind: Pod
  metadata: {name: web, labels: {app: web}}
  spec:
    containers:
    - {name: main, image: demo}
  """

func staticSettings(_ path: String?, interval: Duration) -> NodeSettings {
  var settings = NodeSettings(nodeName: "n1", addresses: [])
  settings.staticPodPath = path
  settings.staticPodInterval = interval
  return settings
}

@Suite(.timeLimit(.minutes(3))) struct StaticPodTests {
  @Test func `a manifest becomes a pod of this node with a digest for its uid`() throws {
    let pod = try StaticPodPlan.pod(manifest, path: "/m/web.yaml", nodeName: "N1", seen: "t")
    #expect(pod.name == "web-n1" && pod.namespace == "default" && pod.at("spec", "nodeName") == "N1")
    #expect(pod.uid.count == 32 && pod.annotations["kubernetes.io/config.hash"] == pod.uid)
    #expect(pod.isStaticPod && !pod.isMirrorPod && pod.annotations["kubernetes.io/config.seen"] == "t")
    let same = try StaticPodPlan.pod(manifest, path: "/m/web.yaml", nodeName: "N1", seen: "later")
    let other = try StaticPodPlan.pod(manifest + "\n", path: "/m/web.yaml", nodeName: "N1", seen: "t")
    #expect(same.uid == pod.uid && other.uid != pod.uid)
    let mirror = StaticPodPlan.mirror(pod, node: ["metadata": ["name": "n1", "uid": "u"]])
    #expect(mirror.isMirrorPod && mirror.uid.isEmpty && mirror["status"] == nil)
    #expect(mirror.at("metadata", "ownerReferences")?[0]?["kind"] == "Node")
  }

  @Test(arguments: [
    ("kind: Service\napiVersion: v1", "is no Pod of v1"),
    ("kind: Pod\napiVersion: v1\nmetadata: {name: x}", "has no name or no containers"),
    (
      "kind: Pod\napiVersion: v1\nmetadata: {name: x}\nspec: {serviceAccountName: a, containers: [{name: c}]}",
      "static pods may not reference serviceaccounts: they run without the API"
    ),
    (
      "kind: Pod\napiVersion: v1\nmetadata: {name: x}\nspec: {containers: [{name: c, envFrom: [{secretRef: {name: s}}]}]}",
      "static pods may not reference secrets: they run without the API"
    ),
  ])
  func `a file that is no static pod says why`(text: String, why: String) {
    #expect(throws: StaticPodPlan.Refusal(message: why)) {
      try StaticPodPlan.pod(text, path: "/m/x", nodeName: "n1", seen: "")
    }
  }

  @Test func `no file, however broken, ends the agent`() {
    for bytes in mutations(of: Array(manifest.utf8), count: 500, seed: 3) {
      _ = try? StaticPodPlan.pod(String(decoding: bytes, as: UTF8.self), path: "/m", nodeName: "n", seen: "")
    }
  }

  @Test func `a folder is followed, and each of its pods has a mirror that comes back`() async throws {
    let folder = try ScratchFolder.make("static")
    defer { ScratchFolder.remove(folder) }
    let mirrors = FakeMirrors()
    let cluster = FakeCluster()
    let pods = StaticPods(
      staticSettings(folder, interval: .milliseconds(5)), mirrors: mirrors, sink: mirrors)
    let source = StaticPodSource(own: pods, source: cluster, sink: mirrors)
    try Files.write(folder + "/web.yaml", manifest)
    try Files.write(folder + "/.hidden.yaml", manifest)
    var changes = source.podChanges().makeAsyncIterator()
    guard case .desired(let pod) = try #require(await changes.next()) else { throw Unexpected() }
    #expect(pod.name == "web-n1")
    guard case .synced = try #require(await changes.next()) else { throw Unexpected() }

    // Its status goes to a mirror, made when it is missing.
    try await source.report(pod, status: ["phase": "Running"])
    let mirror = try #require(mirrors.mirrors.first)
    #expect(mirrors.state.withLock { $0.statuses[mirror.uid]?["phase"] } == "Running")
    #expect(await !pods.passes(.desired(mirror)))
    // Somebody deletes the mirror: the pod is shown again, and nothing is stopped.
    try await mirrors.deleteMirror(mirror)
    #expect(await !pods.passes(.gone(uid: mirror.uid)))
    #expect(mirrors.mirrors.first?.uid == "mirror-2")
    #expect(mirrors.state.withLock { $0.statuses["mirror-2"]?["phase"] } == "Running")
    // Another pod of the API is none of ours.
    #expect(await pods.passes(.gone(uid: "other")))

    // A new manifest is a new pod; the mirror follows.
    // As an editor does it: beside it, under a name that is none of ours, then in its place.
    try Files.write(folder + "/.web.yaml", manifest + "\n  restartPolicy: Never\n")
    #expect(rename(folder + "/.web.yaml", folder + "/web.yaml") == 0)
    guard case .gone(let old) = try #require(await changes.next()) else { throw Unexpected() }
    guard case .desired(let new) = try #require(await changes.next()) else { throw Unexpected() }
    #expect(old == pod.uid && new.uid != old && new.at("spec", "restartPolicy") == "Never")
    try await source.report(new, status: ["phase": "Running"])
    #expect(mirrors.mirrors.first?.annotations["kubernetes.io/config.mirror"] == new.uid)

    // The file goes, and with it the pod and its mirror.
    unlink(folder + "/web.yaml")
    guard case .gone(let last) = try #require(await changes.next()) else { throw Unexpected() }
    #expect(last == new.uid)
    #expect(await eventually { mirrors.mirrors.isEmpty })
  }

  /// What the pods of a folder became, one after the other. The slow look comes far later than anybody waits here.
  private final class Followed: Sendable {
    private let changes = Mutex<[PodChange]>([])
    private let task: Task<Void, Never>

    init(_ path: String) {
      let mirrors = FakeMirrors()
      let pods = StaticPods(staticSettings(path, interval: .seconds(3600)), mirrors: mirrors, sink: mirrors)
      let source = StaticPodSource(own: pods, source: FakeCluster(), sink: mirrors)
      let (stream, input) = AsyncStream.makeStream(of: PodChange.self)
      task = Task {
        for await change in source.podChanges() { input.yield(change) }
      }
      Task { [weak self] in
        for await change in stream { self?.changes.withLock { $0.append(change) } }
      }
    }

    deinit { task.cancel() }

    private func next() async throws -> PodChange {
      var found: PodChange?
      _ = await eventually(.seconds(60)) {
        found = changes.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        return found != nil
      }
      return try #require(found)
    }

    func synced() async throws {
      guard case .synced = try await next() else { throw Unexpected() }
    }

    func desired() async throws -> JSON {
      guard case .desired(let pod) = try await next() else { throw Unexpected() }
      return pod
    }

    func gone() async throws -> String {
      guard case .gone(let uid) = try await next() else { throw Unexpected() }
      return uid
    }
  }

  @Test func `a change in the folder is seen when it happens, whichever way the file came`() async throws {
    let folder = try ScratchFolder.make("static")
    defer { ScratchFolder.remove(folder) }
    let aside = try ScratchFolder.make("static")
    defer { ScratchFolder.remove(aside) }
    let pods = Followed(folder)
    try await pods.synced()
    // What is none of ours: hidden, a folder, a pipe, no pod.
    try Files.write(folder + "/.web.yaml.swp", manifest)
    try Files.makeDirectory(folder + "/more")
    #expect(mkfifo(folder + "/pipe", 0o600) == 0)
    try Files.write(folder + "/notes.txt", "a: [")
    // Written, renamed into the folder, linked into it.
    for (name, way) in [("a", 0), ("b", 1), ("c", 2)] {
      let text = manifest.replacing("name: web", with: "name: \(name)")
      try Files.write((way == 0 ? folder : aside) + "/\(name).yaml", text)
      if way == 1 { #expect(rename("\(aside)/\(name).yaml", "\(folder)/\(name).yaml") == 0) }
      if way == 2 { #expect(symlink("\(aside)/\(name).yaml", "\(folder)/\(name).yaml") == 0) }
      #expect(try await pods.desired().name == "\(name)-n1")
    }
    // A manifest that is none any more: its pod goes, and comes back when it is mended.
    try Files.write(folder + "/a.yaml", "kind: Pod\napiVersion: v1\n")
    let old = try await pods.gone()
    try Files.write(folder + "/a.yaml", manifest.replacing("name: web", with: "name: a"))
    #expect(try await pods.desired().uid == old)
    // Taken away, and moved away.
    unlink(folder + "/a.yaml")
    #expect(try await pods.gone() == old)
    #expect(rename(folder + "/b.yaml", aside + "/b.yaml") == 0)
    _ = try await pods.gone()
    // The folder itself goes, and one of its name comes.
    #expect(rename(folder, aside + "/folder") == 0)
    _ = try await pods.gone()
    try Files.makeDirectory(folder)
    try Files.write(folder + "/d.yaml", manifest.replacing("name: web", with: "name: d"))
    #expect(try await pods.desired().name == "d-n1")
  }

  @Test func `a path may be one file, also one that is not there yet`() async throws {
    let folder = try ScratchFolder.make("static")
    defer { ScratchFolder.remove(folder) }
    let pods = Followed(folder + "/pod.yaml")
    try await pods.synced()
    try Files.write(folder + "/pod.yaml", manifest)
    let pod = try await pods.desired()
    // As an editor does it: another file under the name.
    try Files.write(folder + "/new", manifest + "\n  restartPolicy: Never\n")
    #expect(rename(folder + "/new", folder + "/pod.yaml") == 0)
    #expect(try await pods.gone() == pod.uid)
    let new = try await pods.desired()
    try Files.write(folder + "/pod.yaml", manifest)
    #expect(try await pods.gone() == new.uid)
    #expect(try await pods.desired().uid == pod.uid)
    unlink(folder + "/pod.yaml")
    #expect(try await pods.gone() == pod.uid)
  }

  private struct Unexpected: Error {}
}

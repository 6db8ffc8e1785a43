// Watches of the objects in pods' volumes: which are open, what is told to whom, what happens above the bound. With objects
// in memory, and with an API server in memory.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterNode

/// Objects whose states the test yields.
private final class FollowedObjects: PodObjects {
  struct State {
    var open: [String: AsyncStream<JSON?>.Continuation] = [:]
    var opened = 0
  }
  let state = Mutex(State())

  func follow(
    _ kind: String, namespace: String, name: String, change: @Sendable (JSON?) async -> Void
  ) async throws {
    let (stream, input) = AsyncStream.makeStream(of: JSON?.self)
    state.withLock { state in
      state.open["\(kind)/\(namespace)/\(name)"] = input
      state.opened += 1
    }
    await withTaskCancellationHandler {
      for await object in stream { await change(object) }
    } onCancel: {
      input.finish()
    }
    _ = state.withLock { $0.open.removeValue(forKey: "\(kind)/\(namespace)/\(name)") }
  }

  func say(_ key: String, _ object: JSON?) async -> Bool {
    await eventually {
      state.withLock { state in
        guard let input = state.open[key] else { return false }
        input.yield(object)
        return true
      }
    }
  }
  func isOpen(_ key: String) -> Bool { state.withLock { $0.open[key] != nil } }

  func object(_ kind: String, namespace: String, name: String) async throws -> JSON? { nil }
  func services(namespace: String) async throws -> [JSON] { [] }
  func token(_ pod: JSON, audience: String, seconds: Int) async throws -> PodToken { PodToken(text: "") }
}

private final class Heard: Sendable {
  let all = Mutex<[String]>([])
  func listener(_ pod: String) -> ObjectWatches.Listener {
    { reference, version in self.all.withLock { $0.append("\(pod) \(reference.name) \(version)") } }
  }
  var words: [String] { all.withLock { $0 } }
}

private func object(_ version: String, immutable: Bool = false) -> JSON {
  var tree: JSON = ["metadata": ["name": "x", "resourceVersion": JSON(version)]]
  if immutable { tree["immutable"] = true }
  return tree
}

private func map(_ name: String) -> ObjectReference {
  ObjectReference(kind: "configMap", namespace: "n", name: name)
}

@Suite(.timeLimit(.minutes(3))) struct ObjectWatchTests {
  @Test func `one watch serves all pods of an object, and ends with the last of them`() async {
    let objects = FollowedObjects()
    let heard = Heard()
    let watches = ObjectWatches(objects, metrics: Metrics())
    await watches.follow("p", [map("a")], heard.listener("p"))
    await watches.follow("q", [map("a"), map("b")], heard.listener("q"))
    #expect(await objects.say("configMap/n/a", object("5")))
    #expect(await eventually { heard.words.sorted() == ["p a 5", "q a 5"] })
    #expect(objects.state.withLock { $0.opened } == 2)
    #expect(await eventually { await watches.isFollowing("p") })
    // Nothing was said of `b` yet: somebody has to look.
    #expect(await !watches.isFollowing("q"))
    #expect(await objects.say("configMap/n/b", nil))
    #expect(await eventually { await watches.isFollowing("q") })
    await watches.forget("p")
    #expect(await objects.say("configMap/n/a", object("6")))
    #expect(await eventually { heard.words.last == "q a 6" })
    await watches.forget("q")
    #expect(await eventually { !objects.isOpen("configMap/n/a") && !objects.isOpen("configMap/n/b") })
    #expect(await eventually { await watches.count == 0 })
  }

  @Test func `above the bound an object waits for a place, and its pod is looked after by the slow round`()
    async
  {
    let objects = FollowedObjects()
    let heard = Heard()
    let watches = ObjectWatches(objects, metrics: Metrics(), limit: 1)
    await watches.follow("p", [map("a")], heard.listener("p"))
    await watches.follow("q", [map("b")], heard.listener("q"))
    #expect(await objects.say("configMap/n/a", object("1")))
    #expect(await eventually { await watches.isFollowing("p") })
    #expect(await !watches.isFollowing("q"))
    #expect(await watches.count == 1)
    await watches.forget("p")
    #expect(await objects.say("configMap/n/b", object("2")))
    #expect(await eventually { heard.words.last == "q b 2" })
    #expect(await eventually { await watches.isFollowing("q") })
    await watches.stop()
  }

  @Test func `an object that never changes needs no watch`() async {
    let objects = FollowedObjects()
    let heard = Heard()
    let watches = ObjectWatches(objects, metrics: Metrics())
    await watches.follow("p", [map("a")], heard.listener("p"))
    #expect(await objects.say("configMap/n/a", object("3", immutable: true)))
    #expect(await eventually { !objects.isOpen("configMap/n/a") })
    #expect(heard.words == ["p a 3"])
    #expect(await eventually { await watches.isFollowing("p") })
    #expect(await eventually { await watches.count == 0 })
    await watches.stop()
  }

  @Test func `where nobody can be followed the slow round is for all`() async {
    let watches = ObjectWatches(FakeCluster(), metrics: Metrics())
    await watches.follow("p", [map("a"), map("b")]) { _, _ in }
    #expect(await eventually { await watches.count == 0 })
    #expect(await !watches.isFollowing("p"))
    await watches.stop()
  }

  @Test(arguments: [
    ("1", "2", true), ("2", "1", false), ("10", "9", false), ("", "4", true), ("4", "", true),
    ("", "", false),
  ])
  func `files are older than their object by its version`(used: String, latest: String, isOlder: Bool) {
    #expect(isVersion(used, before: latest) == isOlder)
  }

  @Test func `a volume whose object is gone keeps its files, and the others are refreshed`() throws {
    let folder = "/tmp/weft-refresh-\(UInt32.random(in: 0 ... .max))"
    defer { Files.removeTree(folder) }
    let volumes = Volumes(podDirectory: folder, capacity: [:])
    let pod: JSON = [
      "spec": [
        "volumes": [
          ["name": "gone", "configMap": ["name": "gone"]],
          ["name": "kept", "secret": ["secretName": "kept"]],
        ]
      ]
    ]
    var data = PodData()
    data.objects = ["configMap/gone": ["k": [1]], "secret/kept": ["k": [1]]]
    _ = try volumes.prepare(pod, data: data)
    data.objects = ["secret/kept": ["k": [2]]]
    #expect(
      volumes.refresh(pod, data: data)
        == ["MountVolume.SetUp failed for volume \"gone\" : configmap \"gone\" not found"])
    #expect(Files.read(folder + "/volumes/gone/k") == [1])
    #expect(Files.read(folder + "/volumes/kept/k") == [2])
  }

  @Test func `a volume that cannot be made is named, in kubelet's words`() throws {
    let folder = "/tmp/weft-missing-\(UInt32.random(in: 0 ... .max))"
    defer { Files.removeTree(folder) }
    let volumes = Volumes(podDirectory: folder, capacity: [:])
    let pod: JSON = [
      "spec": [
        "volumes": [
          ["name": "work", "emptyDir": [:]], ["name": "creds", "secret": ["secretName": "missing"]],
        ]
      ]
    ]
    let missing = #expect(throws: MissingReference.self) { try volumes.prepare(pod, data: PodData()) }
    #expect(missing?.volume == "creds")
    #expect(
      missing?.mountWords == "MountVolume.SetUp failed for volume \"creds\" : secret \"missing\" not found")
  }
}

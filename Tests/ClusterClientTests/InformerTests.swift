// Informers against an API in memory: what they know must equal what the API holds, whatever breaks in
// between.

import ClusterObjects
import Diagnostics
import Dispatch
import Synchronization
import Testing

@testable import ClusterClient

func pod(_ name: String, namespace: String = "demo", labels: [String: String] = [:]) -> JSON {
  [
    "apiVersion": "v1", "kind": "Pod",
    "metadata": ["namespace": JSON(namespace), "name": JSON(name), "labels": JSON(labels)],
    "spec": ["containers": [["name": "c", "image": "i"]]],
  ]
}

/// Polls until `body` is true, at most a minute.
func eventually(_ body: () -> Bool) async -> Bool {
  let deadline = ContinuousClock.now + .seconds(60)
  while ContinuousClock.now < deadline {
    if body() { return true }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return body()
}

func testSettings() -> InformerSettings {
  var settings = InformerSettings()
  settings.retry = RetryPolicy(initial: .milliseconds(1), maximum: .milliseconds(20))
  settings.initialEventsTimeout = .milliseconds(300)
  return settings
}

@Suite(.timeLimit(.minutes(10))) struct InformerTests {
  @Test func `a snapshot is a value that later events do not change`() async throws {
    let api = MemoryClusterAPI()
    _ = try await api.create(.pods, pod("a"), options: WriteOptions())
    let informers = SharedInformers(api: api, settings: testSettings(), metrics: Metrics())
    let informer = informers.informer(.pods)
    try await informers.waitForSync()
    let before = informer.snapshot
    _ = try await api.create(.pods, pod("b"), options: WriteOptions())
    #expect(await eventually { informer.snapshot.count == 2 })
    #expect(before.count == 1)
    #expect(informer.objects(.namespace, "demo").count == 2)
    await informers.stop()
  }

  @Test func `equal scopes share one informer`() async {
    let informers = SharedInformers(api: MemoryClusterAPI(), metrics: Metrics())
    #expect(informers.informer(.pods) === informers.informer(.pods))
    #expect(informers.informer(.pods) !== informers.informer(.pods, namespace: "x"))
    await informers.stop()
  }

  @Test func `a handler hears what exists and then every change in order`() async throws {
    let api = MemoryClusterAPI()
    _ = try await api.create(.pods, pod("a"), options: WriteOptions())
    let informers = SharedInformers(api: api, settings: testSettings(), metrics: Metrics())
    let informer = informers.informer(.pods)
    try await informers.waitForSync()
    let seen = Mutex<[String]>([])
    let registration = informer.onChange { changes in
      seen.withLock { seen in
        seen += changes.map { "\($0.old == nil ? "+" : $0.new == nil ? "-" : "~")\($0.key.name)" }
      }
    }
    var changed = try await api.create(.pods, pod("b"), options: WriteOptions())
    changed.set("x", at: "spec", "hostname")
    _ = try await api.update(.pods, changed, subresource: nil, options: WriteOptions())
    try await api.delete(.pods, namespace: "demo", name: "a", options: DeleteOptions())
    #expect(await eventually { seen.withLock { $0.count } == 4 })
    #expect(seen.withLock { $0 } == ["+a", "+b", "~b", "-a"])
    _ = registration
    await informers.stop()
  }

  /// Owners keep registrations behind the lock that their handlers take.
  @Test func `a registration is dropped while its handler waits for a lock of who drops it`() {
    final class Owner: Sendable {
      let state = Mutex<(heard: Int, registration: InformerRegistration?)>((0, nil))
    }
    let owner = Owner()
    let informer = Informer(scope: InformerScope(.pods), metrics: Metrics())
    let begun = DispatchSemaphore(value: 0)
    let ended = DispatchSemaphore(value: 0)
    owner.state.withLock { state in
      state.registration = informer.onChange { changes in
        begun.signal()
        owner.state.withLock { $0.heard += changes.count }
      }
      DispatchQueue.global().async {
        informer.apply(.added(pod("a")))
        ended.signal()
      }
      #expect(begun.wait(timeout: .now() + 60) == .success)
      state.registration = nil
    }
    #expect(ended.wait(timeout: .now() + 60) == .success)
    #expect(owner.state.withLock { $0.heard } == 1)
    informer.apply(.added(pod("b")))
    #expect(owner.state.withLock { $0.heard } == 1)
  }

  /// Who cancels a task holds that task's lock while the stream's end is told, and who yields to it waits for the same one.
  @Test func `watches that are cancelled hold up no write`() async throws {
    let api = MemoryClusterAPI()
    let writer = Task.detached {
      for number in 0..<4000 {
        api.put(.pods, pod("p-\(number % 7)"))
        if number % 16 == 0 { await Task.yield() }
      }
    }
    let followers = (0..<4).map { _ in
      Task.detached {
        for round in 0..<200 {
          let stream = try await api.watch(.pods, namespace: "", options: ListOptions())
          let reader = Task { for try await _ in stream {} }
          for _ in 0..<(round % 5) { await Task.yield() }
          reader.cancel()
          _ = await reader.result
        }
      }
    }
    await writer.value
    for follower in followers { try await follower.value }
    #expect(api.objects(.pods).count == 7)
  }

  @Test func `of another object under a name the first one's end is told too`() {
    let told = Mutex<[String]>([])
    let informer = Informer(scope: InformerScope(.pods), metrics: Metrics())
    let registration = informer.onChange { changes in
      told.withLock { told in
        told += changes.map { "\($0.old?.uid ?? "-") \($0.new?.uid ?? "-")" }
      }
    }
    for (uid, version) in [("first", "1"), ("first", "2"), ("second", "5")] {
      var object = pod("a")
      object.set(JSON(uid), at: "metadata", "uid")
      object.set(JSON(version), at: "metadata", "resourceVersion")
      informer.apply(.modified(object))
    }
    #expect(told.withLock { $0 } == ["- first", "first first", "first -", "- second"])
    withExtendedLifetime(registration) {}
  }

  @Test func `a handler may drop its own registration`() {
    let heard = Mutex(0)
    let registration = Mutex<InformerRegistration?>(nil)
    let informer = Informer(scope: InformerScope(.pods), metrics: Metrics())
    registration.withLock {
      $0 = informer.onChange { _ in
        heard.withLock { $0 += 1 }
        _ = registration.withLock { $0.take() }
      }
    }
    informer.apply(.added(pod("a")))
    informer.apply(.added(pod("b")))
    #expect(heard.withLock { $0 } == 1)
  }

  @Test func `an event of a time before what is known changes nothing`() {
    func state(_ name: String, _ uid: String, at revision: Int) -> JSON {
      var object = pod(name)
      object.set(JSON(uid), at: "metadata", "uid")
      object.set(JSON("\(revision)"), at: "metadata", "resourceVersion")
      return object
    }
    let informer = Informer(scope: InformerScope(.pods), metrics: Metrics())
    let heard = Mutex<[String]>([])
    let registration = informer.onChange { changes in
      heard.withLock { $0 += changes.map { "\($0.key.name) \($0.new?.resourceVersion ?? "gone")" } }
    }
    informer.beginList()
    informer.endList(resourceVersion: "2")
    informer.apply(.added(state("a", "1", at: 3)))
    informer.apply(.modified(state("a", "1", at: 5)))
    // Twice, and again from the start.
    informer.apply(.modified(state("a", "1", at: 5)))
    informer.apply(.added(state("a", "1", at: 3)))
    informer.apply(.deleted(state("a", "1", at: 4)))
    // Nobody knows what became of it since: a list will tell.
    informer.apply(.modified(state("b", "2", at: 4)))
    #expect(informer.resourceVersion == "5")
    informer.apply(.bookmark(resourceVersion: "4", isInitialEventsEnd: false))
    #expect(informer.resourceVersion == "5")
    informer.apply(.deleted(state("a", "1", at: 7)))
    // What is gone does not come back by what was said before.
    informer.apply(.modified(state("a", "1", at: 6)))
    // Its namesake does not go by what is said of it.
    informer.apply(.added(state("a", "9", at: 8)))
    informer.apply(.deleted(state("a", "1", at: 7)))
    #expect(heard.withLock { $0 } == ["a 3", "a 5", "a gone", "a 8"])
    // A list is the truth, whatever its revision.
    informer.beginList()
    informer.take(listed: state("a", "9", at: 1))
    informer.endList(resourceVersion: "1")
    #expect(informer["demo", "a"]?.resourceVersion == "1" && informer.resourceVersion == "1")
    // Versions that are no numbers cannot be compared.
    for version in ["x/9", "x/8"] {
      var object = state("c", "3", at: 0)
      object.set(JSON(version), at: "metadata", "resourceVersion")
      informer.apply(.modified(object))
      #expect(informer["demo", "c"]?.resourceVersion == version)
    }
    withExtendedLifetime(registration) {}
  }

  @Test func `changes merge while their reader is busy`() async throws {
    let api = MemoryClusterAPI()
    let informers = SharedInformers(api: api, settings: testSettings(), metrics: Metrics())
    let informer = informers.informer(.pods)
    try await informers.waitForSync()
    var changes = informer.changes().makeAsyncIterator()
    for round in 0..<50 {
      var object = pod("a")
      object.set(JSON("\(round)"), at: "spec", "hostname")
      api.put(.pods, object)
    }
    #expect(await eventually { informer["demo", "a"]?.at("spec", "hostname") == "49" })
    let batch = try #require(await changes.next())
    #expect(batch.count == 1)
    #expect(batch[0].old == nil)
    #expect(batch[0].new?.at("spec", "hostname") == "49")
    await informers.stop()
  }

  @Test func `a server without WatchList is listed and watched`() async throws {
    let api = MemoryClusterAPI()
    _ = try await api.create(.pods, pod("a"), options: WriteOptions())
    let refused = Atomic<Int>(0)
    api.inject { verb, _ in
      guard verb == "watch", refused.add(1, ordering: .relaxed).oldValue == 0 else { return nil }
      return APIStatusError(code: 422, reason: "Invalid", message: "sendInitialEvents is forbidden")
    }
    let informers = SharedInformers(api: api, settings: testSettings(), metrics: Metrics())
    let informer = informers.informer(.pods)
    try await informers.waitForSync()
    _ = try await api.create(.pods, pod("b"), options: WriteOptions())
    #expect(await eventually { informer.snapshot.count == 2 })
    await informers.stop()
  }

  @Test(arguments: [UInt64(1), 7, 42, 1009])
  func `an informer ends with what the API holds through lost watches and expired revisions`(seed: UInt64)
    async throws
  {
    print("seed \(seed)")
    let api = unreliableAPI(seed)
    let informers = SharedInformers(api: api, settings: testSettings(), metrics: Metrics())
    let informer = informers.informer(.pods)
    await churnPods(api, seed)
    let isEqual = await eventually {
      informer.hasSynced && informer.snapshot.values.sorted { $0.key < $1.key } == api.objects(.pods)
    }
    #expect(isEqual, "seed \(seed)")
    await informers.stop()
  }

  @Test func `ten thousand objects sync within the promised time`() async throws {
    let api = MemoryClusterAPI()
    for number in 0..<10_000 { api.put(.pods, pod("pod-\(number)", labels: ["app": "web"])) }
    let informers = SharedInformers(api: api, settings: testSettings(), metrics: Metrics())
    let began = ContinuousClock.now
    let informer = informers.informer(.pods)
    try await informers.waitForSync()
    print("10,000 objects synced in \(ContinuousClock.now - began)")
    #expect(informer.snapshot.count == 10_000)
    #expect(ContinuousClock.now - began < .seconds(20))
    await informers.stop()
  }
}

/// Lists and watches that fail at random.
func unreliableAPI(_ seed: UInt64) -> MemoryClusterAPI {
  let api = MemoryClusterAPI()
  let failures = Mutex(SeededRandom(seed: seed &+ 1))
  api.inject { verb, _ in
    guard verb == "watch" || verb == "list", failures.withLock({ Int.random(in: 0..<4, using: &$0) }) == 0
    else { return nil }
    return APIStatusError(code: 500, reason: "InternalError", message: "injected")
  }
  return api
}

/// Four hundred changes of thirty pods, while watches are dropped and revisions expire.
func churnPods(_ api: MemoryClusterAPI, _ seed: UInt64) async {
  var random = SeededRandom(seed: seed)
  for _ in 0..<400 {
    let name = "p\(Int.random(in: 0..<30, using: &random))"
    switch Int.random(in: 0..<20, using: &random) {
    case 0: api.dropWatches()
    case 1: api.expireHistory()
    case 2..<8: api.remove(.pods, ObjectKey("demo", name))
    default:
      var object = pod(name)
      object.set(JSON(Int.random(in: 0..<1000, using: &random)), at: "spec", "priority")
      api.put(.pods, object)
    }
    if Int.random(in: 0..<10, using: &random) == 0 { await Task.yield() }
  }
}

/// A small deterministic generator (splitmix64), so that a failing seed can be run again.
struct SeededRandom: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

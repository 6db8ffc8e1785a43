// Who leads (T-A12). A world whose time the test moves: candidates whose clocks differ and run unequally fast, whose calls take
// seconds on their way there and back or fail, who stop for a while, or for ever. At every moment at most one leads.

import ClusterObjects
import Diagnostics
import SoakLab
import Synchronization
import Testing

@testable import ClusterClient

/// Time and candidates. One task drives it: while a candidate waits for an answer, the others go on.
private final class World: Sendable {
  static let tick: Duration = .milliseconds(100)

  struct Candidate {
    var view = LeaderElection.View()
    var next: Duration = .zero
    var isBusy = false
    var isDead = false
    /// Stopped (SIGSTOP) until then.
    var stoppedUntil: Duration = .zero
  }
  struct State {
    var time: Duration = .zero
    var random: SeededRandom
    var candidates: [Candidate]
    var isFaulty = true
    var leaders: Set<Int> = []
    var changes = 0
    var violation: String?
  }
  let state: Mutex<State>
  let api = MemoryClusterAPI()
  let elections: [LeaderElection]
  let leaderships: [Leadership]

  init(seed: UInt64, count: Int) {
    var random = SeededRandom(seed: seed)
    let metrics = Metrics()
    let holder = Holder()
    var elections: [LeaderElection] = []
    for number in 0..<count {
      // One counts from its boot, another runs slow or fast by up to a hundredth, which is far more than machines do.
      let offset = Duration.seconds(Int.random(in: 0...1_000_000, using: &random))
      let rate = Double.random(in: 0.99...1.01, using: &random)
      // The time of day is ten seconds ahead, behind, or right.
      let skew = Int64([-10, 0, 10].randomElement(using: &random) ?? 0)
      var election = LeaderElection(
        api: DistantAPI(holder: holder, number: number, skew: skew), lease: ObjectKey("kube-system", "weft"),
        identity: "c\(number)", metrics: metrics)
      election.now = { offset + (holder.world?.time ?? .zero) * rate }
      elections.append(election)
    }
    self.elections = elections
    leaderships = elections.map { Leadership(now: $0.now) }
    state = Mutex(
      State(random: random, candidates: .init(repeating: Candidate(), count: count)))
    holder.set(self)
  }

  var time: Duration { state.withLock { $0.time } }
  func random(_ range: ClosedRange<Int>) -> Int {
    state.withLock { Int.random(in: range, using: &$0.random) }
  }
  var isFaulty: Bool { state.withLock { $0.isFaulty } }

  /// Lets time pass; whose turn it is acts, but for those who wait for an answer themselves.
  func pass(_ duration: Duration) async {
    let end = time + duration
    while time < end {
      state.withLock { $0.time += Self.tick }
      look()
      for number in elections.indices { await act(number) }
    }
  }

  /// Who may write now, the stopped ones too: a process that goes on writes on. Clocks are read first: they ask the world
  /// for its time.
  private func look() {
    let held = leaderships.map(\.isHeld)
    state.withLock { state in
      let leaders = Set(held.indices.filter { held[$0] && !state.candidates[$0].isDead })
      if leaders.count > 1 { state.violation = state.violation ?? "\(leaders.sorted()) at \(state.time)" }
      if !leaders.isEmpty, leaders != state.leaders {
        state.leaders = leaders
        state.changes += 1
      }
    }
  }

  private func act(_ number: Int) async {
    let turn: LeaderElection.View? = state.withLock { state in
      let candidate = state.candidates[number]
      guard !candidate.isBusy, !candidate.isDead, candidate.next <= state.time,
        candidate.stoppedUntil <= state.time
      else { return nil }
      state.candidates[number].isBusy = true
      return candidate.view
    }
    guard var view = turn else { return }
    let pause = await elections[number].step(&view, leaderships[number])
    state.withLock { state in
      state.candidates[number].view = view
      state.candidates[number].next = state.time + pause
      state.candidates[number].isBusy = false
    }
  }

  /// What befalls a call: seconds on the way, or nothing.
  func delay(_ number: Int) async {
    guard isFaulty else { return }
    switch random(0...19) {
    case 0: await pass(.seconds(random(5...14)))
    case 1...4: await pass(.milliseconds(random(100...3000)))
    case 5 where random(0...3) == 0:
      // The process stops in the midst of a call.
      await pass(.seconds(random(10...40)))
    default: break
    }
  }
}

private final class Holder: Sendable {
  private let value = Mutex<Weak>(Weak())
  private struct Weak { weak var world: World? }
  var world: World? { value.withLock { $0.world } }
  func set(_ world: World) { value.withLock { $0.world = world } }
}

/// The API as a candidate far away sees it, whose clock shows another time of day.
private struct DistantAPI: ElectionAPI {
  let holder: Holder
  let number: Int
  let skew: Int64

  private func call(_ body: (MemoryClusterAPI) async throws -> JSON) async throws -> JSON {
    guard let world = holder.world else { throw CancellationError() }
    await world.delay(number)
    if world.isFaulty, world.random(0...9) == 0 {
      throw APIStatusError(code: 500, reason: "InternalError", message: "injected")
    }
    let answer = try await body(world.api)
    await world.delay(number)
    if world.isFaulty, world.random(0...19) == 0 {
      // Written, and nobody heard of it.
      throw APIStatusError(code: 504, reason: "Timeout", message: "injected")
    }
    return answer
  }

  private func skewed(_ lease: JSON) -> JSON {
    var lease = lease
    for field in ["renewTime", "acquireTime"] {
      guard let time = lease.at("spec", field)?.string.flatMap({ Timestamp.parse($0) }) else { continue }
      let text = Timestamp.text(
        seconds: time.seconds + skew, nanoseconds: time.nanoseconds, fractionDigits: 6)
      lease.set(JSON(text), at: "spec", field)
    }
    return lease
  }

  func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try await call { try await $0.get(resource, namespace: namespace, name: name) }
  }
  func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws -> JSON {
    try await call { try await $0.create(resource, skewed(object), options: options) }
  }
  func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    try await call {
      try await $0.update(resource, skewed(object), subresource: subresource, options: options)
    }
  }
}

/// What elections never ask.
private protocol ElectionAPI: ClusterAPI {}

extension ElectionAPI {
  private var unused: APIStatusError {
    APIStatusError(code: 405, reason: "MethodNotAllowed", message: "an election does not ask this")
  }
  func list(_: GroupVersionResource, namespace: String, options: ListOptions) async throws -> ObjectList {
    throw unused
  }
  func watch(_: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  { throw unused }
  func patch(
    _: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON { throw unused }
  func createSubresource(
    _: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON { throw unused }
  func delete(_: GroupVersionResource, namespace: String, name: String, options: DeleteOptions) async throws {
    throw unused
  }
}

@Suite(.timeLimit(.minutes(10))) struct LeaderElectionTests {
  @Test func `two never lead, whatever clocks, calls and processes do, and one does when they rest`() async {
    var changes = 0
    let seeds = Soak.rounds(60, long: 5000)
    for seed in 0..<seeds {
      let world = World(seed: Soak.seed &* 1_000_003 &+ UInt64(seed), count: 2 + seed % 2)
      for _ in 0..<12 {
        await world.pass(.seconds(world.random(1...20)))
        let number = world.random(0...world.elections.count - 1)
        // Stopped between two calls, for longer than a lease lasts or shorter.
        let seconds = Duration.seconds(world.random(1...40))
        world.state.withLock { $0.candidates[number].stoppedUntil = $0.time + seconds }
      }
      world.state.withLock { $0.isFaulty = false }
      await world.pass(.seconds(60))
      #expect(world.leaderships.count(where: \.isHeld) == 1, "seed \(seed): nobody leads")
      let state = world.state.withLock { ($0.violation, $0.changes) }
      #expect(state.0 == nil, "seed \(seed): two lead")
      changes += state.1
    }
    // Otherwise nothing was tried.
    #expect(changes > 2 * seeds, "\(changes) changes of the leader")
    if Soak.isLong { Soak.report("leader election: \(seeds) seeds, \(changes) changes of the leader") }
  }

  @Test func `after a leader's death another leads within seventeen seconds`() async {
    for seed in 0..<40 {
      let world = World(seed: UInt64(seed), count: 3)
      world.state.withLock { $0.isFaulty = false }
      await world.pass(.seconds(20) + World.tick * seed)
      guard let leader = world.leaderships.firstIndex(where: \.isHeld) else {
        Issue.record("seed \(seed): nobody leads")
        continue
      }
      world.state.withLock { $0.candidates[leader].isDead = true }
      let death = world.time
      while world.time - death < .seconds(30), !world.others(than: leader) { await world.pass(World.tick) }
      // The clocks of this world are wrong by a hundredth, and it moves by a tenth of a second.
      let taken = world.time - death
      #expect(taken <= .seconds(17) * 1.011 + World.tick * 3, "seed \(seed): after \(taken)")
    }
  }

  @Test func `a renewal that never comes back ends the lead, and writes are refused from then on`()
    async throws
  {
    let api = MemoryClusterAPI()
    let hangs = Atomic<Bool>(false)
    var election = LeaderElection(
      api: HangingAPI(api: api, hangs: { hangs.load(ordering: .relaxed) }),
      lease: ObjectKey("kube-system", "weft"), identity: "a", metrics: Metrics())
    election.renewDeadline = .milliseconds(200)
    election.retryPeriod = .milliseconds(10)
    let (began, refused) = (Latch(), Latch())
    let running = election
    let task = Task {
      try await running.run { leadership in
        let leading = LeaderAPI(api, while: leadership)
        _ = try? await leading.create(.pods, pod("a"), options: WriteOptions())
        began.open()
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(60)) }
        do {
          _ = try await leading.create(.pods, pod("b"), options: WriteOptions())
        } catch let error as APIStatusError where error.isConflict {
          refused.open()
        } catch {}
      }
    }
    await began.wait()
    hangs.store(true, ordering: .relaxed)
    #expect(await eventually { refused.isOpen })
    #expect(api.objects(.pods).map(\.name) == ["a"])
    hangs.store(false, ordering: .relaxed)
    try await task.value
  }

  /// Its next look would be in forty seconds.
  @Test(arguments: [true, false]) func `a lease that is given back is taken at once by who may follow it`(
    isFollowed: Bool
  ) async throws {
    let api = MemoryClusterAPI()
    let lease = ObjectKey("kube-system", "weft")
    let held: JSON = [
      "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
      "metadata": ["namespace": "kube-system", "name": "weft"],
      "spec": ["holderIdentity": "other", "leaseDurationSeconds": 60, "leaseTransitions": 3],
    ]
    _ = try await api.create(.leases, held, options: WriteOptions())
    let looks = Atomic(0)
    api.inject { verb, resource in
      if verb == "get", resource == .leases { looks.add(1, ordering: .relaxed) }
      guard verb == "watch", !isFollowed else { return nil }
      return APIStatusError(code: 403, reason: "Forbidden", message: "watching is not for everybody")
    }
    var election = LeaderElection(api: api, lease: lease, identity: "a", metrics: Metrics())
    election.duration = .seconds(60)
    election.renewDeadline = .seconds(50)
    election.retryPeriod = isFollowed ? .seconds(40) : .milliseconds(20)
    let leads = Latch()
    let running = election
    let task = Task { try await running.run { _ in leads.open() } }
    #expect(await eventually { looks.load(ordering: .relaxed) > 0 })
    #expect(!leads.isOpen)
    _ = try await api.modify(.leases, lease) { current in
      var changed = current
      changed.set("", at: "spec", "holderIdentity")
      return changed
    }
    #expect(await eventually { leads.isOpen })
    try await task.value
    #expect(api.objects(.leases)[0].at("spec", "leaseTransitions")?.int == 4)
  }

  @Test func `a candidate that waits ends when it is told to`() async throws {
    let api = MemoryClusterAPI()
    let other = LeaderElection(
      api: api, lease: ObjectKey("kube-system", "weft"), identity: "b", metrics: Metrics())
    var view = LeaderElection.View()
    #expect(await other.tryAcquire(&view))
    let election = LeaderElection(api: api, lease: other.lease, identity: "a", metrics: Metrics())
    let looks = Atomic(0)
    api.inject { verb, _ in
      if verb == "get" { looks.add(1, ordering: .relaxed) }
      return nil
    }
    let task = Task { try await election.run { _ in Issue.record("it leads") } }
    #expect(await eventually { looks.load(ordering: .relaxed) > 0 })
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func `a leader whose lease was another's for a while begins anew, in another term`() async throws {
    let api = MemoryClusterAPI()
    let lease = ObjectKey("kube-system", "weft")
    var election = LeaderElection(api: api, lease: lease, identity: "a", metrics: Metrics())
    election.retryPeriod = .milliseconds(10)
    let terms = Mutex<[LeaderTerm?]>([])
    let running = election
    let task = Task {
      for _ in 0..<2 {
        try await running.run { leadership in
          let term = leadership.term
          terms.withLock { $0.append(term) }
          // The second time by itself.
          if terms.withLock({ $0.count }) == 2 { return }
          while !Task.isCancelled { try? await Task.sleep(for: .seconds(60)) }
        }
      }
    }
    #expect(await eventually { terms.withLock { $0.count } == 1 })
    // Another led, and gave the lease back: nobody holds it when its first leader looks again.
    _ = try await api.modify(.leases, lease) { current in
      var changed = current
      changed.set("", at: "spec", "holderIdentity")
      changed.set(7, at: "spec", "leaseTransitions")
      return changed
    }
    #expect(await eventually { terms.withLock { $0.count } == 2 })
    try await task.value
    let found = terms.withLock { $0 }
    #expect(found.first == LeaderTerm(lease: lease, holder: "a", transitions: 0))
    #expect(found.last??.transitions ?? 0 > 7)
  }
}

extension World {
  fileprivate func others(than leader: Int) -> Bool {
    leaderships.indices.contains { $0 != leader && leaderships[$0].isHeld }
  }
}

/// Updates that wait for as long as they are told to, or until they are cancelled.
private struct HangingAPI: ElectionAPI {
  let api: MemoryClusterAPI
  let hangs: @Sendable () -> Bool

  func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try await api.get(resource, namespace: namespace, name: name)
  }
  func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws -> JSON {
    try await api.create(resource, object, options: options)
  }
  func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    while hangs() { try await Task.sleep(for: .milliseconds(5)) }
    return try await api.update(resource, object, subresource: subresource, options: options)
  }
}

// T-A12 with programs: two `weft server` over one etcd, with an authority of each one's own, which its controllers write into every
// namespace: by that each write says who made it. The leader is killed, or stopped for longer than its lease lasts and let go on,
// while namespaces and ReplicaSets are made. Afterwards the store's whole history is read: nobody wrote after somebody else's
// name stood in the lease, not even what was under way when a process was stopped (decision 0037).
import ClusterClient
import ClusterObjects
import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import Foundation
import StoreLab
import Synchronization
import Testing

@Suite(.serialized, .timeLimit(.minutes(Soak.isLong ? 60 : 10))) struct LeaderKillTests {
  private static let lease = ObjectKey("kube-system", "kube-controller-manager")
  /// Of a lease: short ones, so that the test is; the long form waits for those that servers have.
  private static let seconds: (lease: Int, renew: Int, retry: String) =
    Soak.isLong ? (15, 10, "2s") : (4, 3, "500ms")
  /// What may be lost between a leader's death and when this test has seen another lead.
  private static let slack = Duration.seconds(Soak.isLong ? 3 : 50)

  private final class Pair: Sendable {
    let servers: [KilledServer]
    /// Which server a candidate's name belongs to. Each start has another.
    private let names = Mutex<[String: Int]>([:])
    let made = Mutex<[String]>([])
    /// When who leads now says that it took the lease, in seconds since 1970.
    let acquired = Mutex<Double>(0)
    private let isOver = Atomic(false)

    init(folder: String, store: String) throws {
      let times = LeaderKillTests.seconds
      servers = try ["a", "b"].map { name in
        try KilledServer(
          folder: "\(folder)/\(name)", store: store,
          flags: [
            "--leader-elect-lease-duration", "\(times.lease)s", "--leader-elect-renew-deadline",
            "\(times.renew)s", "--leader-elect-retry-period", times.retry,
          ])
      }
    }

    func owner(of name: String) -> Int? { names.withLock { $0[name] } }

    /// What a server says of itself under this name and label; nil of one that does not answer.
    private func metric(_ number: Int, _ name: String) async -> Double? {
      guard let client = try? servers[number].client(), let answer = try? await client.raw("/metrics") else {
        return nil
      }
      let lines = String(decoding: answer.body, as: UTF8.self).split(separator: "\n")
      return lines.first { $0.hasPrefix(name + " ") }.flatMap { Double($0.dropFirst(name.utf8.count + 1)) }
    }

    /// Whether a server believes that it leads. One that does not answer does not say so.
    func leads(_ number: Int) async -> Bool {
      await metric(number, "leader_election_master_status{name=\"kube-controller-manager\"}") == 1
    }

    /// Writes that the store refused this server since it was started, because another led.
    func refused(_ number: Int) async -> Int {
      let name = "leases/kube-system/kube-controller-manager"
      return Int(await metric(number, "weft_leader_refused_writes_total{name=\"\(name)\"}") ?? 0)
    }

    /// Waits until `number` leads, and notes under which name. Asked over one connection, and for its metrics only once the lease
    /// is no longer the other's: looking must not take the machine from who is looked at.
    func waitForLead(of number: Int) async throws -> Bool {
      let client = try servers[number].client()
      return try await eventually {
        guard
          let lease = try? await client.get(
            .leases, namespace: LeaderKillTests.lease.namespace, name: LeaderKillTests.lease.name),
          let holder = lease.spec["holderIdentity"]?.string, !holder.isEmpty,
          owner(of: holder) ?? number == number
        else { return false }
        // Read once more: the name is that of who leads now.
        guard await leads(number),
          let again = try? await client.get(
            .leases, namespace: LeaderKillTests.lease.namespace, name: LeaderKillTests.lease.name),
          again.spec["holderIdentity"]?.string == holder
        else { return false }
        names.withLock { $0[holder] = number }
        acquired.withLock { $0 = LeaderKillTests.time(lease, "acquireTime") }
        return true
      }
    }

    func leader() async -> Int? {
      for number in servers.indices where await leads(number) { return number }
      return nil
    }

    /// Makes namespaces with a ReplicaSet each, by whichever server answers, until told to end.
    func work() async {
      var number = 0
      while !isOver.load(ordering: .relaxed) {
        let name = "n-\(number)"
        number += 1
        for server in [number, number + 1] {
          guard let client = try? servers[server % 2].client(), await Self.make(name, client) else {
            continue
          }
          made.withLock { $0.append(name) }
          break
        }
        try? await Task.sleep(for: .milliseconds(100))
      }
    }

    func end() { isOver.store(true, ordering: .relaxed) }

    private static func make(_ name: String, _ client: RemoteClient) async -> Bool {
      let namespace: JSON = ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": JSON(name)]]
      let set: JSON = [
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": ["namespace": JSON(name), "name": "r"],
        "spec": [
          "replicas": 2, "selector": ["matchLabels": ["app": "r"]],
          "template": [
            "metadata": ["labels": ["app": "r"]],
            "spec": ["containers": [["name": "c", "image": "registry.k8s.io/pause:3.6"]]],
          ],
        ],
      ]
      let asked = Task {
        _ = try await client.create(.namespaces, namespace, options: WriteOptions())
        _ = try await client.create(.replicaSets, set, options: WriteOptions())
      }
      // One that is stopped never answers.
      let limit = Task {
        try await Task.sleep(for: .seconds(2))
        asked.cancel()
      }
      defer { limit.cancel() }
      return (try? await asked.value) != nil
    }
  }

  fileprivate static func time(_ lease: JSON, _ field: String) -> Double {
    guard let time = lease.spec[field]?.string.flatMap({ Timestamp.parse($0) }) else { return 0 }
    return Double(time.seconds) + Double(time.nanoseconds) / 1e9
  }

  /// Where a takeover's time went: from the last renewal to the fault, from there to the new holder's write, and until this test saw it.
  private struct Parts: CustomStringConvertible {
    var renewed: Double
    var fault: Double
    var acquired: Double
    var seen: Double
    var description: String {
      func text(_ seconds: Double) -> String { String(Double(Int(seconds * 10)) / 10) }
      return "\(text(fault - renewed))+\(text(acquired - fault))+\(text(seen - acquired))"
    }
  }

  @Test func `of two servers whose leader is killed or stopped only one writes, and what was wished is done`()
    async throws
  {
    try await withScratch { folder in
      let etcd = try EtcdServer(.newer)
      defer { etcd.remove() }
      let pair = try Pair(folder: folder, store: "etcd:\(etcd.endpoint)")
      defer { for server in pair.servers { server.kill() } }
      for server in pair.servers { try await server.start() }
      // From the beginning: servers forget what is old after a while.
      let store = try await etcd.open(prefix: "/registry", root: "/registry")
      let history = try await store.watch(prefix: "/registry/", after: 0, queueMax: 1_000_000)
      defer { history.cancel() }
      #expect(try await eventually { await pair.leader() != nil })
      var leader = try #require(await pair.leader())
      #expect(try await pair.waitForLead(of: leader))
      let work = Task { await pair.work() }
      defer { work.cancel() }
      var taken: [Duration] = []
      var parts: [Parts] = []
      var refused = 0
      for round in 0..<Soak.rounds(4, long: 20) {
        let before = pair.made.withLock { $0.count }
        #expect(try await eventually { pair.made.withLock { $0.count } >= before + 5 })
        let survivor = try pair.servers[1 - leader].client()
        let (began, fault) = (ContinuousClock.now, Date().timeIntervalSince1970)
        if round % 2 == 0 { pair.servers[leader].kill() } else { pair.servers[leader].signal(SIGSTOP) }
        let last = try? await survivor.get(.leases, namespace: Self.lease.namespace, name: Self.lease.name)
        let isTaken = try await pair.waitForLead(of: 1 - leader)
        taken.append(ContinuousClock.now - began)
        parts.append(
          Parts(
            renewed: last.map { Self.time($0, "renewTime") } ?? 0, fault: fault,
            acquired: pair.acquired.withLock { $0 }, seen: Date().timeIntervalSince1970))
        #expect(isTaken, "round \(round): nobody leads")
        if !isTaken { break }
        if round % 2 == 0 {
          try await pair.servers[leader].start()
        } else {
          pair.servers[leader].signal(SIGCONT)
          // It learns that it leads no longer.
          #expect(try await eventually { await !pair.leads(leader) })
          refused += await pair.refused(leader)
        }
        leader = 1 - leader
      }
      pair.end()
      await work.value
      let promise = Duration.seconds(Self.seconds.lease) + .seconds(2)
      #expect(taken.allSatisfy { $0 <= promise + Self.slack }, "\(taken), of which \(parts)")
      // By what leaders say themselves: this test's own look at them costs up to seconds on a busy machine.
      let held = parts.map { $0.acquired - $0.fault }
      #expect(!Soak.isLong || held.allSatisfy { $0 <= Double(Self.seconds.lease) + 2 }, "\(parts)")
      try await converge(pair, leader)
      try await judge(pair, history, until: try await store.latestRevision(), takeovers: taken.count)
      await store.shutdown()
      Soak.report(
        "two servers: \(taken.count) takeovers after \(taken) (renewed+held+seen: \(parts)), \(refused) late writes refused"
      )
    }
  }

  private func authority(_ pair: Pair, _ number: Int) throws -> String {
    try String(contentsOfFile: "\(pair.servers[number].folder)/certificates/ca.crt", encoding: .utf8)
  }

  /// Everything that was asked for is there, once, and by who leads at last.
  private func converge(_ pair: Pair, _ leader: Int) async throws {
    let client = try pair.servers[leader].client()
    let authority = try authority(pair, leader)
    let made = pair.made.withLock { $0 }
    #expect(made.count >= 10)
    let isDone = try await eventually {
      let maps = try await client.list(.configMaps, namespace: "", options: ListOptions()).items
      let accounts = try await client.list(.serviceAccounts, namespace: "", options: ListOptions()).items
      let pods = try await client.list(.pods, namespace: "", options: ListOptions()).items
      let published = Set(
        maps.filter { $0.name == "kube-root-ca.crt" && $0.at("data", "ca.crt")?.string == authority }.map(
          \.namespace))
      let accounted = Set(accounts.filter { $0.name == "default" }.map(\.namespace))
      let counts = Dictionary(grouping: pods.filter { !$0.isTerminating }, by: \.namespace)
      return made.allSatisfy {
        published.contains($0) && accounted.contains($0) && counts[$0]?.count == 2
      }
    }
    #expect(isDone, "after a minute something that was asked for is not there, or twice")
  }

  /// The store's history, in its order.
  private func judge(_ pair: Pair, _ history: StoreWatch, until head: Int64, takeovers: Int) async throws {
    let authorities = [try authority(pair, 0), try authority(pair, 1)]
    #expect(authorities[0] != authorities[1])
    var holder: String?
    // Names of leaders that this test did not see lead, such as one for a moment on a slow machine: each is of one server too.
    var others: [String: Int] = [:]
    var (changes, writes) = (0, [0, 0])
    var late: [String] = []
    reading: while let events = try await history.next() {
      for event in events {
        if event.revision >= head { break reading }
        if event.kind == .delete { continue }
        if event.key == "/registry/leases/\(Self.lease.namespace)/\(Self.lease.name)" {
          let now = try JSON(parsing: event.value).spec["holderIdentity"]?.string
          if now != holder { changes += 1 }
          holder = now
        } else if event.key.hasPrefix("/registry/configmaps/"), event.key.hasSuffix("/kube-root-ca.crt") {
          let text = try JSON(parsing: event.value).at("data", "ca.crt")?.string
          let writer = try #require(authorities.firstIndex { $0 == text }, "\(event.key) is nobody's")
          writes[writer] += 1
          if let holder, !holder.isEmpty, pair.owner(of: holder) == nil, others[holder] == nil {
            others[holder] = writer
          }
          let leader = holder.flatMap { pair.owner(of: $0) ?? others[$0] }
          if leader != writer {
            late.append("revision \(event.revision): server \(writer) wrote \(event.key)")
          }
        }
      }
    }
    #expect(
      changes > takeovers && writes.allSatisfy { $0 > 10 },
      "\(changes) changes of the lease, \(writes) writes")
    #expect(late.isEmpty, "\(late)")
    Soak.report("two servers: \(writes) writes told by whom, \(changes) names in the lease")
  }
}

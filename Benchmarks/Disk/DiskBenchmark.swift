// A day of a cluster of a hundred nodes, as fast as the store takes it: leases, statuses, events, pods that come and go. Then what
// lies on the disk, beside what lives.
//
//   DiskBenchmark FOLDER [HOURS]

import ClusterStore
import Diagnostics
import Glibc
import Synchronization

func say(_ text: String) {
  var text = text + "\n"
  _ = text.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

/// Kilobytes that a file takes on its file system; 0 when there is none.
func allocated(_ path: String) -> Int {
  var found = stat()
  return stat(path, &found) == 0 ? Int(found.st_blocks) / 2 : 0
}

/// Seconds since 1970 in the simulated day.
let clock = Atomic<Int64>(1_780_000_000)

/// Keys with the revision they were last written at.
struct Live {
  var revisions: [String: Revision] = [:]
}

@main struct DiskBenchmark {
  static func main() async throws {
    let words = CommandLine.arguments
    guard words.count > 1 else {
      say("DiskBenchmark FOLDER [HOURS]")
      exit(2)
    }
    let hours = words.count > 2 ? Int(words[2]) ?? 24 : 24
    var settings = SQLiteStoreSettings(folder: words[1])
    settings.now = { clock.load(ordering: .relaxed) }
    let store = try SQLiteStore(settings: settings, metrics: Metrics())
    var day = Day(store: store)
    let start = ContinuousClock.now
    try await day.begin()
    for minute in 0..<hours * 60 {
      try await day.minute(minute)
      if minute % 240 == 239 {
        let (disk, live) = try await day.sizes(words[1])
        say("after \((minute + 1) / 60) h: \(disk / 1024) MB on the disk, \(live / 1024) MB live")
      }
    }
    let (disk, live) = try await day.sizes(words[1])
    let ratio = (Double(disk) / Double(live) * 100).rounded() / 100
    await store.shutdown()
    let closed = allocated(words[1] + "/store.db")
    let seconds = Int((ContinuousClock.now - start) / .seconds(1))
    say(
      "\(day.writes) writes in \(seconds) s; \(disk) kB on the disk while running, \(closed) kB when stopped; \(live) kB live"
    )
    say(
      "\(ratio <= 2 ? "pass" : "FAIL")  disk against live data after \(hours) hours: \(ratio) times (at most 2)"
    )
    exit(ratio <= 2 ? 0 : 1)
  }
}

struct Day {
  let store: SQLiteStore
  private let nodes = 100
  private let pods = 5000
  private(set) var writes = 0
  private var live = Live()
  private var nextPod = 0
  private var oldestPod = 0
  private var past: [Revision] = []

  init(store: SQLiteStore) { self.store = store }

  private func value(_ bytes: Int, _ seed: Int) -> [UInt8] {
    (0..<bytes).map { UInt8(truncatingIfNeeded: 32 + ($0 &* 31 &+ seed) % 90) }
  }

  /// Writes all at once, as many clients would.
  private mutating func put(_ keys: [(key: String, bytes: Int)]) async throws {
    let store = store
    let known = keys.map { ($0.key, $0.bytes, live.revisions[$0.key]) }
    let seed = writes
    let written = try await withThrowingTaskGroup(of: Placed.self) { group in
      for (key, bytes, revision) in known {
        let value = value(bytes, seed)
        group.addTask { try await Self.place(store, key, value, after: revision) }
      }
      var all: [Placed] = []
      for try await one in group { all.append(one) }
      return all
    }
    for one in written { live.revisions[one.key] = one.revision }
    writes += written.count
  }

  private struct Placed: Sendable {
    var key: String
    var revision: Revision
  }

  /// Apart from the group's closure: with typed errors inside that closure, Swift 6.3 gives release builds whose results are
  /// not there.
  private static func place(
    _ store: SQLiteStore, _ key: String, _ value: [UInt8], after revision: Revision?
  ) async throws -> Placed {
    if let revision {
      do throws(StoreError) {
        return Placed(key: key, revision: try await store.update(key, value, expecting: revision))
      } catch {
        guard case .notFound = error else { throw error }
      }
    }
    return Placed(key: key, revision: try await store.create(key, value))
  }

  private func pod(_ number: Int) -> String { "/registry/pods/demo/web-\(number)" }

  mutating func begin() async throws {
    for from in stride(from: 0, to: pods, by: 250) {
      try await put((from..<from + 250).map { (pod($0), 3000) })
    }
    nextPod = pods
    try await put((0..<nodes).map { ("/registry/nodes/node-\($0)", 6000) })
  }

  /// Six heartbeats of each node, twenty events, eight pods replaced with three statuses each; every fifth minute all nodes'
  /// statuses. Then what the server does each minute.
  mutating func minute(_ minute: Int) async throws {
    for _ in 0..<6 {
      clock.add(10, ordering: .relaxed)
      try await put((0..<nodes).map { ("/registry/leases/kube-node-lease/node-\($0)", 500) })
    }
    try await put((0..<20).map { ("/registry/events/demo/web.\(minute).\($0)", 900) })
    if minute % 5 == 0 { try await put((0..<nodes).map { ("/registry/nodes/node-\($0)", 6000) }) }
    let new = (nextPod..<nextPod + 8).map { (pod($0), 3000) }
    for _ in 0..<4 { try await put(new) }
    nextPod += 8
    for number in oldestPod..<oldestPod + 8 {
      if let revision = live.revisions.removeValue(forKey: pod(number)) {
        _ = try await store.delete(pod(number), expecting: revision)
        writes += 1
      }
    }
    oldestPod += 8
    // Events are told from each other by their names; nobody writes them again.
    live.revisions = live.revisions.filter { !$0.key.hasPrefix("/registry/events/") }
    store.expire()
    past.append(store.currentRevision)
    if past.count > 5 { try await store.compact(to: past.removeFirst()) }
  }

  func sizes(_ folder: String) async throws -> (disk: Int, live: Int) {
    let page = try await store.list(prefix: "/registry/", limit: 0, after: nil, at: nil)
    let bytes = page.values.reduce(0) { $0 + $1.key.utf8.count + $1.value.count }
    let disk = ["store.db", "store.db-wal", "store.db-shm"].reduce(0) { $0 + allocated("\(folder)/\($1)") }
    return (disk, bytes / 1024)
  }
}

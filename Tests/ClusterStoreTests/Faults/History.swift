// What a writing program said before it died, and whether a store holds what it was promised to hold.

import ClusterStore
import Diagnostics
import Glibc
import StoreLab
import Testing

/// The lines of `StoreFaults`, read.
struct History {
  struct Write {
    var kind: String
    var key: String
    var tag: String
    var revision: Revision
  }
  var opened: [Revision] = []
  var acknowledged: [Write] = []
  var compacted: Revision = 0
  var failures: [String] = []
  /// What was begun on each key after its last acknowledged write: refused or cut off, it may be there or not.
  private var begun: [String: [Write]] = [:]
  private(set) var last: [String: Write] = [:]

  /// Reads what a program said. An acknowledgement that starts `promised` bytes into the text or later is unsure: `SmallDisk`
  /// cannot stop the clock, and ext4 answers 0 to a sync that was under way while it was shut down.
  mutating func read(_ text: String, promised: Int = .max) {
    var offset = 0
    // A last line cut short says nothing.
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
      let words = line.split(separator: " ").map(String.init)
      defer { offset += line.utf8.count + 1 }
      if offset >= promised, words.first == "A" || words.first == "C" { continue }
      switch words.first {
      case "R": if words.count == 2 { opened.append(Revision(words[1]) ?? -1) }
      case "B" where words.count == 4:
        begun[words[2], default: []].append(Write(kind: words[1], key: words[2], tag: words[3], revision: 0))
      case "A" where words.count == 5:
        let write = Write(kind: words[1], key: words[2], tag: words[3], revision: Revision(words[4]) ?? -1)
        acknowledged.append(write)
        last[write.key] = write
        begun[write.key] = nil
      case "C" where words.count == 2: compacted = max(compacted, Revision(words[1]) ?? 0)
      case "F": failures.append(words.dropFirst().joined(separator: " "))
      default: break
      }
    }
  }

  var newest: Revision { acknowledged.map(\.revision).max() ?? 0 }

  /// Holds the store against the history: every acknowledged write is there, nothing that was never sent is there, revisions
  /// went on, and a watch from the middle tells every acknowledged change after it.
  mutating func check(_ store: any Store, _ label: String) async throws {
    let page = try await store.list(prefix: "/k/", limit: 0, after: nil, at: nil)
    #expect(page.revision >= newest, "\(label): the revision went back from \(newest) to \(page.revision)")
    #expect(page.revision >= opened.max() ?? 0, "\(label)")
    #expect(page.revision >= compacted, "\(label)")
    let found = Dictionary(uniqueKeysWithValues: page.values.map { ($0.key, $0) })
    for key in Set(last.keys).union(begun.keys).union(found.keys) {
      let tag = found[key].map { String(decoding: $0.value.prefix { $0 != 46 }, as: UTF8.self) }
      var allowed: [String?] = [last[key].flatMap { $0.kind == "delete" ? nil : $0.tag }]
      for begun in begun[key] ?? [] { allowed.append(begun.kind == "delete" ? nil : begun.tag) }
      #expect(allowed.contains(tag), "\(label): \(key) holds \(tag ?? "nothing"), promised \(allowed)")
      // What was begun and is there counts from now on.
      if let value = found[key], let tag {
        last[key] = Write(kind: "update", key: key, tag: tag, revision: value.revision)
      } else {
        last[key] = nil
      }
    }
    begun = [:]
    var middle = max(compacted, newest - 200)
    // What was not found was told above; nobody would ever tell it to a watch.
    guard newest > middle, page.revision >= newest else { return }
    let watch: StoreWatch
    do throws(StoreError) {
      watch = try await store.watch(prefix: "/k/", after: middle, queueMax: 100_000)
    } catch {
      // A compaction that was not acknowledged either.
      guard case .compacted(let oldest) = error else { throw error }
      middle = oldest
      if newest <= middle { return }
      watch = try await store.watch(prefix: "/k/", after: middle, queueMax: 100_000)
    }
    var told: [Revision: StoreEvent] = [:]
    var latest: Revision = middle
    let waiting = Waiting("\(label): revision \(newest) on a watch from \(middle)")
    while latest < newest, let events = try await waiting.next(watch) {
      for event in events {
        #expect(event.revision > latest, "\(label): events out of order")
        latest = event.revision
        told[event.revision] = event
      }
    }
    watch.cancel()
    for write in acknowledged where write.revision > middle {
      let event = told[write.revision]
      #expect(event?.key == write.key, "\(label): revision \(write.revision) is not told")
      #expect(event.map { "\($0.kind)" } == write.kind, "\(label): revision \(write.revision)")
    }
  }
}

enum Faults {
  /// The helper program, beside this test bundle.
  static let program: String = {
    var path = [UInt8](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &path, path.count)
    let own = String(decoding: path.prefix(max(0, count)), as: UTF8.self)
    return own.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
      + "/StoreFaults"
  }()

  static func open(_ folder: String) throws(WeftError) -> SQLiteStore {
    try SQLiteStore(settings: SQLiteStoreSettings(folder: folder), metrics: Metrics())
  }

  /// Reads the history and holds the store in `folder` against it.
  static func verify(
    _ folder: String, _ history: inout History, output: String, promised: Int = .max, _ label: String
  ) async throws {
    history.read(try Program.contents(of: output), promised: promised)
    let store = try open(folder)
    do {
      try await history.check(store, label)
    } catch {
      await store.shutdown()
      throw error
    }
    await store.shutdown()
  }

  /// What the program said so far.
  static func said(_ path: String) -> String { (try? Program.contents(of: path)) ?? "" }

  static func pause(_ milliseconds: Int) async throws {
    try await Task.sleep(for: .milliseconds(milliseconds))
  }
}

// Writes and says so. See README.md.

import ClusterStore
import Diagnostics
import Glibc

func say(_ line: String, to descriptor: Int32 = 1) {
  var line = line + "\n"
  // One call a line: lines of several threads do not mix, and what was said survives our death.
  _ = line.withUTF8 { write(descriptor, $0.baseAddress, $0.count) }
}

struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}

func writeOn(_ store: any Store, writer: Int, seed: UInt64, count: Int, pause: Int, reads: Bool) async {
  var random = SplitMix(state: seed &* 1000 &+ UInt64(writer))
  var live: [String: Revision] = [:]
  if let page = try? await store.list(prefix: "/k/\(writer)/", limit: 0, after: nil, at: nil) {
    for value in page.values { live[value.key] = value.revision }
  }
  var number = 0
  while count == 0 || number < count {
    number += 1
    let key = "/k/\(writer)/\(Int.random(in: 0..<6, using: &random))"
    let tag = "\(seed)-\(writer)-\(number)"
    let value = Array(tag.utf8) + [UInt8](repeating: 46, count: Int.random(in: 0..<1500, using: &random))
    do throws(StoreError) {
      let revision: Revision
      if let old = live[key] {
        if Int.random(in: 0..<5, using: &random) == 0 {
          say("B delete \(key) -")
          revision = try await store.delete(key, expecting: old)
          live[key] = nil
          say("A delete \(key) - \(revision)")
        } else {
          say("B update \(key) \(tag)")
          revision = try await store.update(key, value, expecting: old)
          live[key] = revision
          say("A update \(key) \(tag) \(revision)")
        }
      } else {
        say("B create \(key) \(tag)")
        revision = try await store.create(key, value)
        live[key] = revision
        say("A create \(key) \(tag) \(revision)")
      }
    } catch {
      switch error {
      case .failed(let cause):
        say("F \(cause.code)")
        if reads { await readOn(store, writer: writer) }
      case .conflict(let current), .exists(let current): live[key] = current.revision
      case .notFound: live[key] = nil
      default: say("F \(error)")
      }
    }
    if pause > 0 { try? await Task.sleep(for: .milliseconds(pause)) }
  }
}

/// What a refused writer still reads.
func readOn(_ store: any Store, writer: Int) async {
  do throws(StoreError) {
    let page = try await store.list(prefix: "/k/\(writer)/", limit: 0, after: nil, at: nil)
    say("L \(page.values.count)")
  } catch {
    say("X \(error)")
  }
}

let words = Array(CommandLine.arguments.dropFirst())
guard words.count >= 5, words[0] == "load", let seed = UInt64(words[2]), let writers = Int(words[3]),
  let count = Int(words[4])
else {
  say(
    "StoreFaults load FOLDER SEED WRITERS COUNT [compact] [read] [abort] [pause=MS] [checkpoint=PAGES]", to: 2
  )
  exit(2)
}
func number(_ name: String) -> Int? {
  words.first { $0.hasPrefix(name + "=") }.flatMap { Int($0.dropFirst(name.utf8.count + 1)) }
}
let pause = number("pause") ?? 0
let store: SQLiteStore
do {
  var settings = SQLiteStoreSettings(folder: words[1])
  if let pages = number("checkpoint") { settings.checkpointPages = pages }
  store = try SQLiteStore(settings: settings, metrics: Metrics())
} catch {
  say("\(error)", to: 2)
  exit(9)
}
say("R \(store.currentRevision)")
await withTaskGroup(of: Void.self) { group in
  for writer in 0..<writers {
    group.addTask {
      await writeOn(
        store, writer: writer, seed: seed, count: count, pause: pause, reads: words.contains("read"))
    }
  }
  if words.contains("compact") {
    group.addTask {
      while count == 0 || !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(7))
        let mark = store.currentRevision - 50
        if mark > 0 {
          try? await store.compact(to: mark)
          say("C \(mark)")
        }
      }
    }
  }
  for _ in 0..<writers { await group.next() }
  group.cancelAll()
}
if words.contains("abort") { _exit(0) }
await store.shutdown()

// Durable creates of 1 KiB values: our default store, etcd, and the disk itself, in turn on one file system.
//
//   StoreBenchmark FOLDER ETCD-URL ETCD-PID [SECONDS [ROUNDS]]

import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import Glibc

func say(_ text: String) {
  var text = text + "\n"
  _ = text.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

/// Processor seconds of this process, or of another.
func processorSeconds(of pid: pid_t? = nil) -> Double {
  guard let pid else {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
  guard let file = fopen("/proc/\(pid)/stat", "r") else { return 0 }
  defer { fclose(file) }
  var line = [UInt8](repeating: 0, count: 1024)
  let count = fread(&line, 1, line.count, file)
  let fields =
    String(decoding: line[..<count], as: UTF8.self).split(separator: ")").last?.split(separator: " ") ?? []
  guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
  return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
}

struct Measured {
  var perSecond = 0.0
  var p50 = 0.0
  var p99 = 0.0
  var ownMicroseconds = 0.0
  var otherMicroseconds = 0.0
}

/// `clients` at once, each waiting for its write before the next.
func measure(_ store: any Store, clients: Int, seconds: Double, name: String, other: pid_t?) async throws
  -> Measured
{
  let value = [UInt8](repeating: 97, count: 1024)
  let start = ContinuousClock.now
  let end = start + .seconds(seconds)
  let own = processorSeconds()
  let others = other.map { processorSeconds(of: $0) } ?? 0
  let took = try await withThrowingTaskGroup(of: [Double].self) { group in
    for client in 0..<clients {
      group.addTask {
        var took: [Double] = []
        var number = 0
        while ContinuousClock.now < end {
          let before = ContinuousClock.now
          _ = try await store.create("/registry/configmaps/bench/\(name)-\(client)-\(number)", value)
          took.append((ContinuousClock.now - before) / .milliseconds(1))
          number += 1
        }
        return took
      }
    }
    var all: [Double] = []
    for try await part in group { all += part }
    return all.sorted()
  }
  var result = Measured()
  let count = Double(took.count)
  result.perSecond = count / ((ContinuousClock.now - start) / .seconds(1))
  result.p50 = took[took.count / 2]
  result.p99 = took[Int(count * 0.99)]
  result.ownMicroseconds = (processorSeconds() - own) * 1e6 / count
  if let other { result.otherMicroseconds = (processorSeconds(of: other) - others) * 1e6 / count }
  return result
}

/// Appends of 1 KiB, each synced: what the disk gives to one writer at this moment.
func control(_ folder: String, seconds: Double) -> Double {
  let path = folder + "/control"
  let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
  defer {
    close(file)
    unlink(path)
  }
  let value = [UInt8](repeating: 97, count: 1024)
  let start = ContinuousClock.now
  var count = 0.0
  while ContinuousClock.now - start < .seconds(seconds) {
    guard write(file, value, value.count) == value.count, fdatasync(file) == 0 else { return 0 }
    count += 1
  }
  return count / ((ContinuousClock.now - start) / .seconds(1))
}

func rounded(_ number: Double) -> String { "\((number * 100).rounded() / 100)" }
func show(_ name: String, _ found: Measured) {
  say(
    "  \(name): \(Int(found.perSecond))/s, p50 \(rounded(found.p50)) ms, p99 \(rounded(found.p99)) ms, "
      + "processor \(Int(found.ownMicroseconds)) us a write here, \(Int(found.otherMicroseconds)) us in etcd")
}

let words = CommandLine.arguments
guard words.count >= 4, let pid = pid_t(words[3]) else {
  say("StoreBenchmark FOLDER ETCD-URL ETCD-PID [SECONDS [ROUNDS]]")
  exit(2)
}
let seconds = words.count > 4 ? Double(words[4]) ?? 2 : 2
let rounds = words.count > 5 ? Int(words[5]) ?? 3 : 3
let sqlite = try SQLiteStore(settings: SQLiteStoreSettings(folder: words[1] + "/sqlite"), metrics: Metrics())
let etcd = try await EtcdStore(settings: EtcdStoreSettings(store: "etcd:" + words[2]), metrics: Metrics())
var ratios: [Int: [Double]] = [:]
for round in 0..<rounds {
  for clients in [1, 16, 64] {
    let disk = control(words[1], seconds: min(seconds, 1))
    let ours = try await measure(
      sqlite, clients: clients, seconds: seconds, name: "\(round)-\(clients)", other: nil)
    let theirs = try await measure(
      etcd, clients: clients, seconds: seconds, name: "\(round)-\(clients)", other: pid)
    let ratio = ours.perSecond / theirs.perSecond
    ratios[clients, default: []].append(ratio)
    say(
      "round \(round + 1), \(clients) clients; the disk alone \(Int(disk)) syncs/s; ratio \(rounded(ratio))")
    show("sqlite", ours)
    show("etcd  ", theirs)
  }
}
await sqlite.shutdown()
await etcd.shutdown()
var isGood = true
for clients in [1, 16, 64] {
  let all = (ratios[clients] ?? []).sorted()
  let median = all[all.count / 2]
  if median < 1.5 { isGood = false }
  say("\(clients) clients: \(rounded(median)) times etcd (median of \(all.count)); mark 1.5")
}
exit(isGood ? 0 : 1)

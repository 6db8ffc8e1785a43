// The service proxy's rules beside rules of kube-proxy's structure. Each command works in the network namespace it is started
// in and prints `key value` lines; run.sh puts them in turn, compares them with the bars and says pass or FAIL.
//
//   ProxyBenchmark ours N M        load, changes of one endpoint, restart with nothing changed
//   ProxyBenchmark peer N M        the other structure through nft: load, changes of one endpoint
//   ProxyBenchmark peer-restart N M  the other structure loaded again as it is, as its owner does at a start
//   ProxyBenchmark connect N COUNT connects to random ClusterIPs among N, as they are in force

import Addresses
import ClusterObjects
import ClusterView
import Glibc
import KernelNftables
import Proxy
import Ruleset

func say(_ key: String, _ value: Double) {
  var text = "\(key) \((value * 1000).rounded() / 1000)\n"
  _ = text.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

func fail(_ text: String) -> Never {
  var text = text + "\n"
  _ = text.withUTF8 { write(2, $0.baseAddress, $0.count) }
  exit(1)
}

/// Processor milliseconds of this process, the kernel's work for it with them.
func processorMilliseconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
  return Double(time.tv_sec) * 1000 + Double(time.tv_nsec) / 1e6
}

func wallMilliseconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) * 1000 + Double(time.tv_nsec) / 1e6
}

/// Peak resident memory of this process, in MB.
func peakMemory() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return Double(usage.ru_maxrss) / 1024
}

func percentile(_ values: [Double], _ share: Double) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
}

let configuration = ProxyConfiguration(
  nodeName: "n1", families: [.v4], clusterNetworks: [IPPrefix("10.0.0.0/8")!])

/// Bytes and operations of each kind of change among so many Services, in their order.
func changes(
  _ view: inout ClusterView, _ planner: inout ProxyPlanner, _ syncer: RulesetSyncer, _ index: Int,
  _ count: Int
) throws -> [(operations: Int, bytes: Int)] {
  let objects: [JSON?] = [
    Layout.slice(index, count: count, shifted: 1), Layout.slice(index, count: count - 1),
    Layout.slice(index, count: count), nil, Layout.serviceObject(index),
  ]
  return try objects.map { object in
    if let object {
      view.apply(object)
    } else {
      view.remove(kind: "Service", ObjectKey("ns\(index % 100)", "svc\(index)"))
    }
    let report = try syncer.sync([], deltas: planner.apply(view.takeChanges()).tables)
    return (report.operations, report.netlinkBytes)
  }
}

func ours(_ services: Int, _ endpoints: Int) throws {
  var view = Layout.view(services, endpoints)
  say("memory_view_mb", peakMemory())
  let syncer = try RulesetSyncer(owned: ProxyTables.all)
  let (startWall, startCPU) = (wallMilliseconds(), processorMilliseconds())
  var planner = ProxyPlanner(configuration)
  _ = planner.apply(view.takeChanges())
  let (plannedWall, plannedCPU) = (wallMilliseconds(), processorMilliseconds())
  let load = try syncer.sync(planner.tables)
  say("load_ms", wallMilliseconds() - startWall)
  say("load_cpu_ms", processorMilliseconds() - startCPU)
  say("plan_ms", plannedWall - startWall)
  say("plan_cpu_ms", plannedCPU - startCPU)
  say("commit_ms", load.commitMilliseconds)
  say("operations", Double(load.operations))
  say("bytes", Double(load.netlinkBytes))
  say("memory_mb", peakMemory())
  guard load.quarantined.isEmpty, load.operations >= services * (endpoints + 2) else {
    fail("not everything is in force")
  }
  var times: [Double] = []
  let before = processorMilliseconds()
  for round in 1...500 {
    let index = round * 7919 % services
    let slice = Layout.slice(index, count: endpoints, shifted: round)
    let start = wallMilliseconds()
    view.apply(slice)
    let report = try syncer.sync([], deltas: planner.apply(view.takeChanges()).tables)
    times.append(wallMilliseconds() - start)
    guard report.operations > 0 else { fail("a change sent nothing") }
  }
  say("change_p50_ms", percentile(times, 0.5))
  say("change_p99_ms", percentile(times, 0.99))
  say("change_cpu_ms", (processorMilliseconds() - before) / 500)
  for round in 1...500 { view.apply(Layout.slice(round * 7919 % services, count: endpoints)) }
  _ = try syncer.sync([], deltas: planner.apply(view.takeChanges()).tables)
  let costs = try changes(&view, &planner, syncer, services / 2, endpoints)
  for (index, cost) in costs.enumerated() {
    say("change\(index)_operations", Double(cost.operations))
    say("change\(index)_bytes", Double(cost.bytes))
  }
  // A new process with the same objects.
  let whole = view.allChanges
  let (restartWall, restartCPU) = (wallMilliseconds(), processorMilliseconds())
  let restarted = try RulesetSyncer(owned: ProxyTables.all)
  guard let table = try restarted.observed().tables[ProxyTables.id(.v4)] else { fail("no table in force") }
  var again = ProxyPlanner(
    configuration, previous: [.v4: ProxyAllocation(recovering: table, family: .v4)])
  _ = again.apply(whole)
  let report = try restarted.sync(again.tables)
  say("restart_ms", wallMilliseconds() - restartWall)
  say("restart_cpu_ms", processorMilliseconds() - restartCPU)
  say("restart_bytes", Double(report.netlinkBytes))
}

/// Runs nft with a file and says what it cost.
func nft(_ text: String, _ name: String) {
  let path = "/tmp/weft-bench-\(getpid()).nft"
  defer { unlink(path) }
  guard let file = fopen(path, "w") else { fail("cannot write \(path)") }
  fputs(text, file)
  fclose(file)
  let start = wallMilliseconds()
  var child: pid_t = 0
  var arguments: [UnsafeMutablePointer<CChar>?] = []
  for word in ["nft", "-f", path] { arguments.append(strdup(word)) }
  arguments.append(nil)
  guard posix_spawnp(&child, "nft", nil, nil, arguments, environ) == 0 else { fail("nft cannot be started") }
  var (status, usage) = (Int32(0), rusage())
  guard wait4(child, &status, 0, &usage) == child, status == 0 else { fail("nft refused \(name)") }
  let seconds = Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
  let microseconds = Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
  say("\(name)_ms", wallMilliseconds() - start)
  say("\(name)_cpu_ms", seconds * 1000 + microseconds / 1000)
  say("\(name)_memory_mb", Double(usage.ru_maxrss) / 1024)
}

func peer(_ services: Int, _ endpoints: Int, restarts: Bool) {
  var rules = PeerRules(services: services, endpoints: endpoints)
  rules.writeAll()
  nft(rules.text, "load")
  if restarts { return nft(rules.text, "restart") }
  for round in 1...3 {
    var change = PeerRules(services: services, endpoints: endpoints)
    change.writeChange(of: round * 7919 % services, shifted: round)
    nft(change.text, "change")
  }
}

/// Connects one after the other, to a listener on every address of the endpoints.
func connect(_ services: Int, _ count: Int) {
  let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  var yes: Int32 = 1
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
  func address(_ text: String, _ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    inet_pton(AF_INET, text, &address.sin_addr)
    return address
  }
  func with(_ address: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
  guard with(address("0.0.0.0", 8080), { bind(listener, $0, $1) }) == 0, listen(listener, 1024) == 0 else {
    fail("cannot listen")
  }
  func measure(_ target: (Int) -> sockaddr_in) -> [Double] {
    (0..<count).map { round in
      let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      // Ended by a reset, so that no port is kept waiting.
      var linger = linger(l_onoff: 1, l_linger: 0)
      setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
      let start = wallMilliseconds()
      guard with(target(round), { connect(client, $0, $1) }) == 0 else {
        fail("connect to Service \(round): \(String(cString: strerror(errno)))")
      }
      let time = (wallMilliseconds() - start) * 1000
      close(accept(listener, nil, nil))
      close(client)
      return time
    }
  }
  let direct = measure { address(Layout.endpoints(of: $0 * 7919 % services, count: 1)[0], 8080) }
  let through = measure { address(Layout.service($0 * 7919 % services), 80) }
  say("connect_direct_p50_us", percentile(direct, 0.5))
  say("connect_p50_us", percentile(through, 0.5))
  say("connect_p99_us", percentile(through, 0.99))
}

let words = CommandLine.arguments
guard words.count == 4, let first = Int(words[2]), let second = Int(words[3]), first > 0, second > 0 else {
  fail("usage: ProxyBenchmark ours|peer|peer-restart|connect N M")
}
switch words[1] {
case "ours": try ours(first, second)
case "peer", "peer-restart": peer(first, second, restarts: words[1] == "peer-restart")
case "connect": connect(first, second)
default: fail("usage: ProxyBenchmark ours|peer|peer-restart|connect N M")
}

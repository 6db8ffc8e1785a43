// How long a TCP connection takes to be made through the rules of all policies, beside none: in turns, from one pod's namespace to
// another's, forwarded by the namespace that the program is started in. PolicyBenchmark connect CLIENT SERVER PODS POLICIES

import Addresses
import CLinux
import ClusterObjects
import ClusterView
import Glibc
import KernelNftables
import Policy
import Ruleset

struct Connects {
  /// Paths of network namespaces. The client has 10.200.1.2, the server 10.200.2.2; run.sh makes them.
  var client: String
  var server: String
  var load: Load
  private let turns = 20
  private let connectsOfTurn = 1000
  private static let port: UInt16 = 8080

  init(client: String, server: String, load: Load) {
    self.client = client
    self.server = server
    self.load = load
  }

  /// The two pods, each selected by a policy of its namespace that lets this connection through.
  private func view(policies: Int) -> ClusterView {
    var view = ClusterView()
    for index in 0..<load.namespaces { view.apply(load.namespaceObject(index, "ns-\(index)")) }
    for index in 0..<load.pods { view.apply(load.podObject(index)) }
    for index in 0..<policies { view.apply(load.policyObject(index)) }
    for (index, address) in [(0, "10.200.1.2"), (load.namespaces, "10.200.2.2")] {
      // The next app of the same namespace is among the peers of each policy.
      var pod = load.podObject(index, app: index == 0 ? 2 : 1, node: "n1")
      pod["status"]?["podIP"] = JSON(address)
      pod["status"]?["podIPs"] = [["ip": JSON(address)]]
      view.apply(pod)
    }
    return view
  }

  func run() throws {
    let settings = PolicySettings(nodeName: "n1")
    let none = planPolicy(view: view(policies: 0), attachments: [], settings: settings)
    let all = planPolicy(view: view(policies: load.policies), attachments: [], settings: settings)
    let syncer = try RulesetSyncer(owned: [Table.ID(.ip, PolicyNames.table), .init(.ip6, PolicyNames.table)])
    let home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    try serve()
    var took: [Bool: [Double]] = [:]
    for turn in 0..<turns {
      let isLoaded = turn % 2 == 1
      try enter(home)
      _ = try syncer.sync(isLoaded ? all : none)
      try enter(open(client, O_RDONLY | O_CLOEXEC))
      // The first ones warm up what the change made cold.
      let times = try (0..<connectsOfTurn).map { _ in try connectOnce() }
      took[isLoaded, default: []] += times.dropFirst(connectsOfTurn / 10)
    }
    say("connect_none_p50_us", percentile(took[false] ?? [], 0.5))
    say("connect_policies_p50_us", percentile(took[true] ?? [], 0.5))
    say("connect_more_p50_us", percentile(took[true] ?? [], 0.5) - percentile(took[false] ?? [], 0.5))
  }

  private struct Failure: Error {
    var call: String
    var number = errno
  }

  private func enter(_ namespace: Int32) throws {
    guard namespace >= 0, weft_setns(namespace, CLONE_NEWNET) == 0 else { throw Failure(call: "setns") }
  }

  private func endpoint(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = Self.port.bigEndian
    inet_pton(AF_INET, "10.200.2.2", &place.sin_addr)
    return withUnsafePointer(to: &place) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  /// A listener in the server's namespace; a thread takes connections and drops them.
  private func serve() throws {
    try enter(open(server, O_RDONLY | O_CLOEXEC))
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard endpoint({ bind(listener, $0, $1) }) == 0, listen(listener, 128) == 0 else {
      throw Failure(call: "listen on 10.200.2.2")
    }
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { raw in
        let listener = Int32(Int(bitPattern: raw))
        while case let taken = accept(listener, nil, nil), taken >= 0 { close(taken) }
        return nil
      }, UnsafeMutableRawPointer(bitPattern: Int(listener)))
    guard status == 0 else { throw Failure(call: "pthread_create") }
  }

  /// Microseconds of one `connect`.
  private func connectOnce() throws -> Double {
    let end = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(end, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    defer { close(end) }
    let start = milliseconds(CLOCK_MONOTONIC)
    guard endpoint({ connect(end, $0, $1) }) == 0 else { throw Failure(call: "connect to 10.200.2.2") }
    return (milliseconds(CLOCK_MONOTONIC) - start) * 1000
  }
}

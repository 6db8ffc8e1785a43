// Names of others: asked of a second server, kept for their time, bounded when nobody answers.

import Addresses
import Diagnostics
import Synchronization
import Testing

@testable import DNS

private func withForwarding<Result>(
  ports: (UInt16) -> [UInt16] = { [$0] }, _ change: (inout DNSServerSettings) -> Void = { _ in },
  metrics: Metrics = Metrics(), _ body: (UInt16, TinyUpstream) throws -> Result
) throws -> Result {
  let upstream = try TinyUpstream()
  defer { upstream.stop() }
  var settings = DNSServerSettings()
  let servers = ports(upstream.port).map { SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), $0) }
  settings.routes = [ForwardRoute(upstreams: servers, policy: .sequential, timeoutMilliseconds: 4000)]
  change(&settings)
  return try withServer(settings, metrics: metrics) { _, port in try body(port, upstream) }
}

/// Somebody who must see addresses first, and takes their time.
private final class Watcher: Sendable {
  struct State {
    var seen: [String] = []
    var isMissing = false
    var hasLetGo = false
  }
  let state = Mutex(State())

  /// - Parameter answers: whether an answer is ever let go.
  func watch(letsGo: Bool = true) -> AnswerWatch {
    AnswerWatch(
      isActive: { true }, isMissing: { _ in self.state.withLock { $0.isMissing } },
      take: { name, addresses, seconds, done in
        let isNew = self.state.withLock { state in
          defer { state.seen.append("\(name) \(addresses.map(\.description)) \(seconds)") }
          return state.seen.isEmpty
        }
        guard isNew else { return false }
        Task {
          try? await Task.sleep(for: .milliseconds(150))
          self.state.withLock { $0.hasLetGo = true }
          if letsGo { done() }
        }
        return true
      })
  }
}

@Suite(.serialized) struct ForwardTests {
  @Test func `an answer waits for whoever must see its addresses first, aliases and all`() throws {
    let watcher = Watcher()
    try withForwarding({ $0.answerWatch = watcher.watch() }) { port, upstream in
      #expect(dig(port, "WWW.interwebs.test A +short") == "ext.interwebs.test.\n1.2.3.4\n")
      #expect(watcher.state.withLock { $0.hasLetGo })
      #expect(watcher.state.withLock { $0.seen } == ["www.interwebs.test [\"1.2.3.4\"] 60"])
      // From the cache, as long as the addresses are known.
      let asked = upstream.queries
      _ = dig(port, "www.interwebs.test A")
      #expect(upstream.queries == asked)
      watcher.state.withLock { $0.isMissing = true }
      #expect(dig(port, "www.interwebs.test A +short").hasSuffix("1.2.3.4\n"))
      #expect(upstream.queries == asked + 1)
      // Nothing to see.
      #expect(dig(port, "missing.interwebs.test A").contains("status: NXDOMAIN"))
      #expect(watcher.state.withLock { $0.seen.count } == 2)
    }
  }

  @Test func `an answer is not held for ever`() throws {
    let watcher = Watcher()
    try withForwarding({ $0.answerWatch = watcher.watch(letsGo: false) }) { port, _ in
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      #expect(watcher.state.withLock { $0.hasLetGo })
    }
  }

  @Test func `another name is asked upstream, once for its time`() throws {
    try withForwarding { port, upstream in
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
      let asked = upstream.queries
      #expect(dig(port, "EXT.interwebs.TEST A").contains("EXT.interwebs.TEST."))
      #expect(upstream.queries == asked)
      #expect(dig(port, "missing.interwebs.test A").contains("status: NXDOMAIN"))
      #expect(dig(port, "missing.interwebs.test A").contains("status: NXDOMAIN"))
      #expect(upstream.queries == asked + 1)
    }
  }

  @Test func `without a cache every query is asked`() throws {
    try withForwarding({ $0.cache.entriesMax = 0 }) { port, upstream in
      _ = dig(port, "ext.interwebs.test A")
      let asked = upstream.queries
      _ = dig(port, "ext.interwebs.test A")
      #expect(upstream.queries == asked + 1)
    }
  }

  @Test func `mixed capitals in the question do not reach the client`() throws {
    try withForwarding({ $0.routes[0].isCaseRandomized = true }) { port, _ in
      #expect(dig(port, "www.interwebs.test A +short") == "ext.interwebs.test.\n1.2.3.4\n")
    }
  }

  @Test func `a cut reply is asked again over TCP`() throws {
    try withForwarding { port, _ in
      #expect(dig(port, "big.interwebs.test A +short").split(separator: "\n").count == 120)
    }
  }

  @Test func `an ExternalName carries its target's records, and holds when the target is absent`() throws {
    try withForwarding { port, _ in
      #expect(
        dig(port, "outside.demo.svc.cluster.local A +short")
          == "www.interwebs.test.\next.interwebs.test.\n1.2.3.4\n")
      #expect(dig(port, "outside.demo.svc.cluster.local A").contains("status: NOERROR"))
    }
  }

  @Test func `a dead server is passed over for the next`() throws {
    // Port 1 of the loopback address refuses at once.
    try withForwarding(ports: { [1, $0] }) { port, _ in
      #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n")
    }
  }

  @Test func `silence ends in SERVFAIL, and so does having nobody to ask`() throws {
    try withForwarding({ $0.routes[0].timeoutMilliseconds = 300 }) { port, _ in
      #expect(dig(port, "silent.interwebs.test A").contains("status: SERVFAIL"))
    }
    try withForwarding(ports: { _ in [] }) { port, _ in
      #expect(dig(port, "ext.interwebs.test A").contains("status: SERVFAIL"))
    }
  }

  @Test func `more queries than may wait get SERVFAIL at once and our own names still answer`() throws {
    let metrics = Metrics()
    try withForwarding(
      {
        $0.forwardsMax = 2
        $0.routes[0].timeoutMilliseconds = 1000
      }, metrics: metrics
    ) { port, _ in
      let names = (0..<6).map { "silent\($0).interwebs.test A" }
      // dig with `&` asks all at once; each ends in SERVFAIL, most of them without waiting.
      let out = run(
        names.map { "dig @127.0.0.1 -p \(port) +time=15 +tries=1 \($0) &" }.joined(separator: " ")
          + " dig @127.0.0.1 -p \(port) web.demo.svc.cluster.local +short; wait")
      #expect(out.components("status: SERVFAIL") == 6, "\(out)")
      #expect(out.contains("10.43.0.20"))
      let rejected = metrics.text().split(separator: "\n").first {
        $0.hasPrefix("coredns_forward_max_concurrent_rejects_total")
      }
      #expect(rejected.flatMap { Int($0.split(separator: " ")[1]) } ?? 0 >= 1)
    }
  }

  @Test func `a server that asks itself is found out`() throws {
    let own = try freeEndpoint()
    var settings = DNSServerSettings()
    settings.routes = [ForwardRoute(upstreams: [own])]
    let looped = DNSServer(settings: settings, zone: Fixture.zone, metrics: Metrics())
    let error = #expect(throws: WeftError.self) {
      try looped.start(listen: [own])
    }
    #expect(error?.code == "DNS0002")
  }
}

extension String {
  fileprivate func components(_ part: String) -> Int { ranges(of: part).count }
}

// Which of several servers is asked: policies, exceptions, servers that fail and come back.

import Addresses
import Glibc
import Synchronization
import Testing

@testable import DNS

/// Two servers behind one route of one thread, without a cache: every question is asked of one of them.
private func withTwo<Result>(
  _ change: (inout ForwardRoute) -> Void, _ body: (UInt16, TinyUpstream, TinyUpstream) throws -> Result
) throws -> Result {
  let first = try TinyUpstream()
  defer { first.stop() }
  let second = try TinyUpstream()
  defer { second.stop() }
  var settings = DNSServerSettings()
  settings.threads = 1
  settings.cache.entriesMax = 0
  settings.cache.denialsMax = 0
  var route = ForwardRoute(
    upstreams: [first, second].map { SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), $0.port) },
    timeoutMilliseconds: 4000)
  change(&route)
  settings.routes = [route]
  return try withServer(settings) { _, port in try body(port, first, second) }
}

/// One server behind a cache of one thread.
private func withKept<Result>(
  _ upstream: TinyUpstream, _ change: (inout ForwardCacheSettings) -> Void, _ body: (UInt16) throws -> Result
) throws -> Result {
  var settings = DNSServerSettings()
  settings.threads = 1
  change(&settings.cache)
  settings.routes = [
    ForwardRoute(
      upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)], timeoutMilliseconds: 4000)
  ]
  return try withServer(settings) { _, port in try body(port) }
}

private func ask(_ port: UInt16, _ count: Int) {
  for _ in 0..<count { #expect(dig(port, "ext.interwebs.test A +short") == "1.2.3.4\n") }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct RoutingTests {
  @Test(arguments: [ForwardRoute.Policy.sequential, .roundRobin])
  func `names go to servers by the policy, and excepted ones to none`(policy: ForwardRoute.Policy) throws {
    try withTwo {
      $0.policy = policy
      $0.except = [DomainName("kept.test") ?? .root]
    } _: { port, first, second in
      ask(port, 2)
      let before = (first.queries, second.queries)
      ask(port, 8)
      let asked = (first.queries - before.0, second.queries - before.1)
      if policy == .sequential {
        #expect(asked.0 >= 8 && asked.1 == 0, "\(asked)")
      } else {
        #expect(asked.0 >= 4 && asked.1 >= 4, "\(asked)")
      }
      let all = first.queries + second.queries
      #expect(dig(port, "a.kept.test A").contains("status: REFUSED"))
      #expect(first.queries + second.queries == all)
    }
  }

  @Test func `a server that fails is asked whether it is back, and questions go to it again`() throws {
    try withTwo {
      $0.policy = .sequential
      $0.failuresMax = 1
      $0.healthCheckMilliseconds = 50
      $0.timeoutMilliseconds = 1000
    } _: { port, first, second in
      ask(port, 2)
      first.isSilent.store(true, ordering: .relaxed)
      // The first question waits for the first server and is answered by the second.
      ask(port, 1)
      let asked = second.queries
      ask(port, 5)
      #expect(second.queries >= asked + 5, "who fails is passed over")
      let checked = first.queries
      #expect(eventually { first.queries > checked + 2 }, "whether it is back is asked again and again")
      first.isSilent.store(false, ordering: .relaxed)
      // As soon as one of those questions is answered, ours go there again.
      #expect(
        eventually {
          let before = second.queries
          ask(port, 1)
          return second.queries == before
        })
    }
  }

  @Test(arguments: [true, false])
  func `with failover SERVFAIL of one server is not taken while another can be asked`(_ isAsked: Bool) throws
  {
    try withTwo {
      $0.policy = .sequential
      $0.failoverCodes = isAsked ? [.serverFailure] : []
    } _: { port, first, second in
      ask(port, 1)
      first.isFailing.store(true, ordering: .relaxed)
      let asked = first.queries
      let reply = dig(port, "ext.interwebs.test A")
      #expect(reply.contains(isAsked ? "1.2.3.4" : "status: SERVFAIL"), "\(reply)")
      #expect(first.queries > asked, "who answers has not failed, and is asked first")
      second.isFailing.store(true, ordering: .relaxed)
      // When all say so, that is the answer.
      #expect(dig(port, "ext.interwebs.test A").contains("status: SERVFAIL"))
    }
  }

  /// `servfail` of the cache plugin.
  @Test(arguments: [0, 60] as [UInt32]) func `a failure is kept for the time given, and not at all for none`(
    _ seconds: UInt32
  ) throws {
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    upstream.isFailing.store(true, ordering: .relaxed)
    try withKept(upstream) {
      $0.failureSeconds = seconds
    } _: { port in
      #expect(dig(port, "ext.interwebs.test A").contains("status: SERVFAIL"))
      let asked = upstream.queries
      for _ in 0..<3 { #expect(dig(port, "ext.interwebs.test A").contains("status: SERVFAIL")) }
      #expect(seconds == 0 ? upstream.queries >= asked + 3 : upstream.queries == asked)
      upstream.isFailing.store(false, ordering: .relaxed)
      #expect(dig(port, "ext.interwebs.test A").contains(seconds == 0 ? "1.2.3.4" : "status: SERVFAIL"))
    }
  }

  /// `disable` of the cache plugin.
  @Test func `names of zones that are taken out of the cache are asked each time, answers and denials apart`()
    throws
  {
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    try withKept(upstream) {
      $0.disabledPositive = [DomainName("ext.interwebs.test") ?? .root]
      $0.disabledNegative = [DomainName("missing.interwebs.test") ?? .root]
    } _: { port in
      for (name, isKept) in [
        ("ext", false), ("a.missing", false), ("missing", false), ("www", true), ("a.other", true),
        ("a.ext", true),
      ] {
        let before = upstream.queries
        for _ in 0..<3 { _ = dig(port, "\(name).interwebs.test A") }
        let asked = upstream.queries - before
        #expect(isKept ? asked == 1 : asked >= 3, "\(name) \(asked)")
      }
    }
  }

  @Test func `an answer that is asked for often is fetched again before it ends`() throws {
    let upstream = try TinyUpstream()
    defer { upstream.stop() }
    var settings = DNSServerSettings()
    settings.threads = 1
    settings.cache.prefetchQueries = 2
    // At any time of its life.
    settings.cache.prefetchPercent = 100
    settings.routes = [
      ForwardRoute(upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), upstream.port)])
    ]
    try withServer(settings) { _, port in
      ask(port, 1)
      let asked = upstream.queries
      ask(port, 4)
      #expect(eventually { upstream.queries > asked }, "nobody waited for this question")
      ask(port, 1)
    }
  }
}

func eventually(_ holds: () -> Bool) -> Bool {
  let clock = ContinuousClock()
  let end = clock.now + .seconds(30)
  while clock.now < end {
    if holds() { return true }
    usleep(5000)
  }
  return holds()
}

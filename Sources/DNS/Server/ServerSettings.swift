// What a DNS server is told besides its zone: sizes, limits, where other names are asked.

import Addresses

/// How the server behaves. Every limit has a default that a node can afford.
public struct DNSServerSettings: Sendable, Hashable {
  /// Threads, each with its own sockets (SO_REUSEPORT), connections and cache.
  public var threads = 1
  /// Octets sent over UDP at most, whatever the client says it takes.
  public var udpBytesMax = DNSLimits.defaultUDPBytesMax
  /// Addresses are turned round from answer to answer.
  public var isRotating = true
  /// TCP connections of a thread; more are closed at once.
  public var connectionsMax = 512
  /// Seconds a TCP connection may be idle (RFC 7766 section 6.2.3).
  public var idleSeconds = 10
  /// Queries of one connection that wait for an upstream server; more get SERVFAIL.
  public var pendingOfConnectionMax = 64
  /// Where other names are asked, the longest matching zone first. Without a match: REFUSED.
  public var routes: [ForwardRoute] = []
  /// Queries that wait for upstream servers, of all threads; more get SERVFAIL.
  public var forwardsMax = 1000
  public var cache = ForwardCacheSettings()
  public init() {}
}

/// The upstream servers of a zone.
public struct ForwardRoute: Sendable, Hashable {
  public enum Policy: String, Sendable, Hashable { case random, roundRobin = "round_robin", sequential }
  public var zone: DomainName
  public var upstreams: [SocketEndpoint]
  public var policy: Policy
  /// Names below these go unanswered (REFUSED) instead of to the upstream servers.
  public var except: [DomainName]
  /// Ask over TCP from the start.
  public var isTCPForced: Bool
  /// Milliseconds to wait for one server before the next is asked.
  public var timeoutMilliseconds: Int
  /// Failures in a row after which a server is passed over for a second.
  public var failuresMax: Int
  /// Mixes capitals into the question and wants them back: harder to forge, but some servers do not keep them.
  public var isCaseRandomized: Bool

  public init(
    zone: DomainName = .root, upstreams: [SocketEndpoint], policy: Policy = .random,
    except: [DomainName] = [],
    isTCPForced: Bool = false, timeoutMilliseconds: Int = 2000, failuresMax: Int = 2,
    isCaseRandomized: Bool = false
  ) {
    self.zone = zone.lowercased
    self.upstreams = upstreams
    self.policy = policy
    self.except = except
    self.isTCPForced = isTCPForced
    self.timeoutMilliseconds = timeoutMilliseconds
    self.failuresMax = failuresMax
    self.isCaseRandomized = isCaseRandomized
  }
}

/// Bounds of the cache for forwarded names. Our own zone is never cached.
public struct ForwardCacheSettings: Sendable, Hashable {
  /// Answers kept, of all threads. 0 turns the cache off.
  public var entriesMax = 9984
  /// Seconds an answer is kept at most, and a denial.
  public var positiveSecondsMax: UInt32 = 3600
  public var negativeSecondsMax: UInt32 = 1800
  /// Larger messages are not kept.
  public var messageBytesMax = 4096
  public init() {}
}

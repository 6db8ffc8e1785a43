// What a DNS server is told besides its zone: sizes, limits, where other names are asked.

import Addresses

/// How the server behaves. Every limit has a default that a node can afford.
public struct DNSServerSettings: Sendable {
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
  /// Replies of one kind a second to one network of clients (/24, /56) over UDP, of each thread; 0 for no limit. Clients that
  /// show a cookie of ours are not limited.
  public var responsesPerSecondMax = 0
  /// Every how many held replies a cut one is sent, so that a real client comes back over TCP.
  public var responseSlip = 2
  /// Server blocks, as a Corefile has them. Empty: one block of all names, made of the fields above.
  public var blocks: [ServerBlock] = []
  /// Sees addresses of upstream answers before clients do.
  public var answerWatch: AnswerWatch?
  public init() {}

  /// The blocks to serve.
  var allBlocks: [ServerBlock] {
    if !blocks.isEmpty { return blocks }
    var block = ServerBlock()
    block.isServingCluster = true
    block.routes = routes
    block.cache = cache
    block.forwardsMax = forwardsMax
    block.isRotating = isRotating
    block.udpBytesMax = udpBytesMax
    return [block]
  }
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
  /// Replies with one of these codes are not taken while there is another server to ask.
  public var failoverCodes: Set<ResponseCode> = []
  /// Replies with one of these codes are not taken while there is another route for the name, which is asked instead.
  public var nextCodes: Set<ResponseCode> = []
  /// The same for replies without records.
  public var goesOnWithoutData = false
  /// Where the route stands among those of its block; of routes of one zone the first is asked first.
  public var order = 0
  /// Servers asked for one query at most; nil for three, 0 for no bound but time.
  public var attemptsMax: Int?
  /// While every server is failing queries get SERVFAIL at once.
  public var failsFast = false
  /// Asks as this address.
  public var source: IPAddress?
  /// Milliseconds between questions to a failing server whether it is back; 0 asks none, and it is tried again after a second.
  public var healthCheckMilliseconds = 500
  /// The name those questions are about, and whether they ask for recursion.
  public var healthCheckName = DomainName.root
  public var isHealthCheckRecursive = true
  /// Mixes capitals into the question and wants them back: harder to forge, but some servers do not keep them.
  public var isCaseRandomized: Bool
  /// Addresses that names asked here may not have: such records are left out of answers, so that a name of the outside world
  /// cannot lead a browser to a machine of ours (DNS rebinding). Empty: all may stand.
  public var deniedAddresses: [IPPrefix] = []
  /// Those of `upstreams` that are asked over TLS.
  public var encryptedUpstreams: Set<SocketEndpoint> = []
  public var tls = UpstreamTLS()

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
  /// Denials kept; they have places of their own, so that a flood of made-up names does not drive answers out.
  public var denialsMax = 9984
  /// Seconds an answer is kept at most and at least, and a denial.
  public var positiveSecondsMax: UInt32 = 3600
  public var positiveSecondsMin: UInt32 = 0
  public var negativeSecondsMax: UInt32 = 1800
  public var negativeSecondsMin: UInt32 = 0
  /// Answers carry their whole time however long they have been kept.
  public var keepsTTL = false
  /// Seconds that SERVFAIL of an upstream server is kept.
  public var failureSeconds: UInt32 = 0
  /// Larger messages are not kept.
  public var messageBytesMax = 4096
  /// An answer asked for this often is fetched again before it ends; 0 for never.
  public var prefetchQueries = 0
  /// Seconds between two questions after which counting starts anew.
  public var prefetchSeconds: UInt32 = 60
  /// Percent of its time that must be left at most.
  public var prefetchPercent: UInt32 = 10
  /// Seconds an answer is still given after its time (RFC 8767); 0 for never.
  public var staleSeconds: UInt32 = 0
  /// The TTL of such an answer.
  public var staleTTL: UInt32 = 0
  /// Ask upstream before a stale answer is given, not after.
  public var isStaleVerified = false
  /// How long that may take before the stale answer is given all the same; 0 for as long as upstream servers may take.
  public var staleVerifyMilliseconds = 0
  /// Seconds until a failed attempt to ask again is followed by another; until then the stale answer is given at once.
  public var staleRecheckSeconds: UInt32 = 0
  /// An answer with records goes before a later denial, also past its time.
  public var prefersPositive = false
  /// Names outside these are not kept; empty means all are.
  public var zones: [DomainName] = []
  /// Zones whose names are not kept.
  public var disabledPositive: [DomainName] = []
  public var disabledNegative: [DomainName] = []
  public init() {}

  static let off: ForwardCacheSettings = {
    var settings = ForwardCacheSettings()
    settings.entriesMax = 0
    settings.denialsMax = 0
    return settings
  }()
}

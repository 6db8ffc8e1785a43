// How requests reach the endpoints of one backend: a value in the route table, put there by whoever plans routes, read by
// the data plane when a table is put in force. The default is what a backend without settings gets, one byte on the wire.

/// What is spoken with a backend's endpoints.
public enum UpstreamProtocol: UInt8, Sendable, Hashable {
  /// HTTP/1.1, with the client's upgrade to WebSocket passed on.
  case http1
  /// HTTP/2: by prior knowledge without TLS (`kubernetes.io/h2c`, `backend-protocol: GRPC`), by ALPN with it (`GRPCS`).
  case http2
}

/// TLS towards endpoints. Without an authority nothing is verified, as ingress-nginx does it by default.
public struct UpstreamTLS: Sendable, Hashable {
  /// Name asked for (SNI) and, when an authority is given, the name the certificate has to bear; empty: no name is sent, and none is checked.
  public var serverName: String
  /// Certificates in PEM that the endpoint's has to be signed by; empty: not verified.
  public var authorities: [UInt8]
  /// Chain and key in PEM that are shown to the endpoint; empty: none.
  public var certificate: [UInt8]
  public var key: [UInt8]
  /// What the machine trusts is trusted: the endpoint's certificate is verified, with or without `authorities`.
  public var trustsSystem: Bool
  /// One of these the certificate has to bear, in place of `serverName`, when it is verified; at most `namesMax`.
  public var names: [Name]

  /// A subject alternative name.
  public enum Name: Sendable, Hashable {
    case dns(String)
    /// Compared to the letter.
    case uri(String)
  }
  public static let namesMax = 16
  /// The name is checked and not sent (`proxy-ssl-server-name: "off"`).
  public var hidesName = false
  /// Links that a chain may have between the endpoint's certificate and an authority; 0: as many as OpenSSL lets pass.
  public var depth: UInt8 = 0
  /// Of TLS 1.2, as OpenSSL lists them; empty: forward secrecy and authenticated encryption only.
  public var ciphers = ""
  /// The oldest and the newest version: 12 or 13.
  public var oldest: UInt8 = 12
  public var newest: UInt8 = 13

  public init(
    serverName: String = "", authorities: [UInt8] = [], certificate: [UInt8] = [], key: [UInt8] = [],
    trustsSystem: Bool = false, names: [Name] = []
  ) {
    self.serverName = serverName
    self.authorities = authorities
    self.certificate = certificate
    self.key = key
    self.trustsSystem = trustsSystem
    self.names = names
  }
}

/// Who of the endpoints takes the next request.
public enum Balancing: Sendable, Hashable {
  /// Two taken at random by weight, the one with fewer requests.
  case leastRequests
  /// One after the other, by weight.
  case roundRobin
  /// The same key, the same endpoint, while endpoints come and go around it (rendezvous hashing).
  case consistentHash(HashKey)

  /// What of a request decides.
  public enum HashKey: Sendable, Hashable {
    case source
    /// A field's value; without it, the source.
    case header(String)
    /// A cookie's value; without it, the source.
    case cookie(String)
    /// The endpoint that a cookie names, for as long as there is that endpoint; without it, the one of two with fewer requests. Who
    /// gives the cookie is the rule (`RouteAction.cookie`).
    case endpoint(cookie: String)
    /// Target with its query.
    case target
  }
}

/// Limits of time, in milliseconds; 0 leaves the data plane's own (`IngressLimits`).
public struct BackendTimeouts: Sendable, Hashable {
  /// Until a connection stands.
  public var connect: UInt32
  /// From the request's head to the answer's end, all tries together (HTTPRoute `timeouts.request`); 0: none.
  public var request: UInt32
  /// One try, from its sending to the answer's head (HTTPRoute `timeouts.backendRequest`); 0: none.
  public var backendRequest: UInt32
  /// Without a byte either way while an answer is awaited (`proxy-read-timeout`).
  public var idle: UInt32

  public init(connect: UInt32 = 0, request: UInt32 = 0, backendRequest: UInt32 = 0, idle: UInt32 = 0) {
    self.connect = connect
    self.request = request
    self.backendRequest = backendRequest
    self.idle = idle
  }
}

/// When a request is sent again, to another endpoint when there is one.
public struct RetryPolicy: Sendable, Hashable {
  /// Tries of one request, the first included; 0: `IngressLimits.triesMax`.
  public var tries: UInt8
  /// Answers that are thrown away for another try, at most eight; connection errors are always retried where that does
  /// no harm.
  public var statuses: [UInt16]
  /// Time between two tries, milliseconds.
  public var backoff: UInt32
  /// Retries in percent of the requests, at most a hundred of them saved up; 0: without a budget.
  public var budgetPercent: UInt8
  /// Retries a second that the budget admits in any case.
  public var budgetMin: UInt16

  public init(
    tries: UInt8 = 0, statuses: [UInt16] = [], backoff: UInt32 = 0, budgetPercent: UInt8 = 0,
    budgetMin: UInt16 = 3
  ) {
    self.tries = tries
    self.statuses = statuses
    self.backoff = backoff
    self.budgetPercent = budgetPercent
    self.budgetMin = budgetMin
  }
}

/// Endpoints that fail are passed over for a while.
public struct HealthPolicy: Sendable, Hashable {
  /// Failures in a row (502, 503, 504, no connection, no answer) that put an endpoint out; 0: only a refused connection
  /// does, for `IngressLimits.ejectMilliseconds`.
  public var failures: UInt16
  /// Milliseconds out, times the number of times it was put out lately.
  public var ejection: UInt32
  /// Endpoints that may be out at once, percent; one always may.
  public var ejectedPercentMax: UInt8
  /// Asked of every endpoint; nil: no active checks.
  public var check: Check?

  /// A request of the data plane's own, to every endpoint, from every worker.
  public struct Check: Sendable, Hashable {
    public var path: String
    /// Empty: the endpoint's address.
    public var host: String
    public var interval: UInt32
    public var timeout: UInt32
    /// Good answers in a row that bring an endpoint back, and bad ones that put it out.
    public var healthy: UInt8
    public var unhealthy: UInt8
    /// Statuses that are good.
    public var statuses: ClosedRange<UInt16>

    public init(
      path: String = "/", host: String = "", interval: UInt32 = 10_000, timeout: UInt32 = 1_000,
      healthy: UInt8 = 1, unhealthy: UInt8 = 3, statuses: ClosedRange<UInt16> = 200...399
    ) {
      self.path = path
      self.host = host
      self.interval = interval
      self.timeout = timeout
      self.healthy = healthy
      self.unhealthy = unhealthy
      self.statuses = statuses
    }
  }

  public init(
    failures: UInt16 = 0, ejection: UInt32 = 30_000, ejectedPercentMax: UInt8 = 50, check: Check? = nil
  ) {
    self.failures = failures
    self.ejection = ejection
    self.ejectedPercentMax = ejectedPercentMax
    self.check = check
  }
}

/// Bounds of what one worker has at one endpoint; 0: none.
public struct CircuitPolicy: Sendable, Hashable {
  /// Connections; further requests go to other endpoints, and with none left are answered 503.
  public var connections: UInt32
  /// Requests that wait for a connection to stand.
  public var pending: UInt32
  /// Requests.
  public var requests: UInt32

  public init(connections: UInt32 = 0, pending: UInt32 = 0, requests: UInt32 = 0) {
    self.connections = connections
    self.pending = pending
    self.requests = requests
  }
}

/// A copy of requests for a backend whose answers nobody reads.
public struct BackendMirror: Sendable, Hashable {
  /// Index into `RouteTable.backends`.
  public var backend: Int
  /// This share of the requests.
  public var numerator: UInt32
  public var denominator: UInt32

  public init(backend: Int, numerator: UInt32 = 1, denominator: UInt32 = 1) {
    self.backend = backend
    self.numerator = numerator
    self.denominator = denominator
  }
}

/// What is particular about one endpoint.
public struct EndpointTraits: Sendable, Hashable {
  /// Share of the requests relative to the others; 0: none.
  public var weight: UInt16
  /// In another zone than this node: taken when none that is near is usable.
  public var isDistant: Bool
  /// Leaving: takes no new request while others are left, what runs is finished.
  public var isDraining: Bool

  public init(weight: UInt16 = 1, isDistant: Bool = false, isDraining: Bool = false) {
    self.weight = weight
    self.isDistant = isDistant
    self.isDraining = isDraining
  }
}

/// Everything that one backend's requests are sent by.
public struct BackendPolicy: Sendable, Hashable {
  public var speech = UpstreamProtocol.http1
  public var tls: UpstreamTLS?
  public var balancing = Balancing.leastRequests
  public var timeouts = BackendTimeouts()
  public var retry = RetryPolicy()
  public var health = HealthPolicy()
  public var circuit = CircuitPolicy()
  /// Milliseconds in which a new endpoint's share grows to its whole; 0: at once.
  public var slowStart: UInt32 = 0
  public var mirrors: [BackendMirror] = []
  /// Connections begin with this header of the PROXY protocol and carry one client's requests, of HTTP/1.1 one; nil: without.
  public var proxy: ProxyVersion?
  /// One for each of the backend's endpoints, in their order; empty: all alike.
  public var endpoints: [EndpointTraits] = []

  public init() {}

  /// Nothing was set: the plain way.
  public var isPlain: Bool { self == BackendPolicy() }
}

// One server block of a Corefile: for which names, on which ports, and what is asked in which order.
//
//   query -> acl -> any -> rewrite -> autopath -> template -> hosts -> kubernetes -> file -> forward
//         <- log, errors <- loadbalance <- dns64 <- minimal <-
//
// The order is fixed, as in CoreDNS: the order of lines means nothing.

import Addresses

/// A server block as data. What is nil or empty takes no part.
public struct ServerBlock: Sendable {
  public enum Transport: String, Sendable, Hashable { case dns, tls, https }

  /// One key of the block: `dns://acme.test:5353`.
  public struct Key: Sendable, Hashable {
    public var zone: DomainName
    public var transport: Transport
    public var port: UInt16
    public init(zone: DomainName = .root, transport: Transport = .dns, port: UInt16 = 53) {
      self.zone = zone.lowercased
      self.transport = transport
      self.port = port
    }
  }

  public var keys: [Key]
  /// Addresses of `bind`; empty means all.
  public var bind: [IPAddress] = []
  public var line = 0
  /// Names of the plugins that the Corefile names, for metrics.
  public var plugins: [String] = []

  public var view: ViewRule?
  public var accessRules: [AccessRule] = []
  public var isAnyRefused = false
  public var rewrites: [RewriteRule] = []
  public var autopath: Autopath?
  public var templates: [TemplateRule] = []
  public var hosts: HostsTable?
  public var isServingCluster = false
  public var files: [ServedZone] = []
  public var routes: [ForwardRoute] = []
  /// Nil without `cache`: every forwarded name is asked again.
  public var cache: ForwardCacheSettings?
  /// Queries that wait for upstream servers.
  public var forwardsMax = 1000
  public var isMinimal = false
  public var dns64: DNS64?
  public var isRotating = false
  /// Nil unless addresses have weights or preferred networks.
  public var balance: Balance?
  public var nsid: [UInt8]?
  public var udpBytesMax = DNSLimits.defaultUDPBytesMax
  public var transfers: [TransferRule] = []
  public var logs: [LogRule] = []
  public var isLoggingErrors = false
  /// `consolidate` lines of `errors`.
  public var consolidated: [Consolidation.Rule] = []
  public var dnstap: DnstapSettings?
  /// What ports of `tls://` and `https://` show; nil without `tls`.
  public var credentials: TLSCredentials?

  public init(keys: [Key] = [Key()]) { self.keys = keys }

  /// Whether rules change options of queries.
  var isRewritingOptions: Bool {
    rewrites.contains { if case .option = $0.field { true } else { false } }
  }

  /// Whether a rule makes questions of another class than IN ones of IN.
  func isTaken(rrClass: UInt16) -> Bool {
    rewrites.contains { rule in
      if case .rrClass(rrClass, Header.internet) = rule.field { true } else { false }
    }
  }

  /// Whether something is written down of each query.
  var isObserved: Bool { !logs.isEmpty || dnstap != nil }

  /// Whether everything but the cluster's names and forwarding is absent: such a block never leaves the fast path.
  var isPlain: Bool {
    accessRules.isEmpty && rewrites.isEmpty && autopath == nil && templates.isEmpty && hosts == nil
      && files.isEmpty
      && dns64 == nil && !isMinimal && !isAnyRefused && balance == nil
  }
}

/// Names to log, and of which replies.
public struct LogRule: Sendable, Hashable {
  public enum Class: String, Sendable, Hashable, CaseIterable { case success, denial, error, all }
  public var zone: DomainName
  public var classes: Set<Class>
  /// With `{name}`, `{type}`, `{rcode}` and the like; nil for CoreDNS's common format.
  public var format: String?
}

/// Who may take a copy of a zone.
public struct TransferRule: Sendable, Hashable {
  public var zones: [DomainName]
  /// Empty means everybody (`to *`).
  public var clients: [IPPrefix]
}

/// The answer of a plugin to a question, or what is to be asked first.
enum Step {
  case reply(Message)
  /// Ask upstream servers; nil when there are none, or none answered.
  case forward(Message.Question, then: (Message?) -> Step)
  case drop

  /// What becomes of a reply.
  func map(_ change: @escaping (Message) -> Step) -> Step {
    switch self {
    case .reply(let message): change(message)
    case .forward(let question, let then): .forward(question) { then($0).map(change) }
    case .drop: .drop
    }
  }
}

/// Who asks, and how.
struct Client {
  var endpoint: SocketEndpoint
  var local: SocketEndpoint?
  var isTCP: Bool
}

extension Message {
  /// A reply to a question, with nothing in it yet.
  static func reply(_ question: Question, _ code: ResponseCode = .noError, isAuthoritative: Bool = true)
    -> Message
  {
    var message = Message()
    message.question = question
    message.flags =
      Header.response | (isAuthoritative ? Header.authoritative : 0) | code.rawValue & Header.codeMask
    return message
  }

  mutating func set(_ code: ResponseCode) {
    flags = flags & ~Header.codeMask | code.rawValue & Header.codeMask
    let high = UInt8(truncatingIfNeeded: code.rawValue >> 4)
    guard high != edns?.extendedCode ?? 0 else { return }
    var edns = edns ?? EDNS()
    edns.extendedCode = high
    self.edns = edns
  }
}

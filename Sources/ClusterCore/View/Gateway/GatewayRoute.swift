// gateway.networking.k8s.io/v1 routes, parsed: one type for the five kinds, for all that they share.

import Addresses
import ClusterObjects

/// HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute.
public struct GatewayRoute: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable, CaseIterable, Comparable {
    case http = "HTTPRoute", grpc = "GRPCRoute", tls = "TLSRoute", tcp = "TCPRoute", udp = "UDPRoute"
    public static func < (a: Kind, b: Kind) -> Bool { a.rawValue < b.rawValue }
  }

  /// Among routes of all kinds.
  public struct Name: Sendable, Hashable, Comparable, CustomStringConvertible {
    public var kind: Kind
    public var key: ObjectKey
    public init(_ kind: Kind, _ key: ObjectKey) {
      self.kind = kind
      self.key = key
    }
    public static func < (a: Name, b: Name) -> Bool { (a.kind, a.key) < (b.kind, b.key) }
    /// Routes of two kinds seldom have one name: the kind need not be hashed.
    public func hash(into hasher: inout Hasher) { hasher.combine(key) }
    public var description: String { "\(kind.rawValue) \(key)" }
  }

  /// Something that it wants to be attached to.
  public struct Parent: Sendable, Hashable {
    public var reference: ObjectReference
    /// Empty: all its listeners.
    public var section: String
    public var port: UInt16?
    /// As the route writes it.
    public var tree: JSON
  }

  public enum Comparison: String, Sendable, Hashable { case exact = "Exact", regex = "RegularExpression" }

  public struct Path: Sendable, Hashable {
    public enum Comparison: String, Sendable, Hashable {
      /// Whole elements.
      case prefix = "PathPrefix"
      case exact = "Exact"
      case regex = "RegularExpression"
    }
    public var comparison: Comparison
    public var value: String
    public init(_ comparison: Comparison, _ value: String) {
      self.comparison = comparison
      self.value = value
    }
  }

  /// A field or a query parameter. Names of fields are in lower case.
  public struct Value: Sendable, Hashable {
    public var name: String
    public var comparison: Comparison
    public var value: String
  }

  /// A gRPC service and method; empty: any.
  public struct Call: Sendable, Hashable {
    public var comparison: Comparison
    public var service: String
    public var method: String
  }

  /// All that is named must fit.
  public struct Match: Sendable, Hashable {
    public var path: Path?
    public var method: String?
    public var headers: [Value] = []
    public var query: [Value] = []
    public var call: Call?
    public init() {}
  }

  public struct Field: Sendable, Hashable {
    public var name: String
    public var value: String
  }

  public struct HeaderChange: Sendable, Hashable {
    public var set: [Field]
    public var add: [Field]
    /// In lower case.
    public var remove: [String]
    public init(set: [Field], add: [Field], remove: [String]) {
      self.set = set
      self.add = add
      self.remove = remove
    }
  }

  public enum PathChange: Sendable, Hashable {
    case full(String)
    /// In place of the prefix that matched.
    case prefix(String)
  }

  public struct Redirect: Sendable, Hashable {
    public var scheme: String?
    public var hostname: String?
    public var path: PathChange?
    public var port: UInt16?
    public var status: Int
  }

  public struct CORS: Sendable, Hashable {
    public var origins: [String]
    public var methods: [String]
    public var headers: [String]
    public var exposed: [String]
    public var allowsCredentials: Bool
    public var maxAgeSeconds: Int
  }

  /// Of `denominator` requests `numerator` are mirrored.
  public struct Mirror: Sendable, Hashable {
    public var backend: Backend
    public var numerator: Int
    public var denominator: Int
  }

  public enum Filter: Sendable, Hashable {
    case requestHeaders(HeaderChange)
    case responseHeaders(HeaderChange)
    case redirect(Redirect)
    case rewrite(hostname: String?, path: PathChange?)
    case mirror(Mirror)
    case cors(CORS)
    /// One that nobody here knows.
    case unknown(String)

    /// The filter's name in the API.
    public var type: String {
      switch self {
      case .requestHeaders: "RequestHeaderModifier"
      case .responseHeaders: "ResponseHeaderModifier"
      case .redirect: "RequestRedirect"
      case .rewrite: "URLRewrite"
      case .mirror: "RequestMirror"
      case .cors: "CORS"
      case .unknown(let name): name
      }
    }
  }

  public struct Backend: Sendable, Hashable {
    public var reference: ObjectReference
    public var port: UInt16?
    public var weight: Int
    public var filters: [Filter]
  }

  /// When a request is sent again (`retry`).
  public struct Retry: Sendable, Hashable {
    /// Nil: as often as the data plane likes.
    public var attempts: Int?
    /// Answers after which it is.
    public var codes: [UInt16]
    /// Nil: at once.
    public var backoffMilliseconds: Int?
  }

  public struct Rule: Sendable, Hashable {
    /// Empty: it has none.
    public var name: String
    /// One of them must fit; none for every request.
    public var matches: [Match]
    public var filters: [Filter]
    public var backends: [Backend]
    /// Nil or 0: no bound.
    public var requestMilliseconds: Int?
    public var backendMilliseconds: Int?
    /// Nil: what may be repeated is, where nothing was answered.
    public var retry: Retry?
    /// Times that cannot be read.
    public var unreadable: [String]
  }

  public var name: Name
  public var generation: Int64
  public var creationTimestamp: String
  public var parents: [Parent]
  /// In lower case.
  public var hostnames: [String]
  public var rules: [Rule]

  public var key: ObjectKey { name.key }
  public var kind: Kind { name.kind }
}

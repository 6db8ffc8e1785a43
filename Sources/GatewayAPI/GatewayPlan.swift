// What Gateways amount to: listeners with ordered rules for a data plane, and the status of every object that had a say.
// Values in the API's own shape.

import Addresses
import ClusterObjects
import ClusterView

/// One planning's outcome. Equal views give equal plans.
public struct GatewayPlan: Sendable, Hashable {
  public enum ListenerProtocol: String, Sendable, Hashable, CaseIterable {
    case http = "HTTP", https = "HTTPS", tls = "TLS", tcp = "TCP", udp = "UDP"
  }

  /// How clients' certificates are checked.
  public struct ClientValidation: Sendable, Hashable {
    /// ConfigMaps with `ca.crt`.
    public var authorities: [ObjectKey]
    /// A client without a valid certificate is let in all the same.
    public var isInsecure: Bool
  }

  public enum TLS: Sendable, Hashable {
    /// Secrets with certificate and key, the first for clients that none is made for.
    case terminate(certificates: [ObjectKey], clients: ClientValidation?)
    case passthrough
  }

  /// A listener that is to be served.
  public struct Listener: Sendable, Hashable {
    public var gateway: ObjectKey
    /// Nil: of the Gateway itself.
    public var listenerSet: ObjectKey?
    public var name: String
    public var port: UInt16
    public var `protocol`: ListenerProtocol
    /// Nil: every name. `*.example.com` is for any number of labels before it.
    public var hostname: String?
    public var tls: TLS?
    /// The most specific first; those for TCP and UDP are one without a name.
    public var hosts: [Host]
    /// Addresses of this machine that the Gateway asks for; empty: any.
    public var addresses: Set<IPAddress> = []
  }

  /// The rules for a name.
  public struct Host: Sendable, Hashable {
    /// Empty: every name.
    public var name: String
    /// In the order in which they are to be tried.
    public var rules: [Rule]
  }

  /// One match and what becomes of what fits. Without backends and redirect it is answered with 500.
  public struct Rule: Sendable, Hashable {
    public var route: GatewayRoute.Name
    /// The rule's place in its route.
    public var index: Int
    /// Empty: it has none.
    public var name: String
    public var match: GatewayRoute.Match
    /// Mirrors are not among them.
    public var filters: [GatewayRoute.Filter]
    public var backends: [Backend]
    public var mirrors: [Mirror]
    /// Nil: no bound.
    public var requestMilliseconds: Int?
    public var backendMilliseconds: Int?
    /// Nil: as the data plane does it.
    public var retry: GatewayRoute.Retry?
  }

  /// How a backend is spoken to by TLS.
  public struct BackendTLS: Sendable, Hashable {
    public var hostname: String
    /// ConfigMaps with `ca.crt`; empty: what the machine trusts.
    public var authorities: [ObjectKey]
    public var names: [BackendTLSPolicy.Name]
    /// The certificate that it is shown.
    public var certificate: ObjectKey?
  }

  public struct Backend: Sendable, Hashable {
    public enum Target: Sendable, Hashable {
      case service(ObjectKey, port: UInt16)
      /// Its share of the requests is answered with 500.
      case refused
    }
    public var target: Target
    /// `kubernetes.io/h2c` and such; nil: HTTP/1.1.
    public var appProtocol: String?
    public var tls: BackendTLS?
    public var weight: Int
    public var filters: [GatewayRoute.Filter]
    /// Of its share of the requests.
    public var mirrors: [Mirror] = []
  }

  public struct Mirror: Sendable, Hashable {
    public var backend: Backend
    public var numerator: Int
    public var denominator: Int
  }

  // MARK: Status

  public struct Condition: Sendable, Hashable {
    public var type: String
    public var isTrue: Bool
    public var reason: String
    public var message: String
    public var generation: Int64
  }

  public struct ListenerStatus: Sendable, Hashable {
    public var name: String
    public var supportedKinds: [GatewayListener.RouteKind]
    public var attachedRoutes: Int
    public var conditions: [Condition]
  }

  public struct GatewayStatus: Sendable, Hashable {
    public var conditions: [Condition]
    public var listeners: [ListenerStatus]
    public var addresses: [Gateway.Address]
    public var attachedListenerSets: Int
  }

  public struct ListenerSetStatus: Sendable, Hashable {
    public var conditions: [Condition]
    public var listeners: [ListenerStatus]
  }

  /// What is said to a route of one of its parents.
  public struct ParentStatus: Sendable, Hashable {
    /// As the route names it.
    public var parent: JSON
    public var conditions: [Condition]
  }

  /// What is said to a policy of one Gateway.
  public struct AncestorStatus: Sendable, Hashable {
    public var gateway: ObjectKey
    public var conditions: [Condition]
  }

  public var controllerName: String
  /// Listeners that are served, by Gateway, own ones before those of sets.
  public var listeners: [Listener] = []
  /// Classes of ours.
  public var classes: [String: [Condition]] = [:]
  /// Gateways of ours.
  public var gateways: [ObjectKey: GatewayStatus] = [:]
  /// ListenerSets of Gateways of ours.
  public var listenerSets: [ObjectKey: ListenerSetStatus] = [:]
  /// Every route; those of which nothing is to be said have no parents.
  public var routes: [GatewayRoute.Name: [ParentStatus]] = [:]
  /// Every policy, likewise.
  public var policies: [ObjectKey: [AncestorStatus]] = [:]

  public init(controllerName: String) { self.controllerName = controllerName }
}

/// The `spec.controllerName` of GatewayClasses of ours.
public let gatewayControllerName = "weft.dev/gateway"

/// What became of a plan at the data plane.
public struct GatewayServing: Sendable, Hashable {
  /// Sockets that cannot be listened on, and why.
  public var refused: [GatewaySocket: String]
  /// False: the data plane does not work by the plan yet.
  public var isInForce: Bool

  public init(refused: [GatewaySocket: String] = [:], isInForce: Bool = true) {
    self.refused = refused
    self.isInForce = isInForce
  }

  /// Nothing is left to be tried again.
  public var isWhole: Bool { isInForce && refused.isEmpty }
}

/// What a data plane can do, and who it works for.
public struct GatewaySettings: Sendable, Hashable {
  public var controllerName = gatewayControllerName
  /// Ports that it listens on, and what is spoken there; nil: it takes any.
  public var ports: [UInt16: Set<GatewayPlan.ListenerProtocol>]?
  /// Sockets that are somebody's already at every address, and what may be spoken there all the same; empty: nothing.
  public var taken: [GatewaySocket: Set<GatewayPlan.ListenerProtocol>] = [:]
  /// Sockets that it could not get, and why.
  public var refused: [GatewaySocket: String] = [:]
  public var protocols = Set(GatewayPlan.ListenerProtocol.allCases)
  /// Where clients reach it.
  public var addresses: [String]
  /// Connections to listeners for TLS can be opened (`mode: Terminate`).
  public var opensTLS = true
  /// Connections by TLS to one port may be opened for some names and handed on for others.
  public var allowsMixedTLS = true
  /// False: plans are made and nobody serves them yet.
  public var isServing = true
  /// False: nobody is told what becomes of their objects.
  public var writesStatuses = true

  public init(addresses: [String]) { self.addresses = addresses }
}

extension GatewayPlan.ListenerProtocol {
  /// What it is carried by.
  public var transport: TransportProtocol { self == .udp ? .udp : .tcp }
  /// It is served as routes of HTTP.
  var isOfRequests: Bool { self == .http || self == .https }
}

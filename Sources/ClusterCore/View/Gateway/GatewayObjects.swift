// The objects of Gateway API in a view, where a cluster has them.

import ClusterObjects

/// Lets objects of other namespaces name objects of its own.
public struct ReferenceGrant: Sendable, Hashable {
  public struct From: Sendable, Hashable {
    public var group: String
    public var kind: String
    public var namespace: String
  }
  public struct To: Sendable, Hashable {
    public var group: String
    public var kind: String
    /// Empty: all.
    public var name: String
  }
  public var key: ObjectKey
  public var from: [From]
  public var to: [To]

  public init(_ tree: JSON) {
    key = tree.key
    from = (tree.at("spec", "from")?.elements ?? []).map {
      From(
        group: $0["group"]?.string ?? "", kind: $0["kind"]?.string ?? "",
        namespace: $0["namespace"]?.string ?? "")
    }
    to = (tree.at("spec", "to")?.elements ?? []).map {
      To(group: $0["group"]?.string ?? "", kind: $0["kind"]?.string ?? "", name: $0["name"]?.string ?? "")
    }
  }
}

/// How backends are spoken to by TLS.
public struct BackendTLSPolicy: Sendable, Hashable {
  public struct Target: Sendable, Hashable {
    public var reference: ObjectReference
    /// A port's name; empty: every port.
    public var section: String
  }
  public enum Name: Sendable, Hashable {
    case hostname(String)
    case uri(String)
  }
  public var key: ObjectKey
  public var generation: Int64
  public var creationTimestamp: String
  public var targets: [Target]
  public var authorities: [ObjectReference]
  /// `System`; nil: `authorities` are asked.
  public var wellKnown: String?
  public var hostname: String
  public var names: [Name]

  public init(_ tree: JSON) {
    key = tree.key
    generation = tree.generation
    creationTimestamp = tree.creationTimestamp
    targets = (tree.at("spec", "targetRefs")?.elements ?? []).map {
      Target(reference: ObjectReference($0), section: $0["sectionName"]?.string ?? "")
    }
    let validation = tree.at("spec", "validation")
    authorities = (validation?["caCertificateRefs"]?.elements ?? []).map { ObjectReference($0) }
    wellKnown = validation?["wellKnownCACertificates"]?.string
    hostname = validation?["hostname"]?.string ?? ""
    names = (validation?["subjectAltNames"]?.elements ?? []).compactMap { name in
      switch name["type"]?.string {
      case "Hostname": (name["hostname"]?.string).map { .hostname($0.lowercased()) }
      case "URI": (name["uri"]?.string).map { .uri($0) }
      default: nil
      }
    }
  }
}

/// All of them. A cluster without the definitions has none.
public struct GatewayObjects: Sendable, Hashable {
  public static let group = "gateway.networking.k8s.io"

  public private(set) var classes: [String: GatewayClass] = [:]
  public private(set) var gateways: [ObjectKey: Gateway] = [:]
  public private(set) var listenerSets: [ObjectKey: ListenerSet] = [:]
  public private(set) var routes: [GatewayRoute.Name: GatewayRoute] = [:]
  public private(set) var grants: [ObjectKey: ReferenceGrant] = [:]
  public private(set) var backendPolicies: [ObjectKey: BackendTLSPolicy] = [:]

  public init() {}

  /// The kinds by their names.
  public static let kinds: Set<String> = Set(
    ["GatewayClass", "Gateway", "ListenerSet", "ReferenceGrant", "BackendTLSPolicy"]
      + GatewayRoute.Kind.allCases.map(\.rawValue))

  public var isEmpty: Bool { classes.isEmpty && gateways.isEmpty && listenerSets.isEmpty && routes.isEmpty }

  /// False for kinds that are none of these.
  mutating func apply(_ kind: String, _ tree: JSON) throws(UnreadableObject) -> Bool {
    let key = tree.key
    switch kind {
    case "GatewayClass": classes[key.name] = GatewayClass(tree)
    case "Gateway": gateways[key] = try Gateway(tree)
    case "ListenerSet": listenerSets[key] = try ListenerSet(tree)
    case "ReferenceGrant": grants[key] = ReferenceGrant(tree)
    case "BackendTLSPolicy": backendPolicies[key] = BackendTLSPolicy(tree)
    default:
      guard let kind = GatewayRoute.Kind(rawValue: kind) else { return false }
      let route = try GatewayRoute(kind, tree)
      routes[route.name] = route
    }
    return true
  }

  mutating func remove(_ kind: String, _ key: ObjectKey) {
    switch kind {
    case "GatewayClass": classes[key.name] = nil
    case "Gateway": gateways[key] = nil
    case "ListenerSet": listenerSets[key] = nil
    case "ReferenceGrant": grants[key] = nil
    case "BackendTLSPolicy": backendPolicies[key] = nil
    default: if let kind = GatewayRoute.Kind(rawValue: kind) { routes[GatewayRoute.Name(kind, key)] = nil }
    }
  }

  /// Whether an object of a kind and namespace may name an object of another namespace.
  public func permits(
    _ kind: String, group: String = GatewayObjects.group, in namespace: String, to reference: ObjectReference,
    at key: ObjectKey
  ) -> Bool {
    namespace == key.namespace
      || grants.values.contains { grant in
        grant.key.namespace == key.namespace
          && grant.from.contains(ReferenceGrant.From(group: group, kind: kind, namespace: namespace))
          && grant.to.contains {
            $0.group == reference.group && $0.kind == reference.kind
              && ($0.name.isEmpty || $0.name == key.name)
          }
      }
  }
}

extension GroupVersionResource {
  private static func gateway(_ plural: String) -> Self { Self(GatewayObjects.group, "v1", plural) }
  public static let gatewayClasses = gateway("gatewayclasses")
  public static let gateways = gateway("gateways")
  public static let listenerSets = gateway("listenersets")
  public static let httpRoutes = gateway("httproutes")
  public static let grpcRoutes = gateway("grpcroutes")
  public static let tlsRoutes = gateway("tlsroutes")
  public static let tcpRoutes = gateway("tcproutes")
  public static let udpRoutes = gateway("udproutes")
  /// The version that every release since 0.8 serves.
  public static let referenceGrants = Self(GatewayObjects.group, "v1beta1", "referencegrants")
  public static let backendTLSPolicies = gateway("backendtlspolicies")
}

extension GatewayRoute.Kind {
  /// The resource that routes of the kind are.
  public var resource: GroupVersionResource {
    switch self {
    case .http: .httpRoutes
    case .grpc: .grpcRoutes
    case .tls: .tlsRoutes
    case .tcp: .tcpRoutes
    case .udp: .udpRoutes
    }
  }
}

extension ClusterView {
  /// Resources of Gateway API, which a cluster may or may not serve, each by itself.
  public static let gatewayResources: [GroupVersionResource] =
    [.gatewayClasses, .gateways, .listenerSets, .referenceGrants, .backendTLSPolicies]
    + GatewayRoute.Kind.allCases.map(\.resource)
}

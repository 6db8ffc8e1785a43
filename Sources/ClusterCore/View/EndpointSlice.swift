// The endpoints behind a Service, as EndpointSlices publish them.

import Addresses
import ClusterObjects

/// discovery.k8s.io/v1 EndpointSlice. A value that nobody changes; handed on by reference, for it has many parts.
public final class EndpointSlice: Sendable {
  public struct Port: Sendable, Hashable {
    public var name: String
    public var transport: TransportProtocol
    /// Nil means all ports.
    public var port: UInt16?
  }

  public struct Endpoint: Sendable, Hashable {
    /// The first address: consumers use no others (the API says so).
    public var address: IPAddress
    public var isReady: Bool
    public var isServing: Bool
    public var isTerminating: Bool
    public var hostname: String?
    public var nodeName: String?
    public var zone: String?
    /// Zones and nodes that should use it (`hints.forZones`, `hints.forNodes`).
    public var hintedZones: [String] = []
    public var hintedNodes: [String] = []
    /// The pod behind it, when `targetRef` names one.
    public var pod: ObjectKey?
  }

  public let key: ObjectKey
  /// The Service it belongs to, by the label `kubernetes.io/service-name`; nil when it belongs to none.
  public let service: ObjectKey?
  public let family: IPFamily
  public let ports: [Port]
  public let endpoints: [Endpoint]
  /// Whether any endpoint has hints of zones or nodes, as it was read.
  public let hasHints: Bool
  /// `endpoints.kubernetes.io/last-change-trigger-time`, for programming latency.
  public let triggerTime: String?

  init(
    key: ObjectKey, service: ObjectKey?, family: IPFamily, ports: [Port], endpoints: [Endpoint],
    triggerTime: String?
  ) {
    self.key = key
    self.service = service
    self.family = family
    self.ports = ports
    self.endpoints = endpoints
    self.triggerTime = triggerTime
    hasHints = endpoints.contains { !$0.hintedZones.isEmpty || !$0.hintedNodes.isEmpty }
  }

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("EndpointSlice", tree)
    key = tree.key
    service = tree.labels["kubernetes.io/service-name"].map { ObjectKey(tree.namespace, $0) }
    triggerTime = tree.annotations["endpoints.kubernetes.io/last-change-trigger-time"]
    switch tree["addressType"]?.string {
    case "IPv4": family = .v4
    case "IPv6": family = .v6
    case let other: throw reader.unreadable("addressType", other ?? "")
    }
    var ports: [Port] = []
    for (index, port) in (tree["ports"]?.elements ?? []).enumerated() {
      let number = try reader.port(port["port"], "ports[\(index)].port", default: 0)
      ports.append(
        Port(
          name: port["name"]?.string ?? "",
          transport: try reader.choice(port["protocol"], "ports[\(index)].protocol", default: .tcp),
          port: number == 0 ? nil : number))
    }
    self.ports = ports
    var endpoints: [Endpoint] = []
    endpoints.reserveCapacity(tree["endpoints"]?.elements.count ?? 0)
    for (index, endpoint) in (tree["endpoints"]?.elements ?? []).enumerated() {
      guard let text = endpoint.at("addresses")?[0]?.string, let address = IPAddress(text),
        address.family == family
      else { throw reader.unreadable("endpoints[\(index)].addresses", endpoint["addresses"]?.text ?? "") }
      let conditions = endpoint["conditions"] ?? .null
      let isReady = conditions["ready"]?.bool ?? true
      var pod: ObjectKey?
      if let target = endpoint["targetRef"], target["kind"]?.string == "Pod",
        let name = target["name"]?.string
      {
        pod = ObjectKey(target["namespace"]?.string ?? tree.namespace, name)
      }
      endpoints.append(
        Endpoint(
          address: address, isReady: isReady, isServing: conditions["serving"]?.bool ?? isReady,
          isTerminating: conditions["terminating"]?.bool ?? false, hostname: endpoint["hostname"]?.string,
          nodeName: endpoint["nodeName"]?.string, zone: endpoint["zone"]?.string,
          hintedZones: Self.names(endpoint.at("hints", "forZones")),
          hintedNodes: Self.names(endpoint.at("hints", "forNodes")), pod: pod))
    }
    self.endpoints = endpoints
    hasHints = endpoints.contains { !$0.hintedZones.isEmpty || !$0.hintedNodes.isEmpty }
  }

  private static func names(_ list: JSON?) -> [String] {
    (list?.elements ?? []).compactMap { $0["name"]?.string }
  }
}

extension EndpointSlice: Hashable {
  public static func == (a: EndpointSlice, b: EndpointSlice) -> Bool {
    a === b
      || (a.key == b.key && a.service == b.service && a.family == b.family && a.ports == b.ports
        && a.endpoints == b.endpoints && a.triggerTime == b.triggerTime)
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(key)
    hasher.combine(endpoints)
  }
}

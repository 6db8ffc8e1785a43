// A Service as the data plane sees it: addresses, ports and traffic policies, already parsed.

import Addresses
import ClusterObjects

/// core/v1 Service. A value that nobody changes; handed on by reference, for it has many parts.
public final class Service: Sendable {
  public enum Kind: String, Sendable {
    case clusterIP = "ClusterIP", nodePort = "NodePort", loadBalancer = "LoadBalancer", externalName =
      "ExternalName"
  }
  public enum TrafficPolicy: String, Sendable { case cluster = "Cluster", local = "Local" }

  public struct Port: Sendable, Hashable {
    /// Empty when the Service has one unnamed port.
    public var name: String
    public var transport: TransportProtocol
    public var port: UInt16
    /// 0 when none is allocated.
    public var nodePort: UInt16
    public var appProtocol: String?
    public init(
      name: String, transport: TransportProtocol, port: UInt16, nodePort: UInt16 = 0,
      appProtocol: String? = nil
    ) {
      self.name = name
      self.transport = transport
      self.port = port
      self.nodePort = nodePort
      self.appProtocol = appProtocol
    }
  }

  public let key: ObjectKey
  public let kind: Kind
  /// Every cluster IP, the primary first. Empty for a headless Service and for ExternalName.
  public let clusterIPs: [IPAddress]
  /// `clusterIP: None`.
  public let isHeadless: Bool
  public let externalIPs: [IPAddress]
  /// From status.loadBalancer.ingress with ipMode VIP or none.
  public let loadBalancerIPs: [IPAddress]
  /// `loadBalancerIPs` are of the cluster's own pool: one node announces each.
  public let isAnnouncedByNodes: Bool
  public let loadBalancerSourceRanges: [IPPrefix]
  public let externalName: String
  public let ports: [Port]
  public let internalTrafficPolicy: TrafficPolicy
  public let externalTrafficPolicy: TrafficPolicy
  /// Seconds a client keeps its endpoint; nil without ClientIP affinity.
  public let affinitySeconds: Int?
  public let healthCheckNodePort: UInt16
  public let publishNotReadyAddresses: Bool
  public let selector: [String: String]
  public let labels: [String: String]
  public let annotations: [String: String]
  /// When it was made, as text that sorts by time; of two that claim the same address and port the older has it.
  public let creationTime: String

  /// A Service of which only this is known; the rest is as if the object did not say it.
  init(
    key: ObjectKey, kind: Kind, clusterIPs: [IPAddress], isHeadless: Bool, externalIPs: [IPAddress],
    loadBalancerIPs: [IPAddress], externalName: String, ports: [Port], publishNotReadyAddresses: Bool,
    selector: [String: String], labels: [String: String]
  ) {
    self.key = key
    self.kind = kind
    self.clusterIPs = clusterIPs
    self.isHeadless = isHeadless
    self.externalIPs = externalIPs
    self.loadBalancerIPs = loadBalancerIPs
    self.externalName = externalName
    self.ports = ports
    self.publishNotReadyAddresses = publishNotReadyAddresses
    self.selector = selector
    self.labels = labels
    isAnnouncedByNodes = false
    loadBalancerSourceRanges = []
    internalTrafficPolicy = .cluster
    externalTrafficPolicy = .cluster
    affinitySeconds = nil
    healthCheckNodePort = 0
    annotations = [:]
    creationTime = ""
  }

  /// Reads the tree of a Service. Throws `UnreadableObject` for what cannot mean anything, such as a bad address.
  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("Service", tree)
    key = tree.key
    kind = try reader.choice(tree.at("spec", "type"), "spec.type", default: .clusterIP)
    isHeadless = tree.at("spec", "clusterIP")?.string == "None"
    var addresses = try reader.addresses(tree.at("spec", "clusterIPs"), "spec.clusterIPs", skipping: "None")
    if addresses.isEmpty, let single = tree.at("spec", "clusterIP")?.string, !single.isEmpty, single != "None"
    {
      guard let address = IPAddress(single) else { throw reader.unreadable("spec.clusterIP", single) }
      addresses = [address]
    }
    clusterIPs = kind == .externalName || isHeadless ? [] : addresses
    externalIPs = try reader.addresses(tree.at("spec", "externalIPs"), "spec.externalIPs")
    loadBalancerIPs = try reader.addresses(
      .array(
        (tree.at("status", "loadBalancer", "ingress")?.elements ?? [])
          .filter { ($0["ipMode"]?.string ?? "VIP") == "VIP" }.compactMap { $0["ip"] }),
      "status.loadBalancer.ingress")
    isAnnouncedByNodes = tree.isAnnouncedByNodes
    loadBalancerSourceRanges = try reader.prefixes(
      tree.at("spec", "loadBalancerSourceRanges"), "spec.loadBalancerSourceRanges")
    externalName = tree.at("spec", "externalName")?.string ?? ""
    internalTrafficPolicy = try reader.choice(
      tree.at("spec", "internalTrafficPolicy"), "spec.internalTrafficPolicy", default: .cluster)
    externalTrafficPolicy = try reader.choice(
      tree.at("spec", "externalTrafficPolicy"), "spec.externalTrafficPolicy", default: .cluster)
    affinitySeconds =
      tree.at("spec", "sessionAffinity")?.string == "ClientIP"
      ? tree.at("spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds")?.int ?? 10800 : nil
    healthCheckNodePort = try reader.port(
      tree.at("spec", "healthCheckNodePort"), "spec.healthCheckNodePort", default: 0)
    publishNotReadyAddresses = tree.at("spec", "publishNotReadyAddresses")?.bool ?? false
    selector = tree.at("spec", "selector")?.stringMap ?? [:]
    labels = tree.labels
    annotations = tree.annotations
    creationTime = tree.at("metadata", "creationTimestamp")?.string ?? ""
    var ports: [Port] = []
    for (index, port) in (tree.at("spec", "ports")?.elements ?? []).enumerated() {
      ports.append(
        Port(
          name: port["name"]?.string ?? "",
          transport: try reader.choice(port["protocol"], "spec.ports[\(index)].protocol", default: .tcp),
          port: try reader.port(port["port"], "spec.ports[\(index)].port"),
          nodePort: try reader.port(port["nodePort"], "spec.ports[\(index)].nodePort", default: 0),
          appProtocol: port["appProtocol"]?.string))
    }
    self.ports = ports
  }
}

extension Service: Hashable {
  public static func == (a: Service, b: Service) -> Bool {
    if a === b { return true }
    let isAddressedAlike =
      a.key == b.key && a.kind == b.kind && a.clusterIPs == b.clusterIPs && a.isHeadless == b.isHeadless
      && a.externalIPs == b.externalIPs && a.loadBalancerIPs == b.loadBalancerIPs
      && a.isAnnouncedByNodes == b.isAnnouncedByNodes && a.externalName == b.externalName
    let isServedAlike =
      a.loadBalancerSourceRanges == b.loadBalancerSourceRanges && a.ports == b.ports
      && a.internalTrafficPolicy == b.internalTrafficPolicy
      && a.externalTrafficPolicy == b.externalTrafficPolicy && a.affinitySeconds == b.affinitySeconds
      && a.healthCheckNodePort == b.healthCheckNodePort
      && a.publishNotReadyAddresses == b.publishNotReadyAddresses
    return isAddressedAlike && isServedAlike && a.selector == b.selector && a.labels == b.labels
      && a.annotations == b.annotations && a.creationTime == b.creationTime
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(key)
    hasher.combine(clusterIPs)
    hasher.combine(ports)
  }
}

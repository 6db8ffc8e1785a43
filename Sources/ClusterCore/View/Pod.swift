// Pods, namespaces and nodes, as far as the network cares for them.

import Addresses
import ClusterObjects

/// core/v1 Pod.
public struct Pod: Sendable, Hashable {
  public struct ContainerPort: Sendable, Hashable {
    public var name: String
    public var transport: TransportProtocol
    public var port: UInt16
    public var hostPort: UInt16
  }

  public var key: ObjectKey
  public var uid: String
  public var labels: [String: String]
  public var nodeName: String
  /// Every address, the primary first; empty until the node agent has reported.
  public var addresses: [IPAddress]
  public var isHostNetwork: Bool
  public var phase: String
  public var isReady: Bool
  public var isTerminating: Bool
  public var hostname: String
  public var subdomain: String
  public var ports: [ContainerPort]
  /// Containers that do not run, as the node agent says it: `web: ImagePullBackOff`. Empty when all run.
  public var stoppedContainers: [String]

  /// A pod that has ended keeps its address in status, but the address may already be another pod's.
  public var hasEnded: Bool { phase == "Succeeded" || phase == "Failed" }

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("Pod", tree)
    key = tree.key
    uid = tree.uid
    labels = tree.labels
    nodeName = tree.at("spec", "nodeName")?.string ?? ""
    var list = try reader.addresses(
      .array((tree.at("status", "podIPs")?.elements ?? []).compactMap { $0["ip"] }), "status.podIPs")
    if list.isEmpty, let single = tree.at("status", "podIP")?.string, !single.isEmpty {
      guard let address = IPAddress(single) else { throw reader.unreadable("status.podIP", single) }
      list = [address]
    }
    addresses = list
    isHostNetwork = tree.at("spec", "hostNetwork")?.bool ?? false
    phase = tree.at("status", "phase")?.string ?? "Pending"
    isReady = (tree.at("status", "conditions")?.elements ?? [])
      .contains { $0["type"] == "Ready" && $0["status"] == "True" }
    isTerminating = tree.isTerminating
    hostname = tree.at("spec", "hostname")?.string ?? ""
    subdomain = tree.at("spec", "subdomain")?.string ?? ""
    stoppedContainers = (tree.at("status", "containerStatuses")?.elements ?? []).compactMap { container in
      guard let state = container["state"], let name = container["name"]?.string,
        let reason = (state["waiting"] ?? state["terminated"])?["reason"]?.string
      else { return nil }
      return "\(name): \(reason)"
    }
    ports = []
    let sidecars = (tree.at("spec", "initContainers")?.elements ?? []).filter {
      $0["restartPolicy"] == "Always"
    }
    for container in (tree.at("spec", "containers")?.elements ?? []) + sidecars {
      for port in container["ports"]?.elements ?? [] {
        ports.append(
          ContainerPort(
            name: port["name"]?.string ?? "",
            transport: try reader.choice(port["protocol"], "ports.protocol", default: .tcp),
            port: try reader.port(port["containerPort"], "ports.containerPort"),
            hostPort: try reader.port(port["hostPort"], "ports.hostPort", default: 0)))
      }
    }
  }
}

/// core/v1 Namespace.
public struct Namespace: Sendable, Hashable {
  public var name: String
  public var labels: [String: String]
  public init(_ tree: JSON) {
    name = tree.name
    labels = tree.labels
  }
}

/// core/v1 Node.
public struct Node: Sendable, Hashable {
  public var name: String
  public var labels: [String: String]
  public var podCIDRs: [IPPrefix]
  public var internalIPs: [IPAddress]
  /// All that its status names, in order; each once.
  public var addresses: [IPAddress]
  public var zone: String?
  public var isReady: Bool

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("Node", tree)
    name = tree.name
    labels = tree.labels
    zone = tree.labels["topology.kubernetes.io/zone"]
    var blocks = try reader.prefixes(tree.at("spec", "podCIDRs"), "spec.podCIDRs")
    if blocks.isEmpty {
      blocks = try reader.prefixes(tree.at("spec", "podCIDR").map { [$0] }, "spec.podCIDR")
    }
    podCIDRs = blocks
    internalIPs = try reader.addresses(
      .array(
        (tree.at("status", "addresses")?.elements ?? []).filter { $0["type"] == "InternalIP" }
          .compactMap { $0["address"] }), "status.addresses")
    var all: [IPAddress] = []
    for entry in tree.at("status", "addresses")?.elements ?? [] {
      // Names of hosts stand there too.
      if let address = entry["address"]?.string.flatMap({ IPAddress($0) }), !all.contains(address) {
        all.append(address)
      }
    }
    addresses = all
    isReady = (tree.at("status", "conditions")?.elements ?? [])
      .contains { $0["type"] == "Ready" && $0["status"] == "True" }
  }

  /// Whether an address is the node's own: of its status, or the first of a block that it gives to pods, which its bridge has.
  public func holds(_ address: IPAddress) -> Bool {
    addresses.contains(address) || podCIDRs.contains { $0.address(at: 1) == address }
  }
}

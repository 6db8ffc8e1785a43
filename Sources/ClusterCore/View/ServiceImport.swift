// Services of a cluster set, as the Multi-Cluster Services API imports them (KEP-1645): names for cluster DNS.

import Addresses
import ClusterObjects

/// multicluster.x-k8s.io/v1alpha1 ServiceImport.
public struct ServiceImport: Sendable, Hashable {
  public enum Kind: String, Sendable { case clusterSetIP = "ClusterSetIP", headless = "Headless" }

  public var key: ObjectKey
  public var kind: Kind
  /// Addresses of the whole set; empty when it is headless.
  public var addresses: [IPAddress]
  public var ports: [Service.Port]
  public var labels: [String: String]

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("ServiceImport", tree)
    key = tree.key
    labels = tree.labels
    kind = try reader.choice(tree.at("spec", "type"), "spec.type", default: .clusterSetIP)
    let ips = try reader.addresses(tree.at("spec", "ips"), "spec.ips")
    addresses = kind == .headless ? [] : ips
    ports = []
    for (index, port) in (tree.at("spec", "ports")?.elements ?? []).enumerated() {
      ports.append(
        Service.Port(
          name: port["name"]?.string ?? "",
          transport: try reader.choice(port["protocol"], "spec.ports[\(index)].protocol", default: .tcp),
          port: try reader.port(port["port"], "spec.ports[\(index)].port")))
    }
  }
}

/// Endpoints in one cluster of the set.
public struct ImportedSlice: Sendable, Hashable {
  public var slice: EndpointSlice
  /// The cluster's id; nil when the slice does not say.
  public var cluster: String?

  /// The import it belongs to, by the label `multicluster.kubernetes.io/service-name`; nil when it belongs to none.
  static func service(of tree: JSON) -> ObjectKey? {
    tree.labels["multicluster.kubernetes.io/service-name"].map { ObjectKey(tree.namespace, $0) }
  }

  init(_ slice: EndpointSlice, _ tree: JSON) {
    self.slice = slice
    cluster = tree.labels["multicluster.kubernetes.io/source-cluster"]
  }
}

/// A ServiceImport and its slices as they are now.
public struct ServiceImportState: Sendable, Hashable {
  public var service: ServiceImport
  /// By the slices' own keys.
  public var slices: [ObjectKey: ImportedSlice]
  public init(service: ServiceImport, slices: [ObjectKey: ImportedSlice] = [:]) {
    self.service = service
    self.slices = slices
  }
}

extension GroupVersionResource {
  /// Of a CustomResourceDefinition that comes with the Multi-Cluster Services API.
  public static let serviceImports = Self("multicluster.x-k8s.io", "v1alpha1", "serviceimports")
}

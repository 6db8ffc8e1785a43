// Names of kinds and of the resources they are served as.

/// Group, version and plural: what a URL names. The core group is the empty text.
public struct GroupVersionResource: Hashable, Sendable, CustomStringConvertible {
  public var group: String
  public var version: String
  public var resource: String
  public init(_ group: String, _ version: String, _ resource: String) {
    self.group = group
    self.version = version
    self.resource = resource
  }
  /// `v1` or `apps/v1`.
  public var groupVersion: String { group.isEmpty ? version : "\(group)/\(version)" }
  public var description: String { group.isEmpty ? resource : "\(resource).\(group)" }
}

/// The resources that Weft's own parts speak of.
extension GroupVersionResource {
  public static let namespaces = Self("", "v1", "namespaces")
  public static let nodes = Self("", "v1", "nodes")
  public static let pods = Self("", "v1", "pods")
  public static let services = Self("", "v1", "services")
  public static let configMaps = Self("", "v1", "configmaps")
  public static let secrets = Self("", "v1", "secrets")
  public static let serviceAccounts = Self("", "v1", "serviceaccounts")
  public static let resourceQuotas = Self("", "v1", "resourcequotas")
  public static let persistentVolumes = Self("", "v1", "persistentvolumes")
  public static let persistentVolumeClaims = Self("", "v1", "persistentvolumeclaims")
  public static let events = Self("", "v1", "events")
  public static let endpointSlices = Self("discovery.k8s.io", "v1", "endpointslices")
  public static let leases = Self("coordination.k8s.io", "v1", "leases")
  public static let deployments = Self("apps", "v1", "deployments")
  public static let replicaSets = Self("apps", "v1", "replicasets")
  public static let ingresses = Self("networking.k8s.io", "v1", "ingresses")
  public static let ingressClasses = Self("networking.k8s.io", "v1", "ingressclasses")
  public static let networkPolicies = Self("networking.k8s.io", "v1", "networkpolicies")
}

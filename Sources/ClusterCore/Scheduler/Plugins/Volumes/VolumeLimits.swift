// Where volumes can be and how many: zones, one-pod claims, disks that only one node may have, drivers'
// limits.

import ClusterClient
import ClusterObjects

/// Zone and region labels of a bound volume.
public struct VolumeZone: FilterPlugin {
  static let keys = [
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
  ]
  public let name = "VolumeZone"
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    var wanted: [(key: String, values: Set<String>)] = []
    for name in pod.claims {
      guard let claim = cluster.objects.claims[pod.namespace, name],
        let volume = cluster.objects.volumes["", claim.at("spec", "volumeName")?.string ?? ""]
      else { continue }
      let labels = volume.labels
      for key in Self.keys {
        if let value = labels[key] { wanted.append((key, Set(value.components(separatedBy: "__")))) }
      }
    }
    return wanted.isEmpty ? .skip : .filter(Zoned(wanted: wanted))
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    if case .storage = event { return true }
    return event.node != nil
  }

  private struct Zoned: NodeFilter {
    var wanted: [(key: String, values: Set<String>)]
    func check(_ node: NodeInfo) -> Rejection? {
      // A node that says nothing of zones is taken to have none.
      if !VolumeZone.keys.contains(where: { node.labels[$0] != nil }) { return nil }
      let fits = wanted.allSatisfy { wanted in
        let other = wanted.key.replacing("failure-domain.beta.kubernetes.io", with: "topology.kubernetes.io")
        let value = node.labels[wanted.key] ?? node.labels[other]
        return value.map(wanted.values.contains) ?? false
      }
      return fits ? nil : Rejection("node(s) had no available volume zone", isResolvable: false)
    }
  }
}

extension String {
  fileprivate func components(separatedBy separator: String) -> [String] {
    split(separator: separator).map(String.init)
  }
}

/// ReadWriteOncePod claims, and disks of old kinds that only one pod may write.
public struct VolumeRestrictions: FilterPlugin {
  public let name = "VolumeRestrictions"
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    let disks = Disk.all(of: pod)
    var single: Set<String> = []
    for name in pod.claims {
      let modes = cluster.objects.claims[pod.namespace, name]?.at("spec", "accessModes")?.elements ?? []
      if modes.contains(where: { $0.string == "ReadWriteOncePod" }) { single.insert(name) }
    }
    if disks.isEmpty, single.isEmpty { return .skip }
    var filter = Unshared(namespace: pod.namespace, claims: single, disks: disks)
    if !single.isEmpty {
      for node in cluster.nodes { for other in node.pods { filter.users += filter.uses(other) } }
    }
    return .filter(filter)
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    switch event {
    case .podRemoved(let gone):
      gone.namespace == pod.namespace && !Set(gone.claims).isDisjoint(with: pod.claims)
        || !Disk.all(of: pod).isEmpty
    case .nodeAdded, .storage: true
    default: false
    }
  }

  private struct Unshared: NodeFilter {
    var namespace: String
    var claims: Set<String>
    var disks: [Disk]
    /// How often pods anywhere use one of the claims.
    var users = 0

    func uses(_ pod: PodInfo) -> Int {
      pod.namespace == namespace ? pod.claims.count { claims.contains($0) } : 0
    }
    mutating func podAdded(_ pod: PodInfo, to node: NodeInfo) { users += uses(pod) }
    mutating func podRemoved(_ pod: PodInfo, from node: NodeInfo) { users -= uses(pod) }

    func check(_ node: NodeInfo) -> Rejection? {
      if users > 0 {
        return Rejection(
          "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")
      }
      if disks.isEmpty { return nil }
      for other in node.pods {
        for disk in Disk.all(of: other) where disks.contains(where: { $0.conflicts(with: disk) }) {
          return Rejection("node(s) had no available disk")
        }
      }
      return nil
    }
  }

  struct Disk: Sendable {
    var identity: String
    var isReadOnly: Bool

    func conflicts(with other: Disk) -> Bool {
      identity == other.identity && !(isReadOnly && other.isReadOnly)
    }

    static func all(of pod: PodInfo) -> [Disk] {
      (pod.object.at("spec", "volumes")?.elements ?? []).compactMap { volume in
        if let disk = volume["gcePersistentDisk"] {
          return Disk(
            identity: "gce/\(disk["pdName"]?.string ?? "")", isReadOnly: disk["readOnly"]?.bool ?? false)
        }
        if let disk = volume["awsElasticBlockStore"] {
          return Disk(identity: "aws/\(disk["volumeID"]?.string ?? "")", isReadOnly: false)
        }
        if let disk = volume["iscsi"] {
          return Disk(
            identity: "iscsi/\(disk["iqn"]?.string ?? "")/\(disk["lun"]?.int ?? 0)",
            isReadOnly: disk["readOnly"]?.bool ?? false)
        }
        if let disk = volume["rbd"] {
          return Disk(
            identity: "rbd/\(disk["pool"]?.string ?? "rbd")/\(disk["image"]?.string ?? "")",
            isReadOnly: disk["readOnly"]?.bool ?? false)
        }
        return nil
      }
    }
  }
}

/// What a CSI driver says it can attach to a node (`CSINode.spec.drivers[].allocatable.count`).
public struct NodeVolumeLimits: FilterPlugin {
  public let name = "NodeVolumeLimits"
  public init() {}

  public func preFilter(_ pod: PodInfo, _ cluster: ClusterState) -> PreFilterResult {
    if pod.claims.isEmpty || cluster.objects.csiNodes.isEmpty { return .skip }
    let wanted = Self.handles(pod, cluster.objects)
    return wanted.isEmpty ? .skip : .filter(Attachable(wanted: wanted, objects: cluster.objects))
  }

  public func mayHelp(_ event: ClusterEvent, _ pod: PodInfo) -> Bool {
    switch event {
    case .podRemoved(let gone): !gone.claims.isEmpty
    case .nodeAdded, .storage: true
    default: false
    }
  }

  /// Driver by volume, named by the handle, or by the claim while there is no volume yet.
  private static func handles(_ pod: PodInfo, _ objects: ClusterObjectsView) -> [String: String] {
    var handles: [String: String] = [:]
    for name in pod.claims {
      guard let claim = objects.claims[pod.namespace, name] else { continue }
      if let volume = objects.volumes["", claim.at("spec", "volumeName")?.string ?? ""] {
        if let source = volume.at("spec", "csi"), let driver = source["driver"]?.string {
          handles["\(driver)/\(source["volumeHandle"]?.string ?? "")"] = driver
        }
      } else if let made = objects.storageClasses["", VolumeSelection.className(claim)]?["provisioner"]?
        .string
      {
        handles["\(made)/\(pod.namespace)/\(name)"] = made
      }
    }
    return handles
  }

  private struct Attachable: NodeFilter {
    var wanted: [String: String]
    var objects: ClusterObjectsView

    func check(_ node: NodeInfo) -> Rejection? {
      guard let drivers = objects.csiNodes["", node.name]?.at("spec", "drivers")?.elements else { return nil }
      var present: [String: String] = [:]
      for pod in node.pods where !pod.claims.isEmpty {
        present.merge(NodeVolumeLimits.handles(pod, objects)) { $1 }
      }
      for driver in drivers {
        guard let name = driver["name"]?.string, let most = driver.at("allocatable", "count")?.int else {
          continue
        }
        let new = wanted.count { $0.value == name && present[$0.key] == nil }
        if new > 0, present.count(where: { $0.value == name }) + new > most {
          return Rejection("node(s) exceed max volume count")
        }
      }
      return nil
    }
  }
}

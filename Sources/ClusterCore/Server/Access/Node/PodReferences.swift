// What a pod needs to be run: the objects that the node it is on must be able to read.

import ClusterObjects

/// An object that a node may be asked about.
struct NodeReference: Sendable, Hashable {
  enum Kind: Sendable, Hashable {
    case pod, secret, configMap, claim, serviceAccount, resourceClaim
  }
  var kind: Kind
  var namespace: String
  var name: String
}

enum PodReferences {
  /// Everything a pod on a node lets that node read. A mirror pod, which its node made, lets it read nothing
  /// but itself.
  static func of(_ pod: JSON) -> Set<NodeReference> {
    let namespace = pod.namespace
    var found: Set<NodeReference> = []
    func add(_ kind: NodeReference.Kind, _ name: JSON?) {
      guard let name = name?.string, !name.isEmpty else { return }
      found.insert(NodeReference(kind: kind, namespace: namespace, name: name))
    }
    add(.pod, JSON(pod.name))
    if pod.at("metadata", "annotations", "kubernetes.io/config.mirror") != nil { return found }
    let spec = pod.spec
    add(.serviceAccount, spec["serviceAccountName"])
    for secret in spec["imagePullSecrets"]?.elements ?? [] { add(.secret, secret["name"]) }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
      for container in spec[list]?.elements ?? [] {
        for variable in container["env"]?.elements ?? [] {
          add(.secret, variable.at("valueFrom", "secretKeyRef", "name"))
          add(.configMap, variable.at("valueFrom", "configMapKeyRef", "name"))
        }
        for source in container["envFrom"]?.elements ?? [] {
          add(.secret, source.at("secretRef", "name"))
          add(.configMap, source.at("configMapRef", "name"))
        }
      }
    }
    for volume in spec["volumes"]?.elements ?? [] {
      add(.secret, volume.at("secret", "secretName"))
      add(.configMap, volume.at("configMap", "name"))
      add(.claim, volume.at("persistentVolumeClaim", "claimName"))
      // The claim of an ephemeral volume is named after both.
      if volume["ephemeral"] != nil, let name = volume["name"]?.string {
        add(.claim, JSON("\(pod.name)-\(name)"))
      }
      for source in volume.at("projected", "sources")?.elements ?? [] {
        add(.secret, source.at("secret", "name"))
        add(.configMap, source.at("configMap", "name"))
      }
      for (driver, reference) in secretFields { add(.secret, volume.at(driver, reference, "name")) }
      add(.secret, volume.at("azureFile", "secretName"))
    }
    for claim in spec["resourceClaims"]?.elements ?? [] { add(.resourceClaim, claim["resourceClaimName"]) }
    for status in pod.at("status", "resourceClaimStatuses")?.elements ?? [] {
      add(.resourceClaim, status["resourceClaimName"])
    }
    return found
  }

  private static let secretFields = [
    ("csi", "nodePublishSecretRef"), ("cephfs", "secretRef"), ("cinder", "secretRef"),
    ("flexVolume", "secretRef"), ("iscsi", "secretRef"), ("rbd", "secretRef"), ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
  ]

  /// Secrets that mounting a PersistentVolume takes. A volume may name the namespace; else it is its claim's.
  static func secrets(ofVolume volume: JSON) -> Set<ObjectKey> {
    let home = volume.at("spec", "claimRef", "namespace")?.string ?? ""
    var found: Set<ObjectKey> = []
    func add(_ reference: JSON?) {
      guard let name = reference?["name"]?.string, !name.isEmpty else { return }
      found.insert(ObjectKey(reference?["namespace"]?.string ?? home, name))
    }
    for (driver, field) in secretFields { add(volume.at("spec", driver, field)) }
    for field in ["nodeStageSecretRef", "nodeExpandSecretRef"] { add(volume.at("spec", "csi", field)) }
    if let azure = volume.at("spec", "azureFile"), let name = azure["secretName"]?.string {
      found.insert(ObjectKey(azure["secretNamespace"]?.string ?? home, name))
    }
    return found
  }
}

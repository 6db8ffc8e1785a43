// Volumes that are folders of a node: what one is made of, and the pod that removes one. Pure.

import ClusterClient
import ClusterObjects

public enum LocalPath {
  /// In the `provisioner` of StorageClasses.
  public static let provisioner = "weft.dev/local-path"
  /// On a Node: the folder that its volumes are made in. A node without offers none.
  public static let folderAnnotation = "weft.dev/local-path"
  /// On the pod that removes a volume's folder: which volume.
  static let removesLabel = "weft.dev/removes-volume"
  static let hostName = "kubernetes.io/hostname"

  /// The class that `weft up` makes: the default one.
  public static let storageClass: JSON = [
    "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
    "metadata": [
      "name": "local-path", "annotations": ["storageclass.kubernetes.io/is-default-class": "true"],
    ],
    "provisioner": JSON(provisioner), "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": false,
  ]
}

/// Why a volume cannot be made.
struct LocalPathProblem: Error, Equatable {
  var message: String
  /// Another node might do: the scheduler is to choose again.
  var isOfNode = false
}

/// The volume for a claim on a node.
func planLocalVolume(_ claim: JSON, storageClass: JSON, nodeName: String, node: JSON?)
  throws(LocalPathProblem) -> JSON
{
  let modes = claim.at("spec", "accessModes")?.elements.compactMap(\.string) ?? []
  if modes.contains(where: { $0 != "ReadWriteOnce" && $0 != "ReadWriteOncePod" }) {
    throw LocalPathProblem(
      message:
        "a folder of a node can be mounted ReadWriteOnce and ReadWriteOncePod, not \(modes.joined(separator: ","))"
    )
  }
  if claim.at("spec", "volumeMode")?.string == "Block" {
    throw LocalPathProblem(message: "a folder of a node is no block device")
  }
  if claim.at("spec", "selector") != nil {
    throw LocalPathProblem(message: "claim.Spec.Selector is not supported")
  }
  if claim.at("spec", "dataSource") != nil || claim.at("spec", "dataSourceRef") != nil {
    throw LocalPathProblem(message: "a folder of a node begins empty: dataSource is not supported")
  }
  guard let node else {
    throw LocalPathProblem(message: "node \"\(nodeName)\" not found", isOfNode: true)
  }
  guard let folder = node.annotations[LocalPath.folderAnnotation], folder.hasPrefix("/"), folder != "/"
  else {
    throw LocalPathProblem(
      message: "node \"\(nodeName)\" has no annotation \(LocalPath.folderAnnotation): it offers no volumes",
      isOfNode: true)
  }
  let name = "pvc-\(claim.uid)"
  let path = "\(folder)/" + "\(name)_\(claim.namespace)_\(claim.name)".prefix(200)
  let hostName = node.labels[LocalPath.hostName] ?? nodeName
  return [
    "apiVersion": "v1", "kind": "PersistentVolume",
    "metadata": [
      "name": JSON(name), "annotations": [VolumeNames.provisionedBy: JSON(LocalPath.provisioner)],
    ],
    "spec": [
      "capacity": ["storage": claim.at("spec", "resources", "requests", "storage") ?? "0"],
      "accessModes": JSON(modes), "volumeMode": "Filesystem",
      "persistentVolumeReclaimPolicy": storageClass["reclaimPolicy"] ?? "Delete",
      "storageClassName": JSON(VolumeSelection.className(claim)), "claimRef": claim.referenceToClaim,
      "hostPath": ["path": JSON(path), "type": "DirectoryOrCreate"],
      "nodeAffinity": [
        "required": [
          "nodeSelectorTerms": [
            [
              "matchExpressions": [
                ["key": JSON(LocalPath.hostName), "operator": "In", "values": [JSON(hostName)]]
              ]
            ]
          ]
        ]
      ],
    ],
  ]
}

extension JSON {
  /// The node's host name that a volume of ours is on.
  var localPathHost: String? {
    at("spec", "nodeAffinity", "required", "nodeSelectorTerms")?.elements.first?["matchExpressions"]?.elements
      .first { $0["key"]?.string == LocalPath.hostName }?["values"]?.elements.first?.string
  }
}

/// The pod that removes a volume's folder on its node; nil when the path is none that was made here.
func planRemoval(of volume: JSON, on node: String, image: String) -> JSON? {
  let path = volume.at("spec", "hostPath", "path")?.string ?? volume.at("spec", "local", "path")?.string ?? ""
  let parts = path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
  guard path.hasPrefix("/"), parts.count > 1, !parts.contains(".."), let last = parts.last,
    last.hasPrefix(volume.name)
  else { return nil }
  let parent = "/" + parts.dropLast().joined(separator: "/")
  return [
    "apiVersion": "v1", "kind": "Pod",
    "metadata": [
      "namespace": "kube-system", "name": JSON("remove-\(volume.name)"),
      "labels": [LocalPath.removesLabel: JSON(volume.name)],
    ],
    "spec": [
      "nodeName": JSON(node), "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
      "automountServiceAccountToken": false, "enableServiceLinks": false,
      "hostNetwork": true, "tolerations": [["operator": "Exists"]],
      "containers": [
        [
          "name": "remove", "image": JSON(image), "imagePullPolicy": "IfNotPresent",
          "command": ["/bin/rm", "-rf", JSON("/volumes/\(last)")],
          "securityContext": ["runAsUser": 0],
          "volumeMounts": [["name": "volumes", "mountPath": "/volumes"]],
        ]
      ],
      "volumes": [
        ["name": "volumes", "hostPath": ["path": JSON(parent), "type": "DirectoryOrCreate"]]
      ],
    ],
  ]
}

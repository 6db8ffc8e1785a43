// Pods that come from a file of the node or from a server of manifests: what tells them apart.

import ClusterObjects

enum StaticPodAnnotations {
  static let source = "kubernetes.io/config.source"
  static let hash = "kubernetes.io/config.hash"
  static let seen = "kubernetes.io/config.seen"
  /// On the object in the API that stands for such a pod.
  static let mirror = "kubernetes.io/config.mirror"
}

extension JSON {
  /// Runs by a file of this node, or by what a server of manifests says; the API has a mirror of it at most.
  var isStaticPod: Bool { ["file", "http"].contains(annotations[StaticPodAnnotations.source] ?? "") }
  /// Stands in the API for a static pod.
  var isMirrorPod: Bool { annotations[StaticPodAnnotations.mirror] != nil }
}

// From a manifest on the node's disk, or from a server, to a pod, and from that to its mirror in the API. Pure.

import ClusterClient
import ClusterObjects
import Crypto

enum StaticPodPlan {
  static let manifestBytesMax = 1 << 20

  /// Why a file is no pod.
  struct Refusal: Error, Hashable { var message: String }

  /// The pod of a manifest, YAML or JSON. Its uid is a digest: another manifest is another pod.
  static func pod(_ text: String, path: String, nodeName: String, seen: String) throws(Refusal) -> JSON {
    try pod(
      try parse(text), text, Origin(source: "file", place: path, nodeName: nodeName, seen: seen))
  }

  /// The pods of what a server said: of one manifest, or of a list of them; none of nothing.
  static func pods(_ text: String, url: String, nodeName: String, seen: String) throws(Refusal) -> [JSON] {
    if text.allSatisfy(\.isWhitespace) { return [] }
    let origin = Origin(source: "http", place: url, nodeName: nodeName, seen: seen)
    let tree = try parse(text)
    guard ["PodList", "List"].contains(tree.kind), tree["apiVersion"]?.string == "v1" else {
      return [try pod(tree, text, origin)]
    }
    var pods: [JSON] = []
    for var item in tree["items"]?.elements ?? [] {
      // The items of a list need not say what the list says.
      if item["kind"] == nil { item["kind"] = "Pod" }
      if item["apiVersion"] == nil { item["apiVersion"] = "v1" }
      pods.append(try pod(item, String(decoding: item.bytes, as: UTF8.self), origin))
    }
    return pods
  }

  /// Where a manifest is from.
  private struct Origin {
    var source: String
    var place: String
    var nodeName: String
    var seen: String
  }

  private static func parse(_ text: String) throws(Refusal) -> JSON {
    do {
      return try YAML.parse(text)
    } catch {
      throw Refusal(message: "\(error)")
    }
  }

  private static func pod(_ tree: JSON, _ text: String, _ origin: Origin) throws(Refusal) -> JSON {
    let nodeName = origin.nodeName
    guard tree.kind == "Pod", tree["apiVersion"]?.string == "v1" else {
      throw Refusal(message: "is no Pod of v1")
    }
    guard !tree.name.isEmpty, tree.at("spec", "containers")?.elements.isEmpty == false else {
      throw Refusal(message: "has no name or no containers")
    }
    if let kind = apiReference(tree) {
      throw Refusal(message: "static pods may not reference \(kind): they run without the API")
    }
    var pod = tree
    // The bytes as they are: whoever changes the file changes the pod.
    let digest = SHA256.hash(data: Array("\(nodeName)\n\(origin.place)\n\(text)".utf8))
    let uid = digest.prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    pod.set(JSON("\(tree.name)-\(nodeName.lowercased())"), at: "metadata", "name")
    pod.set(JSON(tree.namespace.isEmpty ? "default" : tree.namespace), at: "metadata", "namespace")
    pod.set(JSON(uid), at: "metadata", "uid")
    for (key, value) in [
      (StaticPodAnnotations.source, origin.source), (StaticPodAnnotations.hash, uid),
      (StaticPodAnnotations.seen, origin.seen),
    ] { pod.set(JSON(value), at: "metadata", "annotations", key) }
    pod.set(nil, at: "metadata", "annotations", StaticPodAnnotations.mirror)
    pod.set(JSON(nodeName), at: "spec", "nodeName")
    // A node in trouble keeps its own pods.
    let tolerations = tree.at("spec", "tolerations")?.elements ?? []
    pod.set(
      .array(tolerations + [["operator": "Exists", "effect": "NoExecute"]]), at: "spec", "tolerations")
    pod.set(["phase": "Pending"], at: "status")
    return pod
  }

  /// What of the API a manifest needs; nil when nothing.
  private static func apiReference(_ pod: JSON) -> String? {
    let (objects, tokens) = planReferences(pod)
    if objects.contains(where: { $0.hasPrefix("configMap/") }) { return "configmaps" }
    if !objects.isEmpty { return "secrets" }
    if !tokens.isEmpty || pod.at("spec", "serviceAccountName")?.string?.isEmpty == false {
      return "serviceaccounts"
    }
    let needsClaim =
      pod.at("spec", "volumes")?.elements.contains { $0["persistentVolumeClaim"] != nil } ?? false
    return needsClaim ? "persistentvolumeclaims" : nil
  }

  /// The object that stands for the pod in the API.
  static func mirror(_ pod: JSON, node: JSON?) -> JSON {
    var mirror = pod
    mirror.set(nil, at: "metadata", "uid")
    mirror.set(nil, at: "status")
    let hash = pod.annotations[StaticPodAnnotations.hash] ?? pod.uid
    mirror.set(JSON(hash), at: "metadata", "annotations", StaticPodAnnotations.mirror)
    mirror.set(false, at: "spec", "automountServiceAccountToken")
    if let node, !node.uid.isEmpty {
      mirror.set(
        [
          [
            "apiVersion": "v1", "kind": "Node", "name": JSON(node.name), "uid": JSON(node.uid),
            "controller": true,
          ]
        ], at: "metadata", "ownerReferences")
    }
    return mirror
  }

  /// What changed between two looks at the folder, by uid.
  static func changes(from old: [String: JSON], to new: [String: JSON]) -> (gone: [String], added: [JSON]) {
    (
      old.keys.filter { new[$0] == nil }.sorted(),
      new.filter { old[$0.key] == nil }.sorted { $0.key < $1.key }.map(\.value)
    )
  }
}

// What is to be captured, as people name it on the command line.
//
//   demo/web-1   demo/web-*   pod/demo/web-1   svc/demo/web   policy/demo/web-from-client   clusterpolicy/guests   node/node-1   demo/a,demo/b

import ClusterObjects
import Diagnostics

/// One thing, as it was named, not yet looked up.
public enum CaptureTarget: Sendable, Hashable {
  /// A pod, else a Service.
  case object(ObjectKey)
  case pod(ObjectKey)
  /// Pods of a namespace whose name begins so.
  case podsBeginning(ObjectKey)
  case service(ObjectKey)
  /// The pods that a NetworkPolicy selects.
  case policy(ObjectKey)
  /// The pods that a ClusterNetworkPolicy is about.
  case clusterPolicy(String)
  case node(String)

  /// So many are taken at once.
  public static let countMax = 32

  /// Reads one or several with commas between. Throws `CAP0001`.
  public static func read(_ text: String, namespace: String = "default") throws(WeftError) -> [CaptureTarget]
  {
    let words = text.split(separator: ",", omittingEmptySubsequences: false)
    guard words.count <= countMax else {
      throw WeftError(
        "CAP0001", object: "\(words.count) targets", cause: "are more than \(countMax)",
        next: "write NAMESPACE/POD-* for several pods, or policy/NAMESPACE/NAME")
    }
    var targets: [CaptureTarget] = []
    for word in words { targets.append(try one(word, namespace)) }
    return targets
  }

  private static func one(_ text: Substring, _ namespace: String) throws(WeftError) -> CaptureTarget {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    if parts.contains("") || parts.isEmpty { throw unreadable(text) }
    let isTyped = parts.count == 3 || (parts.count == 2 && kinds.contains(parts[0]))
    guard isTyped else {
      guard parts.count <= 2 else { throw unreadable(text) }
      let key = parts.count == 2 ? ObjectKey(parts[0], parts[1]) : ObjectKey(namespace, parts[0])
      return beginning(key) ?? .object(key)
    }
    let key = parts.count == 3 ? ObjectKey(parts[1], parts[2]) : ObjectKey(namespace, parts[1])
    switch parts[0] {
    case "pod", "pods", "po": return beginning(key) ?? .pod(key)
    case "svc", "service", "services": return .service(key)
    case "policy", "netpol", "networkpolicy", "networkpolicies": return .policy(key)
    case "node", "nodes", "no":
      guard parts.count == 2 else { throw unreadable(text) }
      return .node(parts[1])
    case "clusterpolicy", "cnp", "clusternetworkpolicy", "clusternetworkpolicies":
      guard parts.count == 2 else { throw unreadable(text) }
      return .clusterPolicy(parts[1])
    default: throw unreadable(text)
    }
  }

  private static let kinds: Set<String> = [
    "pod", "pods", "po", "svc", "service", "services", "policy", "netpol", "networkpolicy",
    "networkpolicies", "node", "nodes", "no", "clusterpolicy", "cnp", "clusternetworkpolicy",
    "clusternetworkpolicies",
  ]

  private static func beginning(_ key: ObjectKey) -> CaptureTarget? {
    key.name.hasSuffix("*")
      ? .podsBeginning(ObjectKey(key.namespace, String(key.name.dropLast()))) : nil
  }

  private static func unreadable(_ text: Substring) -> WeftError {
    WeftError(
      "CAP0001", object: "\(text)", cause: "names nothing that can be captured",
      next:
        "write NAMESPACE/POD, NAMESPACE/POD-*, svc/NAMESPACE/NAME, policy/NAMESPACE/NAME, clusterpolicy/NAME or node/NAME"
    )
  }
}

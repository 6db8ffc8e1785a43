// Names that somebody may have meant: those a slip of the finger away. Pure.

import ClusterObjects
import ClusterView
import Diagnostics

/// What a name that does not exist may have meant.
public enum Spelling {
  /// Names that are looked at; a cluster with more is not searched to its end.
  static let candidatesMax = 50_000
  /// The Service that was meant, nearest name first; nil when none is near.
  public static func service(_ key: ObjectKey, in view: ClusterView) -> ObjectKey? {
    var near: [ObjectKey] = []
    for candidate in view.services.keys.prefix(candidatesMax) {
      if NearWord.isNear(key.name, candidate.name), NearWord.isNear(key.namespace, candidate.namespace) {
        near.append(candidate)
      }
    }
    func slips(_ candidate: ObjectKey) -> Int {
      NearWord.distance(Array(key.name.utf8), Array(candidate.name.utf8))
        + NearWord.distance(Array(key.namespace.utf8), Array(candidate.namespace.utf8))
    }
    if let best = near.min(by: { (slips($0), $0) < (slips($1), $1) }) { return best }
    // The name is right, and the namespace another.
    return view.services.keys.filter { $0.name == key.name }.min()
  }

  /// The pod that was meant: one of a workload of this name, else the nearest name of its namespace.
  static func pod(_ key: ObjectKey, in view: ClusterView) -> ObjectKey? {
    let names = view.pods.keys.lazy.filter { $0.namespace == key.namespace }.prefix(candidatesMax).map(\.name)
    let own = names.filter { $0.hasPrefix("\(key.name)-") }.min()
    return (own ?? NearWord.nearest(to: key.name, in: names)).map { ObjectKey(key.namespace, $0) }
  }

  /// The cluster's name that was meant by one that does not exist.
  static func name(_ text: String, in view: ClusterView) -> String? {
    let labels = text.split(separator: ".", omittingEmptySubsequences: true).map(String.init)
    guard labels.count >= 2 else { return nil }
    let rest = labels.count > 2 ? labels[2...].joined(separator: ".") : ""
    guard let meant = service(ObjectKey(labels[1], labels[0]), in: view) else { return nil }
    let zone = labels.dropFirst(3).joined(separator: ".")
    // `svc` itself is a word to be mistyped.
    let tail = rest.isEmpty ? "" : ".svc" + (zone.isEmpty ? "" : ".\(zone)")
    let name = "\(meant.name).\(meant.namespace)\(tail)"
    return name == text ? nil : name
  }
}

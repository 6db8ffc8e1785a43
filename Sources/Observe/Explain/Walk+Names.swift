// From a name to an address: the pod's search list, aliases, and what a mistyped name may have meant.

import Addresses
import ClusterObjects
import Diagnostics
import Policy

extension Walk {
  /// The name that the pod's resolver asks for: one of few dots is looked for along the pod's search list first, as by the default
  /// dnsPolicy. A dot at the end takes it as it stands.
  mutating func found(_ name: String) -> String {
    if name.hasSuffix(".") { return String(name.dropLast()) }
    guard let pod = source.pod, name.count(where: { $0 == "." }) < Explainer.dots else { return name }
    let zone = explainer.zone
    for ending in ["\(pod.namespace).svc.\(zone)", "svc.\(zone)", zone] {
      let whole = "\(name).\(ending)"
      switch explainer.names(whole) {
      case .addresses, .alias, .noData:
        add("name", .fine, "\(name) is looked for as \(whole) by the pod's search list")
        return whole
      case .doesNotExist, .forwarded: continue
      }
    }
    return name
  }

  mutating func toName(_ name: String, _ target: ExplainTarget, depth: Int) throws(WeftError) {
    switch explainer.names(name) {
    case .addresses(let addresses):
      add("name", .fine, "\(name) is \(addresses.map(\.description).joined(separator: ", "))")
      guard let first = addresses.first else { return }
      try toAddress(first, target)
    case .alias(let other) where depth < 8:
      add("name", .fine, "\(name) is another name for \(other)")
      try toName(other, target, depth: depth + 1)
    case .alias(let other): add("name", .fault, "\(name) leads to \(other) and in circles")
    case .noData:
      add(
        "name", .fault, "\(name) exists but has no address",
        hint: "ask for its other records: dig \(name) ANY")
    case .doesNotExist:
      let meant = Spelling.name(name, in: view).map { "did you mean \($0)? " } ?? ""
      add(
        "name", .fault, "\(name) does not exist in the cluster's zone",
        hint: "\(meant)compare with: kubectl get services -A; names are SERVICE.NAMESPACE.svc.ZONE")
    case .forwarded:
      let meant = Spelling.name(name, in: view).map { "did you mean \($0)? " } ?? ""
      add(
        "name", .note, "\(name) is not the cluster's; it is asked of the upstream servers",
        hint: "\(meant)what policies say of its address: weft explain \(explanation.source) ADDRESS:PORT")
    }
  }
}

// Certificates of authorities in a pod's files: what a `clusterTrustBundle` source of a projected volume asks for (KEP-3257). Pure.

import ClusterClient
import ClusterObjects

/// One bundle by its name, or all of a signer's that a selector wants.
struct TrustWish: Sendable, Hashable {
  var name: String?
  var signer: String?
  /// None: no bundle at all; an empty one: every bundle of the signer.
  var selector: JSON?

  init(_ source: JSON) {
    name = source["name"]?.string
    signer = source["signerName"]?.string
    selector = source["labelSelector"]
  }

  func isOf(_ bundle: JSON) -> Bool {
    if let name { return bundle.name == name }
    return bundle.spec["signerName"]?.string == signer && SelectorMatch.matches(selector, bundle.labels)
  }

  /// What it is called when it is missing.
  var words: String {
    name.map { "ClusterTrustBundle \"\($0)\" not found" }
      ?? "combination of signerName and labelSelector matched zero ClusterTrustBundles"
  }
}

/// What the pod's volumes ask for.
func planTrustWishes(_ pod: JSON) -> Set<TrustWish> {
  let volumes = pod.at("spec", "volumes")?.elements ?? []
  return Set(
    volumes.flatMap { $0.at("projected", "sources")?.elements ?? [] }
      .compactMap { $0["clusterTrustBundle"].map { TrustWish($0) } })
}

/// The certificates of the bundles that are wanted, each once, in an order that does not change when bundles come in another; nil when
/// there is no such bundle.
func planTrust(_ wish: TrustWish, _ bundles: [JSON]) -> String? {
  let found = bundles.filter { wish.isOf($0) }
  if found.isEmpty { return nil }
  return Set(found.flatMap { PEM.blocks($0.spec["trustBundle"]?.string ?? "") }).sorted().joined()
}

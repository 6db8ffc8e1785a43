// How nodes learn that a load balancer's addresses are theirs to announce: by the Service's own status, so that they need read nothing
// else. Addresses that a cloud wrote have no such condition, and nobody may announce those.

extension JSON {
  /// True in `status.conditions` of a Service whose addresses come from a pool of this cluster's.
  public static let announcedCondition = "weft.dev/AnnouncedByNodes"
  /// `spec.loadBalancerClass` that means this cluster's pool; Services without a class are served too.
  public static let poolClass = "weft.dev/load-balancer"

  /// Whether nodes answer for the addresses in the Service's status.
  public var isAnnouncedByNodes: Bool {
    let name = at("spec", "loadBalancerClass")?.string
    return (name == nil || name == Self.poolClass)
      && (at("status", "conditions")?.elements ?? []).contains {
        $0["type"]?.string == Self.announcedCondition && $0["status"]?.string == "True"
      }
  }
}

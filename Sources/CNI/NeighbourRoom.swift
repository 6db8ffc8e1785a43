// Room in the kernel's neighbour tables. One table for each family serves the machine and all its pods together; with the kernel's
// own limit of 1,024 entries some 280 pods that have just begun to talk fill that of IPv6, and then nobody finds a new neighbour:
// pings are lost for half a minute. Only the machine's own network namespace has the settings.
import KernelNetlink

/// The limits of the neighbour tables.
public enum NeighbourRoom {
  /// A pod's own entries and the node's of it, in the table of one family: addresses, the link-local ones, their gateways.
  static let entriesPerPod = 4

  /// From so many entries on the kernel clears old ones, makes room at once, refuses new ones.
  static let limits = [("gc_thresh1", 4096), ("gc_thresh2", 8192), ("gc_thresh3", 16384)]

  static func setting(_ family: IPFamilyName, _ name: String) -> String {
    "net/\(family.rawValue)/neigh/default/\(name)"
  }

  enum IPFamilyName: String, CaseIterable { case ipv4, ipv6 }

  /// Raises what is less. Elsewhere than in the machine's own namespace there is nothing to raise; not to be allowed to is no error:
  /// `weft cni check` says what is missing.
  /// - Returns: what was changed, with the former values.
  @discardableResult
  public static func make() -> [(name: String, former: Int)] {
    var changed: [(name: String, former: Int)] = []
    for family in IPFamilyName.allCases {
      // The last is raised first: the kernel does not mind, but no moment has less room than before.
      for (name, value) in limits.reversed() {
        let path = setting(family, name)
        if let former = try? Sysctl.raise(path, to: value) { changed.append((path, former)) }
      }
    }
    return changed
  }
}

// Room in the kernel for a machine with hundreds of pods. Only the machine's own network namespace has these settings.
//
// Neighbour tables: one for each family serves the machine and all its pods together; with the kernel's limit of 1,024 entries some
// 280 pods that have just begun to talk fill that of IPv6, and who is then looked for is not found.
// Backlog: a frame for everybody (who has this address?) becomes one for each port of the bridge at once, in a queue of 1,000 for each
// processor: from some 300 pods on a few such frames overflow it, and each loss costs the second until it is asked again.
import Addresses
import KernelNetlink

/// The limits that pods fill.
public enum KernelRoom {
  /// A pod's own entries and the node's of it in the table of one family that are in use and cannot be cleared.
  static let entriesPerPod = 4
  /// Frames for everybody that come at once: an address asked for, announced, groups joined.
  static let floodsAtOnce = 4
  static let limit = 16384
  static let backlog = "net/core/netdev_max_backlog"

  /// The setting beyond which new neighbours are refused.
  static func neighbours(_ family: IPFamily) -> String {
    "net/\(family == .v4 ? "ipv4" : "ipv6")/neigh/default/gc_thresh3"
  }

  /// Each with its least value. From `gc_thresh1` entries on the kernel clears old ones, at `gc_thresh2` it does so at once.
  static let limits: [(name: String, value: Int)] = [
    (neighbours(.v4), limit), ("net/ipv4/neigh/default/gc_thresh2", limit / 2),
    ("net/ipv4/neigh/default/gc_thresh1", limit / 4), (neighbours(.v6), limit),
    ("net/ipv6/neigh/default/gc_thresh2", limit / 2), ("net/ipv6/neigh/default/gc_thresh1", limit / 4),
    (backlog, limit),
  ]

  /// Raises what is less. Elsewhere than in the machine's own namespace there is nothing to raise; not to be allowed to is no error:
  /// `weft cni check` says what is missing.
  /// - Returns: what was changed, with the former values.
  @discardableResult
  public static func make() -> [(name: String, former: Int)] {
    limits.compactMap { name, value in
      (try? Sysctl.raise(name, to: value)).map { (name, $0) }
    }
  }
}

// One family's block of all pods, cut into equal blocks of which each node gets one. A value; knows nothing of the API.

import Addresses

/// The blocks of one cluster CIDR and how many nodes hold each.
///
/// Candidates go round: a block that came free is given again only after all others, so that packets to a node that is gone
/// do not reach a new one.
struct NodeBlockPool: Sendable, Equatable {
  /// Blocks of one cluster CIDR at most, upstream's bound: the mask may be this much longer than the cluster's.
  static let maskDifferenceMax = 16

  let cluster: IPPrefix
  let maskSize: Int
  /// Blocks that nodes hold, with their number: two nodes may claim one by hand.
  private var holders: [Int: Int] = [:]
  private var candidate = 0

  /// Nil when the mask is shorter than the cluster's, or so much longer that there would be too many blocks.
  init?(_ cluster: IPPrefix, maskSize: Int) {
    guard (cluster.length...cluster.family.width).contains(maskSize),
      maskSize - cluster.length <= Self.maskDifferenceMax
    else { return nil }
    self.cluster = cluster
    self.maskSize = maskSize
  }

  /// How many blocks there are.
  var total: Int { 1 << (maskSize - cluster.length) }
  /// How many of them nodes hold.
  var used: Int { holders.count }

  /// The blocks that one of any size covers; nil for one that lies outside the cluster's.
  func slots(_ block: IPPrefix) -> ClosedRange<Int>? {
    if block.length <= cluster.length { return block.contains(cluster) ? 0...(total - 1) : nil }
    guard cluster.contains(block) else { return nil }
    let first = slot(block.address)
    return first...slot(block.last)
  }

  mutating func hold(_ slots: ClosedRange<Int>) {
    for slot in slots { holders[slot, default: 0] += 1 }
  }

  /// Whether a block came free.
  @discardableResult mutating func release(_ slots: ClosedRange<Int>) -> Bool {
    var isFreed = false
    for slot in slots {
      guard let count = holders[slot] else { continue }
      holders[slot] = count > 1 ? count - 1 : nil
      if count == 1 { isFreed = true }
    }
    return isFreed
  }

  /// The next free block, held from now on, and how many were looked at before it. Nil when none is free.
  mutating func take() -> (slots: ClosedRange<Int>, tries: Int)? {
    guard used < total else { return nil }
    for tries in 0..<total {
      let slot = (candidate + tries) % total
      guard holders[slot] == nil else { continue }
      candidate = (slot + 1) % total
      hold(slot...slot)
      return (slot...slot, tries)
    }
    return nil
  }

  /// The block of a place.
  func block(_ slot: Int) -> IPPrefix? {
    switch cluster.address {
    case .v4(let four):
      return IPPrefix(
        .v4(IPv4Address(bits: four.bits | UInt32(slot) << UInt32(32 - maskSize))), length: maskSize)
    case .v6(let six):
      return IPPrefix(
        .v6(IPv6Address(bits: six.bits | UInt128(slot) << UInt128(128 - maskSize))), length: maskSize)
    }
  }

  private func slot(_ address: IPAddress) -> Int {
    let mask = total - 1
    switch address {
    case .v4(let four): return Int(UInt64(four.bits) >> UInt64(32 - maskSize)) & mask
    case .v6(let six): return Int(truncatingIfNeeded: six.bits >> UInt128(128 - maskSize)) & mask
    }
  }
}

/// How pod addresses are given to nodes: kube-controller-manager's `--cluster-cidr`, `--node-cidr-mask-size-ipv4`,
/// `--node-cidr-mask-size-ipv6` and `--service-cluster-ip-range`.
public struct NodeIPAMSettings: Sendable, Hashable {
  /// One block, or one of each family; the order is that of `spec.podCIDRs`.
  public var clusterBlocks: [IPPrefix]
  public var maskSizeV4 = 24
  public var maskSizeV6 = 64
  /// Never given to nodes, should they lie within.
  public var serviceBlocks: [IPPrefix] = []
  public init(clusterBlocks: [IPPrefix]) { self.clusterBlocks = clusterBlocks }

  func maskSize(_ family: IPFamily) -> Int { family == .v4 ? maskSizeV4 : maskSizeV6 }

  /// Why no blocks can be given by these settings; nil when they can.
  public var problem: String? {
    if clusterBlocks.isEmpty || clusterBlocks.count > 2
      || Set(clusterBlocks.map(\.family)).count != clusterBlocks.count
    {
      return "name one block, or one of each family"
    }
    for block in clusterBlocks where NodeBlockPool(block, maskSize: maskSize(block.family)) == nil {
      let size = maskSize(block.family)
      return size < block.length || size > block.family.width
        ? "the node mask size /\(size) does not fit into \(block)"
        : "the node mask size /\(size) cuts \(block) into more than 65536 blocks"
    }
    return nil
  }
}

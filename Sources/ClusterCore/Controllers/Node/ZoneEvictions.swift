// How fast nodes may lose their pods: one at a time in each zone, slower when most of a zone is ill, and not at all when
// everything is ill at once, for then it is more likely that we are cut off.

import ClusterObjects

/// kube-controller-manager's flags `--node-eviction-rate`, `--secondary-node-eviction-rate`,
/// `--unhealthy-zone-threshold` and `--large-cluster-size-threshold`, with its defaults.
public struct NodeEvictionSettings: Sendable, Hashable {
  /// Nodes a second in each zone.
  public var rate = 0.1
  /// The same in a zone most of which is ill.
  public var secondaryRate = 0.01
  /// The part of a zone that must be ill for that; at least three nodes.
  public var unhealthyZoneThreshold = 0.55
  /// Smaller zones of which most are ill lose no pods at all.
  public var largeClusterSizeThreshold = 50
  public init() {}
}

/// Which nodes are ill where, and whose turn it is. A value; bounded by the number of nodes.
struct ZoneEvictions: Sendable {
  struct Zone: Sendable, Equatable {
    var size = 0
    var ill = 0
  }
  enum Disruption: Sendable { case none, partial, full }

  let settings: NodeEvictionSettings
  private struct Node: Sendable {
    var zone: String
    var isIll: Bool
    /// Which look it was when it was found ill.
    var illSince = 0
    /// The last look at it.
    var seen: Int
  }
  private var nodes: [String: Node] = [:]
  private var looks = 0
  private(set) var zones: [String: Zone] = [:]
  /// When a zone's next node may be taken.
  private var nextTurn: [String: Double] = [:]

  init(_ settings: NodeEvictionSettings) { self.settings = settings }

  /// The zone that a node's labels say, as metrics name it.
  static func zone(_ node: JSON) -> String {
    func label(_ name: String) -> String {
      node.labels["topology.kubernetes.io/\(name)"] ?? node.labels[
        "failure-domain.beta.kubernetes.io/\(name)"] ?? ""
    }
    let (region, zone) = (label("region"), label("zone"))
    return region.isEmpty && zone.isEmpty ? "" : "\(region):\(zone)"
  }

  mutating func observe(_ node: JSON, isIll: Bool) {
    let before = nodes[node.name]
    forget(node.name)
    let zone = Self.zone(node)
    looks += 1
    nodes[node.name] = Node(
      zone: zone, isIll: isIll, illSince: before?.isIll == true ? before?.illSince ?? looks : looks,
      seen: looks)
    zones[zone, default: Zone()].size += 1
    if isIll { zones[zone]?.ill += 1 }
  }

  mutating func forget(_ name: String) {
    guard let node = nodes.removeValue(forKey: name) else { return }
    zones[node.zone]?.size -= 1
    if node.isIll { zones[node.zone]?.ill -= 1 }
    if zones[node.zone]?.size == 0 { zones[node.zone] = nil }
  }

  func disruption(_ zone: Zone) -> Disruption {
    if zone.ill > 0, zone.ill == zone.size { return .full }
    let isMost = Double(zone.ill) >= settings.unhealthyZoneThreshold * Double(zone.size)
    return zone.ill > 2 && isMost ? .partial : .none
  }

  /// Nothing is well anywhere: nobody loses pods.
  var isAllDisrupted: Bool { !zones.isEmpty && zones.values.allSatisfy { disruption($0) == .full } }

  /// Whether the node may be given a NoExecute taint now, which is then its zone's turn. Not before every node was looked at
  /// since this one was found ill: others may have fallen silent with it.
  mutating func takeTurn(_ name: String, now: Double) -> Bool {
    guard let node = nodes[name], node.isIll, let zone = zones[node.zone], !isAllDisrupted else {
      return false
    }
    let key = node.zone
    let rate: Double
    switch disruption(zone) {
    case .none, .full: rate = settings.rate
    case .partial: rate = zone.size > settings.largeClusterSizeThreshold ? settings.secondaryRate : 0
    }
    guard rate > 0, now >= nextTurn[key] ?? now, nodes.values.allSatisfy({ $0.seen > node.illSince })
    else { return false }
    nextTurn = nextTurn.filter { zones[$0.key] != nil }
    nextTurn[key] = now + 1 / rate
    return true
  }
}

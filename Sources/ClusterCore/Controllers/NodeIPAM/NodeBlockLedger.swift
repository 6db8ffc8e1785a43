// Which node has which blocks: what Node objects say, and what was given and is not seen there yet.

import Addresses
import ClusterObjects
import Diagnostics
import Synchronization

/// Thread-safe. The informer's handler tells it of every node before the controller looks, so that after a restart all blocks
/// in use are known before the first is given.
final class NodeBlockLedger: Sendable {
  private struct Claim {
    var uid: String
    var blocks: [IPPrefix]
    /// Places held, each with the index of its pool.
    var held: [(pool: Int, slots: ClosedRange<Int>)]
    /// The Node object is not seen to say so yet.
    var isReserved: Bool
  }
  private struct State {
    var pools: [NodeBlockPool]
    var claims: [String: Claim] = [:]
    /// Nodes that wait for a block.
    var starved: Set<String> = []
  }
  /// What `reserve` found.
  enum Reservation: Equatable {
    case blocks([IPPrefix])
    /// This cluster CIDR has no block left.
    case exhausted(IPPrefix)
  }

  private let state: Mutex<State>
  private let metrics: NodeIPAMMetrics

  init(_ settings: NodeIPAMSettings, metrics: Metrics) {
    var pools = settings.clusterBlocks.compactMap {
      NodeBlockPool($0, maskSize: settings.maskSize($0.family))
    }
    for block in settings.serviceBlocks {
      for index in pools.indices
      where pools[index].cluster.contains(block) || block.contains(pools[index].cluster) {
        if let slots = pools[index].slots(block) { pools[index].hold(slots) }
      }
    }
    state = Mutex(State(pools: pools))
    self.metrics = NodeIPAMMetrics(metrics)
    for pool in pools { self.metrics.observe(pool) }
  }

  /// Takes a node in; nil when it is gone. Returns the nodes that may find a free block now.
  func see(_ name: String, _ node: JSON?) -> [String] {
    state.withLock { state in
      let blocks = node?.podBlocks ?? []
      var freed = false
      if let claim = state.claims[name] {
        if let node, blocks == claim.blocks || (blocks.isEmpty && claim.isReserved && claim.uid == node.uid) {
          if !blocks.isEmpty {
            state.claims[name]?.isReserved = false
            state.claims[name]?.uid = node.uid
          }
          return []
        }
        freed = release(claim, &state)
        state.claims[name] = nil
      }
      if let node {
        if !blocks.isEmpty {
          state.claims[name] = claim(blocks, uid: node.uid, &state)
          state.starved.remove(name)
        }
      } else {
        state.starved.remove(name)
      }
      guard freed else { return [] }
      defer { state.starved = [] }
      return state.starved.sorted()
    }
  }

  /// Blocks for a node that has none: those reserved for it before, else free ones of every family.
  func reserve(_ node: JSON) -> Reservation {
    state.withLock { state in
      if let claim = state.claims[node.name] {
        if claim.uid == node.uid { return .blocks(claim.blocks) }
        _ = release(claim, &state)
        state.claims[node.name] = nil
      }
      var held: [(pool: Int, slots: ClosedRange<Int>)] = []
      var blocks: [IPPrefix] = []
      for index in state.pools.indices {
        guard let (slots, tries) = state.pools[index].take(),
          let block = state.pools[index].block(slots.lowerBound)
        else {
          for (pool, slots) in held { state.pools[pool].release(slots) }
          state.starved.insert(node.name)
          return .exhausted(state.pools[index].cluster)
        }
        metrics.allocated(state.pools[index], tries: tries)
        held.append((index, slots))
        blocks.append(block)
      }
      state.claims[node.name] = Claim(uid: node.uid, blocks: blocks, held: held, isReserved: true)
      return .blocks(blocks)
    }
  }

  private func claim(_ blocks: [IPPrefix], uid: String, _ state: inout State) -> Claim {
    var held: [(pool: Int, slots: ClosedRange<Int>)] = []
    for block in blocks {
      for index in state.pools.indices {
        guard let slots = state.pools[index].slots(block) else { continue }
        state.pools[index].hold(slots)
        held.append((index, slots))
        metrics.observe(state.pools[index])
      }
    }
    return Claim(uid: uid, blocks: blocks, held: held, isReserved: false)
  }

  private func release(_ claim: Claim, _ state: inout State) -> Bool {
    var freed = false
    for (pool, slots) in claim.held {
      if state.pools[pool].release(slots) { freed = true }
      metrics.released(state.pools[pool])
    }
    return freed
  }
}

/// Upstream's names, the misspelt one too; labels are the cluster CIDR.
private struct NodeIPAMMetrics: Sendable {
  private let allocations: MetricFamily<Counter>
  private let releases: MetricFamily<Counter>
  private let usage: MetricFamily<Gauge>
  private let total: MetricFamily<Gauge>
  private let tries: MetricFamily<Histogram>

  init(_ metrics: Metrics) {
    let prefix = "node_ipam_controller"
    let labels = ["clusterCIDR"]
    allocations = metrics.counter(
      "\(prefix)_cidrset_cidrs_allocations_total", "Blocks given to nodes.", labels: labels)
    releases = metrics.counter(
      "\(prefix)_cidrset_cidrs_releases_total", "Blocks that came free.", labels: labels)
    usage = metrics.gauge(
      "\(prefix)_cidrset_usage_cidrs", "Part of the blocks that nodes have.", labels: labels)
    total = metrics.gauge("\(prefix)_cirdset_max_cidrs", "Blocks that there are.", labels: labels)
    tries = metrics.histogram(
      "\(prefix)_cidrset_allocation_tries_per_request", "Taken blocks looked at before a free one.",
      labels: labels, bounds: [1, 5, 25, 125, 625])
  }

  func observe(_ pool: NodeBlockPool) {
    let name = "\(pool.cluster)"
    total.child(name).set(Double(pool.total))
    usage.child(name).set(Double(pool.used) / Double(pool.total))
  }

  func allocated(_ pool: NodeBlockPool, tries count: Int) {
    allocations.child("\(pool.cluster)").increment()
    tries.child("\(pool.cluster)").observe(Double(count))
    observe(pool)
  }

  func released(_ pool: NodeBlockPool) {
    releases.child("\(pool.cluster)").increment()
    observe(pool)
  }
}

extension JSON {
  /// A Node's `spec.podCIDRs`, or its `podCIDR` of older clusters. What cannot be read counts as absent.
  var podBlocks: [IPPrefix] {
    let all = (at("spec", "podCIDRs")?.elements ?? []).compactMap { $0.string }
    let texts = all.isEmpty ? [at("spec", "podCIDR")?.string].compactMap(\.self) : all
    return texts.compactMap { IPPrefix($0) }
  }
}

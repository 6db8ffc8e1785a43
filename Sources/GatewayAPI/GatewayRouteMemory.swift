// What one route table leaves for the next: blocks of routes, made again when the route's rules, a Service that they name or its endpoints
// changed. Numbers of backends come from the plan's order alone, so the table is the same with and without a memory.

import ClusterObjects
import ClusterView
import Ingress

/// For `GatewayPlan.routeTable`. Holds the backends of the last table's routes, and no others.
public struct GatewayRouteMemory: Sendable {
  private struct Place {
    var slot: Int
    var rule: Int
  }
  private var slots: [GatewayRoute.Name: Int] = [:]
  private var blocks: [RouteBlock] = []
  private var stamp = 0
  /// Blocks of this table.
  private var order: [Int] = []
  /// Of each rule noted.
  private var places: [Place] = []

  private var view = ClusterView()
  private var input = GatewayInput()
  private var place: NodePlace?
  /// Blocks made for the last table.
  public private(set) var made = 0

  public init() {}

  mutating func begin(_ view: ClusterView, _ input: GatewayInput, _ place: NodePlace?) {
    stamp += 1
    order = []
    places = []
    if input != self.input || place != self.place {
      for index in blocks.indices { blocks[index].isMade = false }
    } else {
      let changed = GatewayPlanner.changedKeys(self.view.services, view.services)
        .union(GatewayPlanner.changedKeys(self.view.endpointSlices, view.endpointSlices))
      if !changed.isEmpty {
        for index in blocks.indices where !blocks[index].services.isDisjoint(with: changed) {
          blocks[index].isMade = false
        }
      }
    }
    (self.view, self.input, self.place) = (view, input, place)
  }

  /// Rules are noted in the order in which they are asked for afterwards.
  mutating func note(_ rule: GatewayPlan.Rule) {
    let slot = self.slot(rule.route)
    if blocks[slot].stamp != stamp {
      blocks[slot].begin(stamp)
      order.append(slot)
    }
    places.append(Place(slot: slot, rule: blocks[slot].note(rule)))
  }

  private mutating func slot(_ route: GatewayRoute.Name) -> Int {
    // Rules of a route often lie together.
    if let last = places.last, blocks[last.slot].route == route { return last.slot }
    if let found = slots[route] { return found }
    blocks.append(RouteBlock(route))
    slots[route] = blocks.count - 1
    return blocks.count - 1
  }

  /// Makes what is missing, forgets routes that are no more, and appends the backends of all.
  mutating func finish(
    _ view: ClusterView, _ input: GatewayInput, _ place: NodePlace?, _ backends: inout [RouteBackend]
  ) {
    var source = RouteSource(view: view, input: input, place: place)
    made = 0
    for slot in order {
      blocks[slot].finish()
      if !blocks[slot].isMade {
        blocks[slot].make(&source)
        made += 1
      }
      let base = backends.count
      blocks[slot].base = base
      for index in blocks[slot].backends.indices {
        backends.append(blocks[slot].backends[index])
        for mirror in backends[base + index].policy.mirrors.indices {
          backends[base + index].policy.mirrors[mirror].backend += base
        }
      }
    }
    if order.count < blocks.count { forget() }
  }

  /// Blocks of this table alone.
  private mutating func forget() {
    var moved: [Int: Int] = [:]
    var kept: [RouteBlock] = []
    slots = [:]
    for (slot, block) in blocks.enumerated() where block.stamp == stamp {
      moved[slot] = kept.count
      slots[block.route] = kept.count
      kept.append(block)
    }
    blocks = kept
    for index in places.indices { places[index].slot = moved[places[index].slot] ?? 0 }
  }

  // MARK: What the rules noted lead to

  func target(_ index: Int) -> RouteBlock.Target { blocks[places[index].slot].targets[places[index].rule] }
  func base(_ index: Int) -> Int { blocks[places[index].slot].base }
  func action(_ index: Int, _ own: Int) -> RouteAction { blocks[places[index].slot].actions[own] }
}

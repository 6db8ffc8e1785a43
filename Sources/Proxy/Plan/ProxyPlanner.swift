// The planner that keeps its plan: changes of the view in, changes of the tables out. `planProxy` is the same planner, asked
// once for everything.
//
//   ViewChanges ─> each changed Service is planned anew ─> its old elements compared with its new ones ─> TableDelta
//
// Holds for every sequence of changes: the tables after the deltas equal the tables of a plan of the whole (Tests/ProxyTests).

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import Ruleset

/// Endpoints behind a service-port id changed, and flows to those that left are stale.
public struct FlowChange: Sendable, Hashable {
  public var family: IPFamily
  /// The id in the connection mark.
  public var id: UInt32
  public var transport: TransportProtocol
  public var before: Set<SocketEndpoint>
  /// Nil: there is no such service port any more.
  public var now: Set<SocketEndpoint>?
}

/// What one change set changes.
public struct ProxyDelta: Sendable {
  /// One for each family whose table changes; none after a whole view, whose `tables` are handed in whole.
  public var tables: [TableDelta] = []
  public var flows: [FlowChange] = []
  public var isEmpty: Bool { tables.isEmpty && flows.isEmpty }
}

/// A pure state machine: old state and change give new state and delta. One change costs the Services that changed, not those
/// there are; 10 µs for a Service of two endpoints in a release build.
public struct ProxyPlanner: Sendable {
  public let configuration: ProxyConfiguration
  private var families: [FamilyPlan]
  private var served: Set<ObjectKey> = []
  /// Services whose slices have hints: what they come to depends on this node's labels.
  private var hinted: [ObjectKey: ServiceState] = [:]
  /// Services whose slots are shared out by open connections.
  private var counted: [ObjectKey: ServiceState] = [:]
  private var place: NodePlace
  private var unreadable: [QuarantinedObject] = []

  /// - Parameter previous: numbers to go on with, recovered from tables in force.
  public init(_ configuration: ProxyConfiguration, previous: [IPFamily: ProxyAllocation] = [:]) {
    self.configuration = configuration
    place = NodePlace(name: configuration.nodeName)
    families = configuration.families.map {
      FamilyPlan(configuration, $0, previous[$0] ?? ProxyAllocation())
    }
  }

  /// Takes changes in. What a whole view changes is not told element by element: ask for `tables` then.
  public mutating func apply(_ changes: ViewChanges) -> ProxyDelta {
    var states = changes.services
    // What a whole view does not name is gone.
    let gone = changes.isWhole ? served.filter { states.index(forKey: $0) == nil }.sorted() : []
    if let name = configuration.nodeName, case .some(let node) = changes.nodes[name], node?.zone != place.zone
    {
      place.zone = node?.zone
      for (key, state) in hinted where states[key] == nil { states[key] = state }
    }
    unreadable = changes.quarantined.filter { $0.key.kind == "Service" || $0.key.kind == "EndpointSlice" }
      .map { QuarantinedObject(object: "\($0.key.kind) \($0.key.key)", reason: $0.value.description) }
    var delta = ProxyDelta()
    let order = PlanningOrder.of(states, allCome: changes.isWhole)
    if changes.isWhole {
      served.reserveCapacity(order.count)
      for index in families.indices { families[index].reserve(order.count) }
    }
    var tables: [TableDelta?] = families.map {
      changes.isWhole ? nil : TableDelta(ProxyTables.id($0.family))
    }
    for key in gone { takeOut(key, &tables, &delta.flows) }
    for at in order {
      let key = states.keys[at]
      // Looked at once: what stands behind a name is large.
      if let state = states.values[at], state.service.isProxied {
        note(key, state)
        for index in families.indices {
          families[index].plan(key, state, at: place, &tables[index], &delta.flows)
        }
      } else {
        takeOut(key, &tables, &delta.flows)
      }
    }
    for index in families.indices {
      if changes.isWhole { families[index].finishWhole(&delta.flows) }
      families[index].dropIdleClasses(&tables[index])
      if let table = tables[index], !table.isEmpty { delta.tables.append(table) }
    }
    return delta
  }

  public var countsConnections: Bool { !counted.isEmpty }

  /// Takes in how many connections are open. Costs the Services that ask for it, and those alone.
  public mutating func apply(_ open: OpenConnections) -> ProxyDelta {
    var delta = ProxyDelta()
    for index in families.indices {
      families[index].take(open)
      var table: TableDelta? = TableDelta(ProxyTables.id(families[index].family))
      for (key, state) in counted.sorted(by: { $0.key < $1.key }) {
        families[index].plan(key, state, at: place, &table, &delta.flows)
      }
      if let table, !table.isEmpty { delta.tables.append(table) }
    }
    return delta
  }

  private mutating func takeOut(
    _ key: ObjectKey, _ tables: inout [TableDelta?], _ flows: inout [FlowChange]
  ) {
    served.remove(key)
    hinted[key] = nil
    counted[key] = nil
    for index in families.indices { families[index].replace(key, nil, &tables[index], &flows) }
  }

  private mutating func note(_ key: ObjectKey, _ state: ServiceState) {
    served.insert(key)
    let isCounted = ServiceBalancing.countsConnections(state.service)
    // Hardly a Service is in either: a name is not hashed for nothing.
    if isCounted || !counted.isEmpty { counted[key] = isCounted ? state : nil }
    let hasHints = state.slices.values.contains { $0.hasHints }
    if hasHints || !hinted.isEmpty { hinted[key] = hasHints ? state : nil }
  }

  /// Services that are left out for want of numbers: hand them in again when others have gone.
  public var starved: Set<ObjectKey> { families.reduce(into: []) { $0.formUnion($1.starved) } }

  public var services: Int { served.count }
  public var endpoints: Int { families.reduce(0) { $0 + $1.totals.endpoints } }
  public var servicePorts: Int { families.reduce(0) { $0 + $1.totals.servicePorts } }

  /// Service ports whose Local policy finds no endpoint on this node.
  public var withoutLocalEndpoints: (internal: Int, external: Int) {
    families.reduce((0, 0)) { ($0.0 + $1.totals.internalWithoutLocal, $0.1 + $1.totals.externalWithoutLocal) }
  }

  /// What is left out, by name. Costs what is left out.
  public var quarantined: [QuarantinedObject] {
    Set(unreadable + families.flatMap(\.quarantined)).sorted {
      ($0.object, $0.reason) < ($1.object, $1.reason)
    }
  }

  /// One table for each family, whole: costs all elements.
  public var tables: [Table] { families.map(\.table) }

  public var allocation: [IPFamily: ProxyAllocation] {
    Dictionary(uniqueKeysWithValues: families.map { ($0.family, $0.allocation) })
  }

  /// The plan as a value. Costs all elements.
  public var plan: ProxyPlan {
    ProxyPlan(
      tables: tables, allocation: allocation, services: services, servicePorts: servicePorts,
      endpoints: endpoints, quarantined: quarantined, withoutLocalEndpoints: withoutLocalEndpoints)
  }
}

// Planning again after a change: what no changed object has a say in is taken over from the plan before. What comes out is what planning
// from nothing gives.
//
//   the same Gateways, sets, classes, grants, policies, namespaces, Secrets; routes or Services differ
//     -> routes that changed, or name a Service that did, are planned again and put in their places among the others
//   anything else, or too much of it -> all is planned

import ClusterObjects
import ClusterView

/// Plans newer and newer views, each as `planGateways` does. Holds the last view and plan: about as much again as a plan takes.
///
/// Not safe to share: whoever plans has one.
public struct GatewayPlanning: Sendable {
  /// Of routes that changed; with more all is planned.
  public static let changesMax = 256

  private var planner: GatewayPlanner?
  /// How often all was planned.
  private var wholePlans = 0

  public init() {}

  /// Cost: a comparison of the routes, and planning those that changed; what `planGateways` costs for any other change.
  public mutating func plan(
    view: ClusterView, settings: GatewaySettings, input: GatewayInput = GatewayInput()
  ) -> GatewayPlan {
    if let changed = planner?.changedRoutes(in: view, settings, input), changed.count <= Self.changesMax,
      planner?.replan(changed, in: view) == true, let planner
    {
      return planner.result
    }
    var fresh = GatewayPlanner(view: view, settings: settings, input: input)
    let plan = fresh.plan()
    planner = fresh
    wholePlans += 1
    return plan
  }
}

extension GatewayPlanning {
  /// How often all was planned since this was asked last.
  public mutating func takeWholePlans() -> Int {
    defer { wholePlans = 0 }
    return wholePlans
  }
}

extension GatewayPlanner {
  /// Routes that are to be planned again; nil: all of them, for something else changed.
  func changedRoutes(
    in new: ClusterView, _ settings: GatewaySettings, _ input: GatewayInput
  ) -> Set<GatewayRoute.Name>? {
    let (before, after) = (view.gateway, new.gateway)
    guard settings == self.settings, input == self.input, view.namespaces == new.namespaces,
      before.classes == after.classes, before.gateways == after.gateways,
      before.listenerSets == after.listenerSets, before.grants == after.grants,
      before.backendPolicies == after.backendPolicies
    else { return nil }
    var changed: Set<GatewayRoute.Name> = []
    var found = 0
    for (name, route) in after.routes {
      guard let old = before.routes[name] else {
        changed.insert(name)
        continue
      }
      found += 1
      if old != route { changed.insert(name) }
    }
    if found < before.routes.count {
      for name in before.routes.keys where after.routes[name] == nil { changed.insert(name) }
    }
    let services = Self.changedKeys(view.services, new.services)
    if !services.isEmpty {
      for route in after.routes.values where Self.names(route, anyOf: services) { changed.insert(route.name) }
    }
    return changed
  }

  static func changedKeys<Value: Equatable>(
    _ before: [ObjectKey: Value], _ after: [ObjectKey: Value]
  ) -> Set<ObjectKey> {
    if before == after { return [] }
    var changed = Set(after.filter { before[$0.key] != $0.value }.keys)
    for key in before.keys where after[key] == nil { changed.insert(key) }
    return changed
  }

  private static func names(_ route: GatewayRoute, anyOf services: Set<ObjectKey>) -> Bool {
    func isOf(_ backend: GatewayRoute.Backend) -> Bool {
      services.contains(backend.reference.key(in: route.key.namespace))
        || backend.filters.contains { isMirror($0) }
    }
    func isMirror(_ filter: GatewayRoute.Filter) -> Bool {
      if case .mirror(let mirror) = filter { isOf(mirror.backend) } else { false }
    }
    return route.rules.contains { $0.backends.contains(where: isOf) || $0.filters.contains(where: isMirror) }
  }

  /// False: it matters in which order routes are attached, so all is to be planned. Nothing is changed then that a plan from nothing
  /// does not set.
  mutating func replan(_ changed: Set<GatewayRoute.Name>, in new: ClusterView) -> Bool {
    let old = view.gateway.routes
    view = new
    if changed.isEmpty {
      planStatuses()
      return true
    }
    let shown = backendCertificates
    var exchange = Exchange(old: old, pending: changed)
    var whole: Set<Int> = []
    for name in changed {
      exchange.pending.remove(name)
      guard let touched = self.exchange(name, &exchange, shown) else { return false }
      whole.formUnion(touched)
    }
    for index in whole where ruled[index] != nil {
      let places = routes.indices.filter { routes[$0].listeners.contains(index) }
      ruled[index] = ordered(index, places, shown)
    }
    planServed()
    planStatuses()
    return true
  }

  /// Routes before and after, while one after the other is exchanged.
  private struct Exchange {
    let old: [GatewayRoute.Name: GatewayRoute]
    /// Changed, and still as they were.
    var pending: Set<GatewayRoute.Name>
    private var rivals: Bool?

    init(old: [GatewayRoute.Name: GatewayRoute], pending: Set<GatewayRoute.Name>) {
      self.old = old
      self.pending = pending
    }

    /// HTTPRoutes and GRPCRoutes of one name exclude each other: whoever was attached first stays.
    mutating func haveRivals(_ new: [GatewayRoute.Name: GatewayRoute]) -> Bool {
      if let rivals { return rivals }
      func have(_ kind: GatewayRoute.Kind) -> Bool {
        old.keys.contains { $0.kind == kind } || new.keys.contains { $0.kind == kind }
      }
      let found = have(.http) && have(.grpc)
      rivals = found
      return found
    }
  }

  /// A route as it is now in place of what it was. Answers the listeners whose rules are to be put in order from nothing; nil: the route
  /// may be attached elsewhere now, and others with it.
  private mutating func exchange(
    _ name: GatewayRoute.Name, _ exchange: inout Exchange, _ shown: [ObjectKey: ObjectKey]
  ) -> Set<Int>? {
    let (before, after) = (exchange.old[name], objects.routes[name])
    var former: RouteState?
    var names: [Int: [String]] = [:]
    if let before {
      let place = place(of: before)
      guard place < routes.count, routes[place].route.name == name else { return nil }
      let state = routes.remove(at: place)
      for index in state.listeners { names[index] = listeners[index].attached[name] }
      former = state
    }
    var state: RouteState?
    if let before, let after, let former, Self.stays(before, after) {
      let new = planRoute(after, in: former)
      // Whether there are rules decides whether it is attached at all.
      if !former.isEmpty, !new.isEmpty { state = new }
    }
    if state == nil {
      if exchange.haveRivals(objects.routes) { return nil }
      for index in names.keys { listeners[index].attached[name] = nil }
      result.routes[name] = nil
      state = after.map { planRoute($0) }
    }
    if let state { routes.insert(state, at: place(of: state.route)) }
    var whole: Set<Int> = []
    for index in Set(names.keys).union(state?.listeners ?? []) where ruled[index] != nil {
      guard [.http, .https].contains(listeners[index].protocol) else {
        whole.insert(index)
        continue
      }
      let rules = state.map { self.rules(of: $0, shown: shown[listeners[index].gateway]) } ?? []
      let (new, route, context) = (objects.routes, state?.route, exchange)
      ruled[index]?.replace(
        name, old: names[index] ?? [], new: listeners[index].attached[name] ?? [], with: rules,
        isOlder: { other in
          let its = context.pending.contains(other) ? context.old[other] : new[other]
          guard let its, let route else { return false }
          return Self.isOlder(its, route)
        })
    }
    return whole
  }

  /// Whether a route is attached where it was before.
  private static func stays(_ before: GatewayRoute, _ after: GatewayRoute) -> Bool {
    before.parents == after.parents && before.hostnames == after.hostnames
      && before.creationTimestamp == after.creationTimestamp
  }

  /// Where a route is among all, or would be.
  private func place(of route: GatewayRoute) -> Int {
    var (low, high) = (0, routes.count)
    while low < high {
      let middle = (low + high) / 2
      if Self.isOlder(routes[middle].route, route) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

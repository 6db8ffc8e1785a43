// From the cluster's view to listeners and statuses. Pure: the same view gives the same plan.
//
//   classes -> Gateways of ours -> their listeners, then those of ListenerSets -> routes at listeners -> rules in order -> statuses

import ClusterObjects
import ClusterView
import Ingress

/// Everything that Gateways of the controller's classes say. Cost: the objects of Gateway API, once each, and each route once for
/// each listener that it names.
public func planGateways(
  view: ClusterView, settings: GatewaySettings, input: GatewayInput = GatewayInput()
) -> GatewayPlan {
  var planner = GatewayPlanner(view: view, settings: settings, input: input)
  return planner.plan()
}

struct GatewayPlanner {
  typealias Condition = GatewayPlan.Condition

  /// Why something does not hold.
  struct Finding: Sendable, Hashable {
    var reason: String
    var message: String
    init(_ reason: String, _ message: String) {
      self.reason = reason
      self.message = message
    }
  }

  /// Whose listeners they are.
  struct Owner: Hashable {
    var kind: String
    var key: ObjectKey
  }

  /// A listener while it is planned.
  struct ListenerState {
    var gateway: ObjectKey
    var owner: Owner
    var generation: Int64
    var spec: GatewayListener
    /// Nil: unknown or not spoken here.
    var `protocol`: GatewayPlan.ListenerProtocol?
    var supportedKinds: [GatewayListener.RouteKind] = []
    var rejection: Finding?
    var conflict: Finding?
    var unresolved: Finding?
    var certificates: [ObjectKey] = []
    var clients: GatewayPlan.ClientValidation?
    /// Routes at it and the names that they have there.
    var attached: [GatewayRoute.Name: [String]] = [:]
    /// By kind and name of a host the least of the routes that have it.
    var holders: [GatewayRoute.Kind: [String: GatewayRoute.Name]] = [:]

    mutating func attach(_ route: GatewayRoute.Name, _ names: [String]) {
      attached[route] = names
      for name in names {
        let holder = holders[route.kind]?[name]
        holders[route.kind, default: [:]][name] = holder.map { min($0, route) } ?? route
      }
    }

    /// The least route of another kind that has a name in common with these. Cost: the labels of exact names; for wildcards all
    /// names of other kinds.
    func rival(ofKind kind: GatewayRoute.Kind, _ names: [String]) -> GatewayRoute.Name? {
      holders.filter { $0.key != kind }.values.flatMap { holders in
        names.flatMap { name in
          if name.isEmpty || name.hasPrefix("*.") {
            return holders.filter { GatewayPlanner.meet(name, $0.key) }.map(\.value)
          }
          return GatewayPlanner.wider(name).compactMap { holders[$0] }
        }
      }.min()
    }

    var isAccepted: Bool { rejection == nil && conflict == nil }
    var isPassthrough: Bool { spec.tls?.isPassthrough ?? false }
    var needsCertificate: Bool { `protocol` == .https || (`protocol` == .tls && !isPassthrough) }
    /// Whether a data plane can serve it.
    var isUsable: Bool { isAccepted && !(needsCertificate && certificates.isEmpty) }
  }

  var view: ClusterView
  let settings: GatewaySettings
  let input: GatewayInput
  var objects: GatewayObjects { view.gateway }

  var result: GatewayPlan
  var listeners: [ListenerState] = []
  /// Places in `listeners`.
  var listenersOf: [Owner: Range<Int>] = [:]
  /// ListenerSets that may not attach, and why.
  var refusedSets: [ObjectKey: Finding] = [:]
  /// Gateways that are not accepted for what they say beside listeners.
  var refusedGateways: [ObjectKey: Finding] = [:]
  var policies = BackendPolicies()
  /// Gateways through which a Service is reached; only known where there are policies.
  var gatewaysOfServices: [ObjectKey: Set<ObjectKey>] = [:]
  /// The oldest first.
  var routes: [RouteState] = []
  /// By the place in `listeners`; nil: it is not served.
  var ruled: [RuledListener?] = []

  init(view: ClusterView, settings: GatewaySettings, input: GatewayInput) {
    self.view = view
    self.settings = settings
    self.input = input
    result = GatewayPlan(controllerName: settings.controllerName)
  }

  mutating func plan() -> GatewayPlan {
    planClasses()
    for gateway in gateways { planListeners(of: gateway) }
    findForeignConflicts()
    policies = BackendPolicies(view: view, input: input)
    for route in objects.routes.values.sorted(by: { Self.isOlder($0, $1) }) {
      routes.append(planRoute(route))
    }
    planRules()
    planStatuses()
    return result
  }

  /// Those of classes of ours, the oldest first.
  private var gateways: [Gateway] {
    objects.gateways.values.filter { result.classes[$0.className] != nil }
      .sorted { ($0.creationTimestamp, $0.key) < ($1.creationTimestamp, $1.key) }
  }

  /// Conditions of all but routes, from what is known of routes now.
  mutating func planStatuses() {
    result.gateways = [:]
    result.listenerSets = [:]
    for gateway in gateways { planStatus(of: gateway) }
    result.policies = [:]
    planPolicies()
  }

  static func isOlder(_ a: GatewayRoute, _ b: GatewayRoute) -> Bool {
    (a.creationTimestamp, a.key, a.kind) < (b.creationTimestamp, b.key, b.kind)
  }

  private mutating func planClasses() {
    for item in objects.classes.values where item.controllerName == settings.controllerName {
      let finding = item.parameters.map {
        Finding("InvalidParameters", "parametersRef: \($0) is nothing that this controller reads")
      }
      result.classes[item.name] = [
        Self.condition(
          "Accepted", finding, else: Finding("Accepted", "Gateways of this class are taken care of"),
          item.generation)
      ]
    }
  }

  /// False with a finding, else true.
  static func condition(
    _ type: String, _ finding: Finding?, else good: Finding, _ generation: Int64
  ) -> Condition {
    let said = finding ?? good
    return Condition(
      type: type, isTrue: finding == nil, reason: said.reason, message: said.message, generation: generation)
  }

  /// Whether something in a namespace may attach to what is in `own`.
  func isAllowed(_ namespace: String, by choice: GatewayListener.Namespaces, own: String) -> Bool {
    switch choice {
    case .none: false
    case .all: true
    case .same: namespace == own
    case .selected(let selector): view.namespaces[namespace].map { selector.matches($0.labels) } ?? false
    }
  }
}

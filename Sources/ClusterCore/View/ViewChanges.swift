// What changed between two looks at a view: planners that keep their plan take this instead of the whole view, so
// that the cost of a change does not depend on how much else there is.

import ClusterObjects

/// A Service and its slices as they are now: all that decides where its packets go.
public struct ServiceState: Sendable, Hashable {
  public var service: Service
  /// By their own keys.
  public var slices: [ObjectKey: EndpointSlice]
  public init(service: Service, slices: [ObjectKey: EndpointSlice] = [:]) {
    self.service = service
    self.slices = slices
  }
}

/// Changes since the last `takeChanges`, coalesced: however often an object changed, its newest state stands here once.
public struct ViewChanges: Sendable {
  /// Services that changed themselves or whose slices did; nil: there is no such Service any more.
  public var services: [ObjectKey: ServiceState?] = [:]
  /// Nodes that changed; nil: gone.
  public var nodes: [String: Node?] = [:]
  /// The kinds of all objects that changed, those above among them.
  public var kinds: Set<String> = []
  /// Every Service of the view is in `services`, and a Service that is not there is gone.
  public var isWhole = false
  /// Objects of the view that cannot be read, all of them.
  public var quarantined: [ClusterView.QuarantineKey: UnreadableObject] = [:]

  public init() {}

  public var isEmpty: Bool { kinds.isEmpty && !isWhole }

  /// Kinds that a NetworkPolicy ruleset is made of.
  private static let policyKinds: Set<String> = ["Pod", "Namespace", "Node", "NetworkPolicy"]

  /// Whether anything changed that NetworkPolicy depends on.
  public var concernsPolicy: Bool { isWhole || !kinds.isDisjoint(with: Self.policyKinds) }
}

/// Names of what changed; the values are looked up when somebody takes them. As large as what changed meanwhile.
struct ChangeNotes: Sendable {
  var services: Set<ObjectKey> = []
  var nodes: Set<String> = []
  var kinds: Set<String> = []
}

extension ClusterView {
  /// A Service with its slices; nil when there is none.
  public func state(of service: ObjectKey) -> ServiceState? {
    services[service].map { ServiceState(service: $0, slices: endpointSlices[service] ?? [:]) }
  }

  /// What changed since the last call; the first call hands out the whole view. Costs what changed, not what there is.
  public mutating func takeChanges() -> ViewChanges {
    guard let noted = notes else {
      notes = ChangeNotes()
      return allChanges
    }
    notes = ChangeNotes()
    var changes = ViewChanges()
    for key in noted.services { changes.services[key] = .some(state(of: key)) }
    for name in noted.nodes { changes.nodes[name] = .some(nodes[name]) }
    changes.kinds = noted.kinds
    changes.quarantined = quarantined
    return changes
  }

  /// Whether the next `takeChanges` has something to hand out.
  public var hasChanges: Bool { notes.map { !$0.kinds.isEmpty } ?? true }

  /// The whole view as one change set: what a planner that knows nothing yet needs, and what a comparison starts from.
  public var allChanges: ViewChanges {
    var changes = ViewChanges()
    changes.services.reserveCapacity(services.count)
    for (key, service) in services {
      changes.services[key] = ServiceState(service: service, slices: endpointSlices[key] ?? [:])
    }
    for (name, node) in nodes { changes.nodes[name] = node }
    changes.isWhole = true
    changes.quarantined = quarantined
    return changes
  }
}

// What changed between two looks at a view: planners that keep their plan take this instead of the whole view, so
// that the cost of a change does not depend on how much else there is.

import Addresses
import ClusterObjects

/// A Service and its slices as they are now: all that decides where its packets go. Handed on by reference: whoever plans ten
/// thousand Services would copy all that they have again and again.
public final class ServiceState: Sendable {
  public let service: Service
  /// By their own keys.
  public let slices: [ObjectKey: EndpointSlice]
  public init(service: Service, slices: [ObjectKey: EndpointSlice] = [:]) {
    self.service = service
    self.slices = slices
  }
}

extension ServiceState: Hashable {
  public static func == (a: ServiceState, b: ServiceState) -> Bool {
    a === b || (a.service == b.service && a.slices == b.slices)
  }
  public func hash(into hasher: inout Hasher) {
    hasher.combine(service)
    hasher.combine(slices)
  }
}

/// Changes since the last `takeChanges`, coalesced: however often an object changed, its newest state stands here once.
public struct ViewChanges: Sendable {
  /// Services that changed themselves or whose slices did; nil: there is no such Service any more.
  public var services: [ObjectKey: ServiceState?] = [:]
  /// Nodes that changed; nil: gone.
  public var nodes: [String: Node?] = [:]
  /// Namespaces that changed; nil: gone.
  public var namespaces: [String: Namespace?] = [:]
  /// Pods that changed, for consumers that asked for pods; nil: gone.
  public var pods: [ObjectKey: Pod?] = [:]
  /// NetworkPolicies that changed; nil: gone.
  public var networkPolicies: [ObjectKey: NetworkPolicy?] = [:]
  /// ClusterNetworkPolicies that changed; nil: gone.
  public var clusterNetworkPolicies: [String: ClusterNetworkPolicy?] = [:]
  /// Names that cluster DNS has answered for, with all their addresses; none: forgotten.
  public var resolved: [String: Set<IPAddress>] = [:]
  /// ServiceImports that changed themselves or whose slices did; nil: gone.
  public var imports: [ObjectKey: ServiceImportState?] = [:]
  /// Whether ServiceImports are known; until then an absent one may only not have been read.
  public var areImportsRead = false
  /// The kinds of all objects that changed, those above among them.
  public var kinds: Set<String> = []
  /// Every object of the view is here, and one that is not is gone.
  public var isWhole = false
  /// Objects of the view that cannot be read, all of them.
  public var quarantined: [ClusterView.QuarantineKey: UnreadableObject] = [:]

  public init() {}

  public var isEmpty: Bool { kinds.isEmpty && !isWhole }

  /// Kinds that a NetworkPolicy ruleset is made of.
  private static let policyKinds: Set<String> = [
    "Pod", "Namespace", "Node", "NetworkPolicy", "ClusterNetworkPolicy", ClusterView.answers,
  ]

  /// Whether anything changed that NetworkPolicy depends on.
  public var concernsPolicy: Bool { isWhole || !kinds.isDisjoint(with: Self.policyKinds) }
}

/// Names of what changed; the values are looked up when somebody takes them. As large as what changed meanwhile.
struct ChangeNotes: Sendable {
  var services: Set<ObjectKey> = []
  var nodes: Set<String> = []
  var namespaces: Set<String> = []
  var imports: Set<ObjectKey> = []
  /// Pods change often: they are noted for those who want them.
  var areWithPods = false
  var pods: Set<ObjectKey> = []
  var networkPolicies: Set<ObjectKey> = []
  var clusterNetworkPolicies: Set<String> = []
  var resolved: Set<String> = []
  var kinds: Set<String> = []
}

extension ClusterView {
  /// A Service with its slices; nil when there is none.
  public func state(of service: ObjectKey) -> ServiceState? {
    services[service].map { ServiceState(service: $0, slices: endpointSlices[service] ?? [:]) }
  }

  /// A ServiceImport with its slices; nil when there is none.
  public func importState(of service: ObjectKey) -> ServiceImportState? {
    serviceImports[service].map { ServiceImportState(service: $0, slices: importedSlices[service] ?? [:]) }
  }

  /// One more consumer of changes besides consumer 0; each has its own notes. Cheap, and for as long as the view lives.
  /// - Parameter withPods: whether its changes name pods.
  public mutating func addConsumer(withPods: Bool = false) -> Int {
    notes.append(nil)
    if withPods { consumersOfPods.insert(notes.count - 1) }
    return notes.count - 1
  }

  /// What changed since the consumer's last call; the first call hands out the whole view. Costs what changed, not what
  /// there is.
  public mutating func takeChanges(of consumer: Int = 0) -> ViewChanges {
    var fresh = ChangeNotes()
    fresh.areWithPods = consumersOfPods.contains(consumer)
    guard let noted = notes[consumer] else {
      notes[consumer] = fresh
      return allChanges
    }
    notes[consumer] = fresh
    var changes = ViewChanges()
    for key in noted.services { changes.services[key] = .some(state(of: key)) }
    for name in noted.nodes { changes.nodes[name] = .some(nodes[name]) }
    for name in noted.namespaces { changes.namespaces[name] = .some(namespaces[name]) }
    for key in noted.pods { changes.pods[key] = .some(pods[key]) }
    for key in noted.networkPolicies { changes.networkPolicies[key] = .some(networkPolicies[key]) }
    for name in noted.clusterNetworkPolicies {
      changes.clusterNetworkPolicies[name] = .some(clusterNetworkPolicies[name])
    }
    for name in noted.resolved { changes.resolved[name] = resolved[name] ?? [] }
    for key in noted.imports { changes.imports[key] = .some(importState(of: key)) }
    changes.areImportsRead = areImportsRead
    changes.kinds = noted.kinds
    changes.quarantined = quarantined
    return changes
  }

  /// Has the changes of a consumer name pods from now on.
  public mutating func namePods(to consumer: Int = 0) {
    consumersOfPods.insert(consumer)
    notes[consumer]?.areWithPods = true
  }

  /// Whether the next `takeChanges` of consumer 0 has something to hand out.
  public var hasChanges: Bool { notes[0].map { !$0.kinds.isEmpty } ?? true }

  /// The whole view as one change set: what a planner that knows nothing yet needs, and what a comparison starts from.
  public var allChanges: ViewChanges {
    var changes = ViewChanges()
    // Each stands under its own key: values change, places stay, and no name is hashed again.
    changes.services = services.mapValues {
      ServiceState(service: $0, slices: endpointSlices[$0.key] ?? [:])
    }
    addPolicyObjects(&changes)
    for key in serviceImports.keys { changes.imports[key] = .some(importState(of: key)) }
    changes.areImportsRead = areImportsRead
    changes.quarantined = quarantined
    return changes
  }

  /// `allChanges` without Services, for a planner that looks at policies alone.
  public var policyChanges: ViewChanges {
    var changes = ViewChanges()
    addPolicyObjects(&changes)
    return changes
  }

  private func addPolicyObjects(_ changes: inout ViewChanges) {
    for (name, namespace) in namespaces { changes.namespaces[name] = namespace }
    for (name, node) in nodes { changes.nodes[name] = node }
    for (name, policy) in clusterNetworkPolicies { changes.clusterNetworkPolicies[name] = policy }
    changes.resolved = resolved
    changes.pods = pods.mapValues { $0 }
    changes.networkPolicies = networkPolicies.mapValues { $0 }
    changes.isWhole = true
  }
}

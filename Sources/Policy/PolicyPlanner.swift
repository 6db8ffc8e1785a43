// The planner of policies that keeps its plan: changes of the view and of attachments in, changes of the tables out.
// `planPolicy` is the same planner, asked once for everything.
//
//   pod, namespace ─> elements of the sets that choose it ─┐
//   policy ─────────> its rules, its sets, the chains of   ├─> TableDelta
//                     the profiles that it is part of ─────┘
//
// Holds for every sequence of changes: the tables after the deltas equal the tables of a plan of the whole (Tests/PolicyTests).

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// What one change set changes.
public struct PolicyDelta: Sendable {
  /// The tables have to be handed in whole: everything is new, or a table came or went.
  public var isWhole = false
  private var byFamily: [TableFamily.Addressed: TableDelta] = [:]
  var guarding: TableDelta?

  init() {}

  /// Those that change; none when `isWhole`.
  public var tables: [TableDelta] {
    if isWhole { return [] }
    let families = TableFamily.Addressed.allCases.compactMap { byFamily[$0] }
    return (families + [guarding].compactMap { $0 }).filter { !$0.isEmpty }
  }

  /// There is no such table.
  mutating func leaveOut(_ family: TableFamily.Addressed) { byFamily[family] = nil }

  mutating func change(_ family: TableFamily.Addressed, _ body: (inout TableDelta) -> Void) {
    // Nobody reads it.
    if isWhole { return }
    body(&byFamily[family, default: TableDelta(Table.ID(family.table, PolicyNames.table))])
  }
}

/// A pure state machine. One pod costs the sets that can hold it and its own elements; one policy its rules, its sets and the
/// chains of the profiles it is part of; neither what else there is.
public struct PolicyPlanner: Sendable {
  public let settings: PolicySettings
  var sources: PeerSources
  var policies: [ObjectKey: NetworkPolicy] = [:]
  var policiesByNamespace: [String: Set<ObjectKey>] = [:]
  var clusterPolicies: [String: ClusterNetworkPolicy] = [:]
  /// The ClusterNetworkPolicies whose subject may be pods of a namespace, in their order; forgotten when a policy or the
  /// namespace's labels change.
  var concerning: [String: [ClusterNetworkPolicy]] = [:]
  /// Addresses of this node, as they stand in the tables.
  var ownAddresses: Set<IPAddress>
  var registry = SetRegistry()
  var profiles = ProfileBook()
  /// Local pods by address, in order of name.
  var owners: [IPAddress: [ObjectKey]] = [:]
  private var guarding: Table?
  private var hasSix: Bool

  public init(_ settings: PolicySettings) {
    self.settings = settings
    sources = PeerSources(placement: Placement(nodeName: settings.nodeName))
    ownAddresses = Set(settings.gateways)
    hasSix = settings.podBlocks.contains { $0.family == .v6 }
  }

  /// Takes changes in; they must name pods (`ViewFollower` made with `withPods`).
  /// - Parameter attachments: all of them, when they may have changed.
  public mutating func apply(_ changes: ViewChanges, attachments: [PodAttachment]? = nil) -> PolicyDelta {
    var delta = PolicyDelta()
    if changes.isWhole {
      let known = attachments ?? sources.placement.attachments
      self = PolicyPlanner(settings)
      delta.isWhole = true
      sources.placement.reserve(changes.pods.count)
      _ = sources.placement.set(known)
    }
    var dirty = Dirty()
    for (name, namespace) in changes.namespaces { set(name, namespace?.labels, &dirty, &delta) }
    for (name, node) in changes.nodes { set(name, node, &delta) }
    for (name, addresses) in changes.resolved {
      registry.move(name, from: sources.resolved[name] ?? [], to: addresses, &delta)
      sources.resolved[name] = addresses.isEmpty ? nil : addresses
    }
    for (key, pod) in changes.pods {
      if let change = sources.placement.set(key, pod) { take(change, &dirty, &delta) }
    }
    if let attachments, !changes.isWhole {
      for change in sources.placement.set(attachments) { take(change, &dirty, &delta) }
    }
    for (key, policy) in changes.networkPolicies { set(key, policy, &dirty) }
    set(changes.clusterNetworkPolicies, &dirty)
    settle(dirty, &delta)
    if attachments != nil || changes.isWhole { guardAnew(&delta) }
    let needsSix =
      settings.podBlocks.contains { $0.family == .v6 } || owners.keys.contains { $0.family == .v6 }
    if needsSix != hasSix {
      hasSix = needsSix
      delta.isWhole = true
    }
    if !hasSix { delta.leaveOut(.ip6) }
    return delta
  }

  private mutating func set(
    _ name: String, _ now: [String: String]?, _ dirty: inout Dirty, _ delta: inout PolicyDelta
  ) {
    let before = sources.labels[name]
    sources.labels[name] = now
    if before == now { return }
    concerning[name] = nil
    let subjects = clusterPolicies.values.contains {
      $0.concerns(namespace: before) != $0.concerns(namespace: now)
    }
    for key in sources.placement.byNamespace[name] ?? [] {
      guard let pod = sources.placement.placed[key] else { continue }
      registry.move(from: pod, in: before, to: pod, in: now, onlyByNamespaceLabel: true, &delta)
      if subjects, pod.isLocal { dirty.pods.insert(key) }
    }
  }

  private mutating func set(_ name: String, _ now: Node?, _ delta: inout PolicyDelta) {
    let before = sources.nodes[name]
    sources.nodes[name] = now
    // Nodes say every few seconds that they are there.
    if before?.labels == now?.labels, before?.addresses == now?.addresses { return }
    registry.move(from: before, to: now, &delta)
    guard name == settings.nodeName else { return }
    let own = Set(settings.gateways + (now?.addresses ?? []))
    for address in ownAddresses.symmetricDifference(own) {
      let element = own.contains(address) ? Element(.present) : nil
      delta.change(TableFamily.Addressed(address.family)) {
        $0.setElement(PolicyNames.ownNode, .address(address), element)
      }
    }
    ownAddresses = own
  }

  private mutating func take(_ change: Placement.Change, _ dirty: inout Dirty, _ delta: inout PolicyDelta) {
    guard let key = (change.new ?? change.old)?.key else { return }
    registry.move(
      from: change.old, in: sources.labels[key.namespace], to: change.new, in: sources.labels[key.namespace],
      &delta)
    let before = change.old.flatMap { $0.isLocal ? $0.addresses : nil } ?? []
    let after = change.new.flatMap { $0.isLocal ? $0.addresses : nil } ?? []
    for address in before where !after.contains(address) {
      owners[address]?.removeAll { $0 == key }
      if owners[address]?.isEmpty == true { owners[address] = nil }
    }
    for address in after where !before.contains(address) {
      let at = owners[address]?.firstIndex { key < $0 } ?? owners[address]?.count ?? 0
      owners[address, default: []].insert(key, at: at)
    }
    if !before.isEmpty || !after.isEmpty {
      dirty.pods.insert(key)
      dirty.addresses.formUnion(before)
      dirty.addresses.formUnion(after)
    }
  }

  private mutating func set(_ key: ObjectKey, _ now: NetworkPolicy?, _ dirty: inout Dirty) {
    let before = policies[key]
    if before == now { return }
    policies[key] = now
    if before == nil { policiesByNamespace[key.namespace, default: []].insert(key) }
    if now == nil {
      policiesByNamespace[key.namespace]?.remove(key)
      if policiesByNamespace[key.namespace]?.isEmpty == true { policiesByNamespace[key.namespace] = nil }
    }
    dirty.policies.insert(key)
    if let before, let now, before.podSelector == now.podSelector, before.directions == now.directions,
      before.isAudit == now.isAudit
    {
      return
    }
    for pod in sources.placement.byNamespace[key.namespace] ?? [] {
      guard let entry = sources.placement.placed[pod], entry.isLocal else { continue }
      let was = before?.podSelector.matches(entry.labels) ?? false
      let isNow = now?.podSelector.matches(entry.labels) ?? false
      if was || isNow { dirty.pods.insert(pod) }
    }
  }

  private mutating func set(_ changes: [String: ClusterNetworkPolicy?], _ dirty: inout Dirty) {
    var moved: [ClusterNetworkPolicy] = []
    for (name, now) in changes {
      let before = clusterPolicies[name]
      if before == now { continue }
      clusterPolicies[name] = now
      dirty.policies.insert(ObjectKey("", name))
      concerning = [:]
      if let before, let now, before.isPlaced(as: now) { continue }
      moved += [before, now].compactMap { $0 }
    }
    if moved.isEmpty { return }
    for (namespace, keys) in sources.placement.byNamespace {
      let here = moved.filter { $0.concerns(namespace: sources.labels[namespace]) }
      for key in keys where !here.isEmpty {
        guard let pod = sources.placement.placed[key], pod.isLocal else { continue }
        if here.contains(where: { $0.subjectPods?.matches(pod.labels) ?? true }) { dirty.pods.insert(key) }
      }
    }
  }

  private mutating func guardAnew(_ delta: inout PolicyDelta) {
    guard !settings.podBlocks.isEmpty else { return }
    let now = guardTable(attachments: sources.placement.attachments, settings: settings)
    defer { guarding = now }
    guard let before = guarding else {
      delta.isWhole = true
      return
    }
    var changes = TableDelta(now.id)
    for (old, new) in zip(before.sets, now.sets) {
      for (key, element) in new.elements where old.elements[key] != element {
        changes.setElement(new.name, key, element)
      }
      for key in old.elements.keys where new.elements[key] == nil { changes.setElement(new.name, key, nil) }
    }
    delta.guarding = changes
  }

  /// Whole: costs all elements.
  public var tables: [Table] {
    var tables: [Table] = []
    // The IPv4 table is always there, so that an unknown pod is quarantined from the first packet on.
    for family in TableFamily.Addressed.allCases where family == .ip || hasSix {
      tables.append(table(family))
    }
    if let guarding { tables.append(guarding) }
    return tables
  }
}

extension ClusterNetworkPolicy {
  /// Whether it stands at the same place of the same pods' policies.
  fileprivate func isPlaced(as other: ClusterNetworkPolicy) -> Bool {
    tier == other.tier && priority == other.priority && subjectNamespaces == other.subjectNamespaces
      && subjectPods == other.subjectPods && ingress.isEmpty == other.ingress.isEmpty
      && egress.isEmpty == other.egress.isEmpty
  }
}

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
  var placement: Placement
  var labels: [String: [String: String]] = [:]
  var policies: [ObjectKey: NetworkPolicy] = [:]
  var policiesByNamespace: [String: Set<ObjectKey>] = [:]
  var registry = SetRegistry()
  var profiles = ProfileBook()
  /// Local pods by address, in order of name.
  var owners: [IPAddress: [ObjectKey]] = [:]
  private var guarding: Table?
  private var hasSix: Bool

  public init(_ settings: PolicySettings) {
    self.settings = settings
    placement = Placement(nodeName: settings.nodeName)
    hasSix = settings.podBlocks.contains { $0.family == .v6 }
  }

  /// Takes changes in; they must name pods (`ViewFollower` made with `withPods`).
  /// - Parameter attachments: all of them, when they may have changed.
  public mutating func apply(_ changes: ViewChanges, attachments: [PodAttachment]? = nil) -> PolicyDelta {
    var delta = PolicyDelta()
    if changes.isWhole {
      let known = attachments ?? placement.attachments
      self = PolicyPlanner(settings)
      delta.isWhole = true
      placement.reserve(changes.pods.count)
      _ = placement.set(known)
    }
    var dirty = Dirty()
    for (name, namespace) in changes.namespaces { set(name, namespace?.labels, &delta) }
    for (key, pod) in changes.pods {
      if let change = placement.set(key, pod) { take(change, &dirty, &delta) }
    }
    if let attachments, !changes.isWhole {
      for change in placement.set(attachments) { take(change, &dirty, &delta) }
    }
    for (key, policy) in changes.networkPolicies { set(key, policy, &dirty) }
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

  private mutating func set(_ name: String, _ now: [String: String]?, _ delta: inout PolicyDelta) {
    let before = labels[name]
    labels[name] = now
    if before == now { return }
    for key in placement.byNamespace[name] ?? [] {
      let pod = placement.placed[key]
      registry.move(from: pod, in: before, to: pod, in: now, onlyByNamespaceLabel: true, &delta)
    }
  }

  private mutating func take(_ change: Placement.Change, _ dirty: inout Dirty, _ delta: inout PolicyDelta) {
    guard let key = (change.new ?? change.old)?.key else { return }
    registry.move(
      from: change.old, in: labels[key.namespace], to: change.new, in: labels[key.namespace], &delta)
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
    if let before, let now, before.podSelector == now.podSelector, before.directions == now.directions {
      return
    }
    for pod in placement.byNamespace[key.namespace] ?? [] {
      guard let entry = placement.placed[pod], entry.isLocal else { continue }
      let was = before?.podSelector.matches(entry.labels) ?? false
      let isNow = now?.podSelector.matches(entry.labels) ?? false
      if was || isNow { dirty.pods.insert(pod) }
    }
  }

  private mutating func guardAnew(_ delta: inout PolicyDelta) {
    guard !settings.podBlocks.isEmpty else { return }
    let now = guardTable(attachments: placement.attachments, settings: settings)
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

// The sets in use and what stands in them, kept while pods and namespaces change. A change costs the sets that can hold the
// pod: those of its namespace, and those that choose by namespace label.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// What sets are filled from.
struct PeerSources: Sendable {
  var placement: Placement
  /// By namespace.
  var labels: [String: [String: String]] = [:]
  var nodes: [String: Node] = [:]
  /// Answers of cluster DNS by name.
  var resolved: [String: Set<IPAddress>] = [:]
}

struct SetRegistry: Sendable {
  private struct Kept: Sendable {
    var content: SetContent
    var users = 0
    /// By family, how many pods put each element in: two statuses may name one address.
    var counts: [TableFamily.Addressed: [Datum: Int]] = [:]

    mutating func put(_ elements: (IPFamily) -> [Datum]) {
      for family in TableFamily.Addressed.allCases {
        for element in elements(family.addresses) { counts[family]?[element, default: 0] += 1 }
      }
    }
  }

  private var kept: [String: Kept] = [:]
  /// Names of sets whose pods are of one namespace.
  private var scoped: [String: Set<String>] = [:]
  /// Names of the others that change with pods.
  private var unscoped: Set<String> = []
  /// Names of those that change with nodes, and with answers of cluster DNS.
  private var ofNodes: Set<String> = []
  private var ofNames: Set<String> = []

  /// One more user. The first fills the set from what there is, and it is new in `deltas`.
  mutating func retain(_ content: SetContent, _ sources: PeerSources, _ deltas: inout PolicyDelta) {
    let name = content.name
    if kept[name] != nil {
      kept[name]?.users += 1
      return
    }
    var fresh = Kept(content: content, users: 1)
    for family in TableFamily.Addressed.allCases { fresh.counts[family] = [:] }
    switch content {
    case .block, .networks: break
    case .nodes:
      ofNodes.insert(name)
      for node in sources.nodes.values { fresh.put { content.elements(of: node, $0) } }
    case .domain:
      ofNames.insert(name)
      for (known, addresses) in sources.resolved { fresh.put { content.elements(of: known, addresses, $0) } }
    case .pods, .ports:
      if let scope = content.scope {
        scoped[scope, default: []].insert(name)
      } else {
        unscoped.insert(name)
      }
      let namespaces = content.scope.map { [$0] } ?? Array(sources.placement.byNamespace.keys)
      for namespace in namespaces where content.mayHoldPods(of: namespace, sources.labels[namespace]) {
        for key in sources.placement.byNamespace[namespace] ?? [] {
          guard let pod = sources.placement.placed[key] else { continue }
          fresh.put { content.elements(of: pod, in: sources.labels[namespace], $0) }
        }
      }
    }
    kept[name] = fresh
    for family in TableFamily.Addressed.allCases {
      if let set = set(name, family) { deltas.change(family) { $0.addSet(set) } }
    }
  }

  /// One user fewer; without users the set goes.
  mutating func release(_ content: SetContent, _ deltas: inout PolicyDelta) {
    let name = content.name
    kept[name]?.users -= 1
    guard kept[name]?.users == 0 else { return }
    kept[name] = nil
    unscoped.remove(name)
    ofNodes.remove(name)
    ofNames.remove(name)
    if let scope = content.scope {
      scoped[scope]?.remove(name)
      if scoped[scope]?.isEmpty == true { scoped[scope] = nil }
    }
    for family in TableFamily.Addressed.allCases where content.declaration(family) != nil {
      deltas.change(family) { $0.removeSet(name) }
    }
  }

  /// A pod that was one thing in a namespace with one set of labels, and is another now.
  mutating func move(
    from old: PlacedPod?, in oldLabels: [String: String]?, to new: PlacedPod?,
    in newLabels: [String: String]?, onlyByNamespaceLabel: Bool = false, _ deltas: inout PolicyDelta
  ) {
    guard let namespace = (new ?? old)?.key.namespace else { return }
    if !onlyByNamespaceLabel {
      for name in scoped[namespace] ?? [] { move(name, old, oldLabels, new, newLabels, &deltas) }
    }
    for name in unscoped { move(name, old, oldLabels, new, newLabels, &deltas) }
  }

  /// A node that had other labels or addresses before.
  mutating func move(from old: Node?, to new: Node?, _ deltas: inout PolicyDelta) {
    for name in ofNodes {
      guard let content = kept[name]?.content else { continue }
      change(name, &deltas) { family in
        (
          old.map { content.elements(of: $0, family) } ?? [],
          new.map { content.elements(of: $0, family) } ?? []
        )
      }
    }
  }

  /// A name that had other addresses before.
  mutating func move(
    _ known: String, from old: Set<IPAddress>, to new: Set<IPAddress>, _ deltas: inout PolicyDelta
  ) {
    for name in ofNames {
      guard let content = kept[name]?.content else { continue }
      change(name, &deltas) { family in
        (content.elements(of: known, old, family), content.elements(of: known, new, family))
      }
    }
  }

  private mutating func move(
    _ name: String, _ old: PlacedPod?, _ oldLabels: [String: String]?, _ new: PlacedPod?,
    _ newLabels: [String: String]?, _ deltas: inout PolicyDelta
  ) {
    guard let content = kept[name]?.content else { return }
    change(name, &deltas) { family in
      (
        old.map { content.elements(of: $0, in: oldLabels, family) } ?? [],
        new.map { content.elements(of: $0, in: newLabels, family) } ?? []
      )
    }
  }

  /// What one object put into a set, and puts into it now.
  private mutating func change(
    _ name: String, _ deltas: inout PolicyDelta, _ elements: (IPFamily) -> (before: [Datum], after: [Datum])
  ) {
    for family in TableFamily.Addressed.allCases {
      let (before, after) = elements(family.addresses)
      if before == after { continue }
      for element in after {
        let count = kept[name]?.counts[family]?[element] ?? 0
        kept[name]?.counts[family]?[element] = count + 1
        if count == 0 { deltas.change(family) { $0.setElement(name, element, Element(.present)) } }
      }
      for element in before {
        let count = kept[name]?.counts[family]?[element] ?? 0
        kept[name]?.counts[family]?[element] = count > 1 ? count - 1 : nil
        if count == 1 { deltas.change(family) { $0.setElement(name, element, nil) } }
      }
    }
  }

  private func set(_ name: String, _ family: TableFamily.Addressed) -> NamedSet? {
    guard let entry = kept[name], var set = entry.content.declaration(family) else { return nil }
    for element in (entry.counts[family] ?? [:]).keys { set.insert(element) }
    return set
  }

  /// All sets of a family, by name. Costs all elements.
  func sets(_ family: TableFamily.Addressed) -> [NamedSet] {
    kept.keys.sorted().compactMap { set($0, family) }
  }
}

extension SetContent {
  /// Whether a pod of a namespace can stand in it at all: asked once a namespace, not once a pod.
  func mayHoldPods(of namespace: String, _ labels: [String: String]?) -> Bool {
    guard case .pods(let choice) = self else { return true }
    if let namespaces = choice.namespaces { return labels.map(namespaces.matches) ?? false }
    return choice.own == namespace
  }
}

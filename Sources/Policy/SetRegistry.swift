// The sets in use and what stands in them, kept while pods and namespaces change. A change costs the sets that can hold the
// pod: those of its namespace, and those that choose by namespace label.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

struct SetRegistry: Sendable {
  private struct Kept: Sendable {
    var content: SetContent
    var users = 0
    /// By family, how many pods put each element in: two statuses may name one address.
    var counts: [TableFamily.Addressed: [Datum: Int]] = [:]
  }

  private var kept: [String: Kept] = [:]
  /// Names of sets whose pods are of one namespace.
  private var scoped: [String: Set<String>] = [:]
  /// Names of the others that change with pods.
  private var unscoped: Set<String> = []

  /// One more user. The first fills the set from the pods there are, and it is new in `deltas`.
  mutating func retain(
    _ content: SetContent, _ placement: Placement, _ labels: [String: [String: String]],
    _ deltas: inout PolicyDelta
  ) {
    let name = content.name
    if kept[name] != nil {
      kept[name]?.users += 1
      return
    }
    var fresh = Kept(content: content, users: 1)
    if content.changesWithPods {
      if let scope = content.scope {
        scoped[scope, default: []].insert(name)
      } else {
        unscoped.insert(name)
      }
      for family in TableFamily.Addressed.allCases { fresh.counts[family] = [:] }
      let namespaces = content.scope.map { [$0] } ?? Array(placement.byNamespace.keys)
      for namespace in namespaces where content.mayHoldPods(of: namespace, labels[namespace]) {
        for key in placement.byNamespace[namespace] ?? [] {
          guard let pod = placement.placed[key] else { continue }
          for family in TableFamily.Addressed.allCases {
            for element in content.elements(of: pod, in: labels[namespace], family.addresses) {
              fresh.counts[family]?[element, default: 0] += 1
            }
          }
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

  private mutating func move(
    _ name: String, _ old: PlacedPod?, _ oldLabels: [String: String]?, _ new: PlacedPod?,
    _ newLabels: [String: String]?, _ deltas: inout PolicyDelta
  ) {
    guard let content = kept[name]?.content else { return }
    for family in TableFamily.Addressed.allCases {
      let before = old.map { content.elements(of: $0, in: oldLabels, family.addresses) } ?? []
      let after = new.map { content.elements(of: $0, in: newLabels, family.addresses) } ?? []
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

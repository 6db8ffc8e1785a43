// Who selects whom by labels, and whose an object is or could become, without looking at every object of a namespace.
//
//   pod   metadata.labels  a=1, b=2   filed under  demo/a=1, demo/b=2      <- objects(in:selectedBy:) asks for the rarer pair
//   owner spec.selector    a=1, c=3   filed under  demo/a=1                <- objects(selecting:by:) asks for every pair of a pod
//
// A pair is found by its text, and what is found is compared with the whole selector: an index may find too much, never too
// little. A selector that asks for no pair (`a exists`, `a != 1`) is looked for in its whole namespace, as before.

import ClusterObjects

extension ObjectIndex {
  /// `namespace/label=value`, once for each label.
  public static let labelPair = ObjectIndex("label-pair") { object in
    let namespace = object.namespace
    return pairs(of: object).map { pair(namespace, $0, $1) }
  }

  /// `namespace/uid` of the owner that controls it. What nobody controls is filed under its namespace, and under each of its labels.
  public static let claimable = ObjectIndex("claimable") { object in
    let namespace = object.namespace
    if let owner = object.controllerReference {
      return owner["uid"]?.string.map { [controlled(namespace, by: $0)] } ?? []
    }
    return [namespace] + pairs(of: object).map { pair(namespace, $0, $1) }
  }

  // Namespaces have no slash, keys of labels no "=", and uids neither.
  static func pair(_ namespace: String, _ key: String, _ value: String) -> String {
    "\(namespace)/\(key)=\(value)"
  }
  static func controlled(_ namespace: String, by uid: String) -> String { "\(namespace)/\(uid)" }

  static func pairs(of object: JSON) -> [(key: String, value: String)] {
    (object.at("metadata", "labels")?.object ?? [:]).compactMap { key, value in
      value.string.map { (key, $0) }
    }
  }
}

extension LabelSelector {
  /// For each label that must have one of some values: the words under which what it selects is filed.
  fileprivate func words(in namespace: String) -> [[String]] {
    requirements.filter { $0.operator == .in }.map { requirement in
      requirement.values.map { ObjectIndex.pair(namespace, requirement.key, $0) }
    }
  }
}

/// How objects of one resource select others, filed by what they ask for. One informer takes one of a name.
public struct SelectorIndex: Sendable {
  let index: ObjectIndex
  let selector: @Sendable (JSON) -> LabelSelector

  public init(_ name: String, selector: @escaping @Sendable (JSON) -> LabelSelector) {
    self.selector = selector
    index = ObjectIndex(name) { object in
      let selector = selector(object)
      if selector.isNothing { return [] }
      return selector.words(in: object.namespace).first ?? [object.namespace]
    }
  }

  /// A `metav1.LabelSelector` in `spec.selector`.
  public static let labelSelector = SelectorIndex("label-selector") {
    SelectorMatch.selector($0.at("spec", "selector"))
  }
  /// A map in `spec.selector`, as Services have it. An empty one selects nothing.
  public static let selectorMap = SelectorIndex("selector-map") {
    SelectorMatch.selector(map: $0.at("spec", "selector")?.stringMap ?? [:])
  }
}

extension Informer {
  /// Objects of a namespace that a selector selects. Costs as much as there are objects with the rarest of the labels that it asks for.
  public func objects(in namespace: String, selectedBy selector: LabelSelector) -> [JSON] {
    if selector.isNothing { return [] }
    let words = selector.words(in: namespace)
    let near = words.isEmpty ? objects(.namespace, namespace) : objects(.labelPair, fewestOf: words)
    return near.filter { selector.matches($0.labels) }
  }

  /// What an owner controls in its namespace, and whatever its selector selects there of what nobody controls. There may be more of the
  /// latter: who adopts looks at the selector.
  public func objects(claimableBy owner: JSON, selector: LabelSelector) -> [JSON] {
    let own = ObjectIndex.controlled(owner.namespace, by: owner.uid)
    if selector.isNothing { return objects(.claimable, own) }
    let words = selector.words(in: owner.namespace)
    return objects(.claimable, fewestOf: (words.isEmpty ? [[owner.namespace]] : words).map { $0 + [own] })
  }

  /// Objects whose selector selects this one, in its namespace.
  public func objects(selecting object: JSON, by selectors: SelectorIndex) -> [JSON] {
    let namespace = object.namespace
    let words = ObjectIndex.pairs(of: object).map { ObjectIndex.pair(namespace, $0, $1) }
    let near = objects(selectors.index, anyOf: words + [namespace])
    if near.isEmpty { return [] }
    let labels = object.labels
    return near.filter { selectors.selector($0).matches(labels) }
  }

  /// Objects whose selector selects what an object was, or what it became, each once.
  public func objects(concernedBy change: ObjectChange, by selectors: SelectorIndex) -> [JSON] {
    guard let old = change.old else { return objects(selecting: change.object, by: selectors) }
    let before = objects(selecting: old, by: selectors)
    guard let new = change.new, new.at("metadata", "labels") != old.at("metadata", "labels") else {
      return before
    }
    let known = Set(before.map(\.key))
    return before + objects(selecting: new, by: selectors).filter { !known.contains($0.key) }
  }
}

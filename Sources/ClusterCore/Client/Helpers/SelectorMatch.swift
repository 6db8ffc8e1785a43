// Selectors of objects and of queries, with the readings that their absence and mistakes have where
// controllers look.

import ClusterObjects

/// Matching over ClusterObjects' selectors for callers who hold a field of an object that may be absent.
public enum SelectorMatch {
  /// A `metav1.LabelSelector`. An empty one selects everything; an absent one, or one that cannot be
  /// understood, nothing.
  public static func selector(_ selector: JSON?) -> LabelSelector {
    guard let selector, selector.object != nil else { return .nothing }
    return (try? LabelSelector(selector)) ?? .nothing
  }

  /// The same for one look; for several, `selector(_:)` reads it once.
  public static func matches(_ selector: JSON?, _ labels: [String: String]) -> Bool {
    self.selector(selector).matches(labels)
  }

  /// A map of exact labels, as in `Service.spec.selector`; an empty one selects nothing.
  public static func selector(map: [String: String]) -> LabelSelector {
    map.isEmpty ? .nothing : LabelSelector(matchLabels: map)
  }

  /// A map of exact labels, as in `Service.spec.selector`; an empty one selects nothing.
  public static func contains(_ selector: [String: String], _ labels: [String: String]) -> Bool {
    !selector.isEmpty && selector.allSatisfy { labels[$0.key] == $0.value }
  }

  /// The text of a `labelSelector` query; one that cannot be understood selects nothing.
  public static func matches(text: String, _ labels: [String: String]) -> Bool {
    (try? LabelSelector(parsing: text))?.matches(labels) ?? false
  }

  /// The text of a `fieldSelector` query over the tree.
  public static func matches(fields text: String, _ object: JSON) -> Bool {
    (try? FieldSelector(parsing: text))?.matches(object) ?? false
  }
}

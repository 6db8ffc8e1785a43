// What a namespace that is being deleted says of what keeps it: five conditions, in upstream's words, which people
// search for and clients show.

import ClusterClient
import ClusterObjects

/// What one pass over a namespace's content has found.
struct NamespaceFindings {
  /// Group versions that could not be asked what they serve, and why: their content may be left.
  var undiscovered: [String: String] = [:]
  /// Group versions that are not written as one.
  var unparsed: [String] = []
  /// Why content could not be listed or deleted.
  var failures: [String] = []
  /// Objects left, by resource.
  var remaining: [GroupVersionResource: Int] = [:]
  /// Objects left that have a finalizer, by finalizer.
  var finalizers: [String: Int] = [:]

  mutating func leave(_ resource: GroupVersionResource, _ objects: [JSON]) {
    guard !objects.isEmpty else { return }
    remaining[resource] = objects.count
    for finalizer in objects.flatMap(\.finalizers) { finalizers[finalizer, default: 0] += 1 }
  }

  /// Whether everything was looked at; else the namespace must stay even if it looks empty.
  var isWhole: Bool { undiscovered.isEmpty && unparsed.isEmpty && failures.isEmpty }

  /// All that went wrong, for the log; nil when nothing did.
  var error: NamespaceContentError? {
    let texts = [discoveryText].compactMap { $0 } + unparsedTexts + failures
    return texts.isEmpty ? nil : NamespaceContentError(description: texts.joined(separator: "; "))
  }

  private var discoveryText: String? {
    guard !undiscovered.isEmpty else { return nil }
    let groups = undiscovered.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
    return "unable to retrieve the complete list of server APIs: \(groups.joined(separator: ", "))"
  }
  private var unparsedTexts: [String] {
    unparsed.sorted().map { "unexpected GroupVersion string: \($0)" }
  }

  struct Condition: Equatable {
    var type: String
    var isTrue: Bool
    var reason: String
    var message: String
  }

  /// All five, in upstream's order: those that are false too, so that one sees that they were looked at.
  var conditions: [Condition] {
    let counts = remaining.map { "\($0.resource).\($0.group) has \($1) resource instances" }.sorted()
    let holders = finalizers.map { "\($0) in \($1) resource instances" }.sorted()
    func condition(
      _ type: String, _ reason: String, _ message: String?, else good: (reason: String, message: String)
    ) -> Condition {
      guard let message else {
        return Condition(type: type, isTrue: false, reason: good.reason, message: good.message)
      }
      return Condition(type: type, isTrue: true, reason: reason, message: message)
    }
    return [
      condition(
        "NamespaceDeletionDiscoveryFailure", "DiscoveryFailed",
        discoveryText.map { "Discovery failed for some groups, \(undiscovered.count) failing: \($0)" },
        else: ("ResourcesDiscovered", "All resources successfully discovered")),
      condition(
        "NamespaceDeletionGroupVersionParsingFailure", "GroupVersionParsingFailed", unparsedTexts.first,
        else: ("ParsedGroupVersions", "All legacy kube types successfully parsed")),
      condition(
        "NamespaceDeletionContentFailure", "ContentDeletionFailed",
        failures.isEmpty
          ? nil
          : "Failed to delete all resource types, \(failures.count) remaining: \(Self.aggregate(failures))",
        else: ("ContentDeleted", "All content successfully deleted, may be waiting on finalization")),
      condition(
        "NamespaceContentRemaining", "SomeResourcesRemain",
        counts.isEmpty ? nil : "Some resources are remaining: " + counts.joined(separator: ", "),
        else: ("ContentRemoved", "All content successfully removed")),
      condition(
        "NamespaceFinalizersRemaining", "SomeFinalizersRemain",
        holders.isEmpty
          ? nil
          : "Some content in the namespace has finalizers remaining: " + holders.joined(separator: ", "),
        else: ("ContentHasNoFinalizers", "All content-preserving finalizers finished")),
    ]
  }

  /// Several errors as Go's aggregate writes them: each once, one without brackets.
  static func aggregate(_ texts: [String]) -> String {
    var seen: Set<String> = []
    let texts = texts.filter { seen.insert($0).inserted }
    return texts.count == 1 ? texts[0] : "[" + texts.joined(separator: ", ") + "]"
  }
}

/// Why a namespace could not be emptied, or not be known to be empty.
struct NamespaceContentError: Error, CustomStringConvertible {
  var description: String
}

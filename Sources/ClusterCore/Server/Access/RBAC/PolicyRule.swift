// One rule of a role: which verbs on which resources, or on which paths.

import ClusterObjects

/// `rbac.authorization.k8s.io/v1 PolicyRule`, read once when its role changes. Asking it allocates nothing.
struct PolicyRule: Sendable, Hashable {
  var verbs: [String]
  var apiGroups: [String]
  var resources: [String]
  var resourceNames: [String]
  var nonResourceURLs: [String]
  /// What most questions are refused by, before any text is compared.
  private let verbSet: VerbSet

  init(
    verbs: [String], apiGroups: [String] = [], resources: [String] = [], resourceNames: [String] = [],
    nonResourceURLs: [String] = []
  ) {
    self.verbs = verbs
    self.apiGroups = apiGroups
    self.resources = resources
    self.resourceNames = resourceNames
    self.nonResourceURLs = nonResourceURLs
    verbSet = VerbSet(verbs)
  }

  init(_ json: JSON) {
    func texts(_ field: String) -> [String] { json[field]?.elements.compactMap(\.string) ?? [] }
    self.init(
      verbs: texts("verbs"), apiGroups: texts("apiGroups"), resources: texts("resources"),
      resourceNames: texts("resourceNames"), nonResourceURLs: texts("nonResourceURLs"))
  }

  /// In the order of fields of the API; empty lists are left out, except for verbs.
  var json: JSON {
    var out: JSON = ["verbs": JSON(verbs)]
    if !apiGroups.isEmpty { out["apiGroups"] = JSON(apiGroups) }
    if !resources.isEmpty { out["resources"] = JSON(resources) }
    if !resourceNames.isEmpty { out["resourceNames"] = JSON(resourceNames) }
    if !nonResourceURLs.isEmpty { out["nonResourceURLs"] = JSON(nonResourceURLs) }
    return out
  }

  /// May take part in any decision: a rule for everything.
  static let everything = PolicyRule(verbs: ["*"], apiGroups: ["*"], resources: ["*"])
  static let everyPath = PolicyRule(verbs: ["*"], nonResourceURLs: ["*"])

  // MARK: Matching

  func allows(_ question: RuleQuestion) -> Bool {
    guard verbSet.mayHold(question.verbSet) else { return false }
    let asked = question.attributes
    guard verbSet.isAll || verbs.contains(asked.verb) else { return false }
    guard asked.isResource else { return allowsPath(asked.path) }
    return allowsGroup(asked.group) && allowsResource(asked.resource, asked.subresource)
      && (resourceNames.isEmpty || resourceNames.contains(asked.name))
  }

  private func allowsGroup(_ group: String) -> Bool {
    for own in apiGroups where own == "*" || own == group { return true }
    return false
  }

  /// `*`, `pods`, `pods/log`, or `*/scale` for a subresource of anything. `*` takes in subresources, `pods`
  /// does not.
  private func allowsResource(_ resource: String, _ subresource: String) -> Bool {
    for own in resources {
      if own == "*" { return true }
      if subresource.isEmpty {
        if own == resource { return true }
      } else if Self.isSubresource(own, resource, subresource) {
        return true
      }
    }
    return false
  }

  /// Whether `own` reads `RESOURCE/SUBRESOURCE` or `*/SUBRESOURCE`, without putting the two together.
  private static func isSubresource(_ own: String, _ resource: String, _ subresource: String) -> Bool {
    var own = own.utf8[...]
    guard own.count > subresource.utf8.count, own.hasSuffix(subresource.utf8) else { return false }
    own = own.dropLast(subresource.utf8.count)
    guard own.popLast() == UInt8(ascii: "/") else { return false }
    return own.elementsEqual(resource.utf8) || own.elementsEqual("*".utf8)
  }

  /// `*`, a path, or the beginning of one: `/api/*`.
  private func allowsPath(_ path: String) -> Bool {
    for own in nonResourceURLs {
      if own == "*" || own == path { return true }
      if own.utf8.last == UInt8(ascii: "*"), path.utf8.starts(with: own.utf8.dropLast()) { return true }
    }
    return false
  }
}

/// What is asked, with what every rule would work out again.
struct RuleQuestion {
  let attributes: AccessAttributes
  fileprivate let verbSet: VerbSet

  init(_ attributes: AccessAttributes) {
    self.attributes = attributes
    verbSet = VerbSet([attributes.verb])
  }
}

/// Verbs as bits: the common ones have one each, all others share one.
private struct VerbSet: Hashable {
  private var bits: UInt16 = 0
  private static let all: UInt16 = 1 << 15
  private static let other: UInt16 = 1 << 14

  init(_ verbs: [String]) { for verb in verbs { bits |= Self.bit(verb) } }

  var isAll: Bool { bits & Self.all != 0 }
  func mayHold(_ one: VerbSet) -> Bool { isAll || bits & one.bits != 0 }

  private static func bit(_ verb: String) -> UInt16 {
    switch verb {
    case "get": 1
    case "list": 2
    case "watch": 4
    case "create": 8
    case "update": 16
    case "patch": 32
    case "delete": 64
    case "deletecollection": 128
    case "*": all
    default: other
    }
  }
}

extension Substring.UTF8View {
  fileprivate func hasSuffix(_ suffix: String.UTF8View) -> Bool {
    dropFirst(count - suffix.count).elementsEqual(suffix)
  }
}

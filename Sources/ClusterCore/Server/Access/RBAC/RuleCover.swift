// Whether rules that somebody holds include the rules that the same person is about to give away.
//
// Rules are taken apart into atoms: one verb, one group, one resource, at most one name; or one verb and one
// path. One holder's rule covers an atom or it does not; nothing is put together from several.

import ClusterObjects

extension PolicyRule {
  /// The atoms of `rules` that none of `held` covers.
  static func missing(_ rules: [PolicyRule], held: [PolicyRule]) -> [PolicyRule] {
    rules.flatMap(\.atoms).filter { atom in !held.contains { $0.covers(atom) } }
  }

  var atoms: [PolicyRule] {
    var atoms: [PolicyRule] = []
    for group in apiGroups {
      for resource in resources {
        for verb in verbs {
          for name in resourceNames.isEmpty ? [[]] : resourceNames.map({ [$0] }) {
            atoms.append(
              PolicyRule(verbs: [verb], apiGroups: [group], resources: [resource], resourceNames: name))
          }
        }
      }
    }
    for path in nonResourceURLs {
      for verb in verbs { atoms.append(PolicyRule(verbs: [verb], nonResourceURLs: [path])) }
    }
    return atoms
  }

  private func covers(_ atom: PolicyRule) -> Bool {
    func holds(_ own: [String], _ wanted: [String]) -> Bool {
      own.contains("*") || wanted.allSatisfy(own.contains)
    }
    func holdsResource(_ wanted: String) -> Bool {
      if resources.contains("*") || resources.contains(wanted) { return true }
      guard let slash = wanted.firstIndex(of: "/") else { return false }
      return resources.contains("*" + wanted[slash...])
    }
    func holdsPath(_ wanted: String) -> Bool {
      nonResourceURLs.contains { own in
        own == wanted || own.hasSuffix("*") && wanted.hasPrefix(own.dropLast())
      }
    }
    let names =
      resourceNames.isEmpty
      || (!atom.resourceNames.isEmpty && atom.resourceNames.allSatisfy(resourceNames.contains))
    return holds(verbs, atom.verbs) && holds(apiGroups, atom.apiGroups)
      && atom.resources.allSatisfy(holdsResource) && names && atom.nonResourceURLs.allSatisfy(holdsPath)
  }

  /// Atoms of the same resource, joined by their verbs: what a person can read.
  static func compacted(_ atoms: [PolicyRule]) -> [PolicyRule] {
    struct Subject: Hashable {
      var groups: [String]
      var resources: [String]
      var names: [String]
    }
    var order: [Subject] = []
    var joined: [Subject: [String]] = [:]
    var paths: [PolicyRule] = []
    for atom in atoms {
      guard atom.nonResourceURLs.isEmpty else {
        paths.append(atom)
        continue
      }
      let subject = Subject(groups: atom.apiGroups, resources: atom.resources, names: atom.resourceNames)
      if joined[subject] == nil { order.append(subject) }
      for verb in atom.verbs where joined[subject]?.contains(verb) != true {
        joined[subject, default: []].append(verb)
      }
    }
    return order.map {
      PolicyRule(
        verbs: joined[$0] ?? [], apiGroups: $0.groups, resources: $0.resources, resourceNames: $0.names)
    } + paths
  }

  /// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`.
  var summary: String {
    let parts = [
      ("APIGroups", apiGroups), ("Resources", resources), ("NonResourceURLs", nonResourceURLs),
      ("ResourceNames", resourceNames), ("Verbs", verbs),
    ]
    return "{"
      + parts.filter { !$0.1.isEmpty }.map { "\($0.0):\(Self.quoted($0.1))" }.joined(separator: ", ") + "}"
  }

  /// Texts as Go prints a list with `%q`: `["a" "b"]`.
  static func quoted(_ texts: [String]) -> String {
    "[" + texts.map { Self.quoted($0) }.joined(separator: " ") + "]"
  }

  static func quoted(_ text: String) -> String { JSON(text).text }
}

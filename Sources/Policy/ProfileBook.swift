// Profiles: one chain for each set of policies that isolates some local pod in a direction, shared by all such pods.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// A policy in one direction.
struct PolicyUse: Hashable, Sendable {
  var policy: ObjectKey
  var direction: NetworkPolicy.Direction
}

struct Profile: Hashable, Sendable {
  var direction: NetworkPolicy.Direction
  /// In order of name.
  var policies: [ObjectKey]

  var name: String {
    let prefix = direction == .ingress ? "KUBE-IN-" : "KUBE-EG-"
    return prefix + stableName(policies.map(\.description).joined(separator: ","))
  }
}

/// Which profiles are in use, by which pods, and what their policies compile to.
struct ProfileBook: Sendable {
  /// A pod's profiles: nil in a direction in which nothing isolates it.
  struct OfPod: Hashable, Sendable {
    var ingress: String?
    var egress: String?
  }

  var byName: [String: Profile] = [:]
  var users: [String: Int] = [:]
  var ofPod: [ObjectKey: OfPod] = [:]
  /// Names of the profiles that a policy is part of.
  var using: [PolicyUse: Set<String>] = [:]
  var compiled: [PolicyUse: CompiledPolicy] = [:]

  /// The chain of a profile in a family.
  func chain(_ name: String, _ family: TableFamily.Addressed) -> Chain? {
    guard let profile = byName[name] else { return nil }
    var rules: [Rule] = []
    for policy in profile.policies {
      rules += compiled[PolicyUse(policy: policy, direction: profile.direction)]?.rules[family] ?? []
    }
    let deny = profile.direction == .ingress ? PolicyNames.denyIngress : PolicyNames.denyEgress
    rules.append(Rule(.goto(deny), comment: profile.policies.map(\.description).joined(separator: " ")))
    return Chain(name, rules: rules)
  }
}

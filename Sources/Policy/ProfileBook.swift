// Profiles: one chain for each set of policies that decides for some local pod in a direction, shared by all such pods.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// A policy in one direction. ClusterNetworkPolicies have a key without a namespace.
struct PolicyUse: Hashable, Sendable {
  var policy: ObjectKey
  var direction: NetworkPolicy.Direction
}

/// The policies of a pod in a direction, tier by tier. What follows a tier's Pass is a profile of its own, shared too.
struct Profile: Hashable, Sendable {
  var direction: NetworkPolicy.Direction
  /// ClusterNetworkPolicies of the Admin tier in their order.
  var admin: [ObjectKey] = []
  /// NetworkPolicies in order of name.
  var policies: [ObjectKey] = []
  /// ClusterNetworkPolicies of the Baseline tier in their order; none when a NetworkPolicy isolates the pod.
  var baseline: [ObjectKey] = []

  var isEmpty: Bool { admin.isEmpty && policies.isEmpty && baseline.isEmpty }
  var all: [ObjectKey] { admin + policies + baseline }

  /// What is left when the Admin tier has nothing to say; nil: this is it, or nothing is left.
  var afterAdmin: Profile? {
    let rest = Profile(direction: direction, policies: policies, baseline: baseline)
    return admin.isEmpty || rest.isEmpty ? nil : rest
  }

  var name: String {
    let prefix = direction == .ingress ? "KUBE-IN-" : "KUBE-EG-"
    func list(_ keys: [ObjectKey]) -> String { keys.map(\.description).joined(separator: ",") }
    let tiers = admin.isEmpty && baseline.isEmpty ? "" : "\(list(admin))|\(list(baseline))|"
    return prefix + stableName(tiers + list(policies))
  }
}

/// Which profiles are in use, by which pods, and what their policies compile to.
struct ProfileBook: Sendable {
  /// A pod's profiles: nil in a direction in which nothing is said of it.
  struct OfPod: Hashable, Sendable {
    var ingress: String?
    var egress: String?
    /// What it sends to its own node.
    var toNode: String?

    var names: [String] { [ingress, egress, toNode].compactMap { $0 } }
  }

  var byName: [String: Profile] = [:]
  var users: [String: Int] = [:]
  var ofPod: [ObjectKey: OfPod] = [:]
  /// Names of the profiles that a policy is part of.
  var using: [PolicyUse: Set<String>] = [:]
  var compiled: [PolicyUse: CompiledPolicy] = [:]

  /// The chain of a profile in a family. It always ends with a verdict or in a chain that does.
  func chain(_ name: String, _ family: TableFamily.Addressed) -> Chain? {
    guard let profile = byName[name] else { return nil }
    let ends = Ends(profile.direction)
    if !profile.admin.isEmpty {
      let next: Statement = profile.afterAdmin.map { .goto($0.name) } ?? ends.accept
      return Chain(
        name, rules: rules(profile.admin, profile, family, ends, pass: next) + [Rule(.counter, next)])
    }
    var rules = rules(profile.policies, profile, family, ends, pass: ends.accept)
    let isolating = profile.policies.filter { !isAudit($0, profile) }
    if !isolating.isEmpty {
      rules.append(Rule(ends.deny, comment: isolating.map(\.description).joined(separator: " ")))
      return Chain(name, rules: rules)
    }
    if !profile.policies.isEmpty {
      rules.append(Rule(ends.audit, comment: profile.policies.map(\.description).joined(separator: " ")))
    }
    rules += self.rules(profile.baseline, profile, family, ends, pass: ends.accept)
    return Chain(name, rules: rules + [Rule(ends.accept)])
  }

  private func isAudit(_ policy: ObjectKey, _ profile: Profile) -> Bool {
    compiled[PolicyUse(policy: policy, direction: profile.direction)]?.isAudit ?? false
  }

  private func rules(
    _ policies: [ObjectKey], _ profile: Profile, _ family: TableFamily.Addressed, _ ends: Ends,
    pass: Statement
  ) -> [Rule] {
    policies.flatMap { policy -> [Rule] in
      let compiled = compiled[PolicyUse(policy: policy, direction: profile.direction)]?.rules[family] ?? []
      return compiled.map { rule in
        let end =
          switch rule.action {
          case .accept: ends.accept
          case .deny: ends.deny
          case .pass: pass
          case .audit: ends.audit
          }
        return Rule(rule.match + [.counter, end], comment: rule.comment)
      }
    }
  }

  /// Where rules lead to.
  private struct Ends {
    /// Ingress has the last word; egress hands on to the receiver's ingress look-up.
    var accept: Statement
    var deny: Statement
    /// Comes back.
    var audit: Statement

    init(_ direction: NetworkPolicy.Direction) {
      let isIngress = direction == .ingress
      accept = isIngress ? .accept : .goto(PolicyNames.receiver)
      deny = .goto(isIngress ? PolicyNames.denyIngress : PolicyNames.denyEgress)
      audit = .jump(isIngress ? PolicyNames.auditIngress : PolicyNames.auditEgress)
    }
  }
}

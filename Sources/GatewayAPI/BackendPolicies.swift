// BackendTLSPolicies: which of them speaks for a Service's port, and what is said to each.

import ClusterObjects
import ClusterView

/// The policies of a view, read once.
struct BackendPolicies {
  typealias Finding = GatewayPlanner.Finding

  struct Target: Hashable {
    var service: ObjectKey
    /// Empty: every port.
    var section: String
  }

  struct Verdict {
    var policy: BackendTLSPolicy
    var rejection: Finding?
    var unresolved: Finding?
    var tls: GatewayPlan.BackendTLS
  }

  enum Choice {
    case none, unusable
    case some(GatewayPlan.BackendTLS)
  }

  private(set) var verdicts: [ObjectKey: Verdict] = [:]
  /// The policy that has a target: the oldest that asked.
  private var owners: [Target: ObjectKey] = [:]

  init() {}

  init(view: ClusterView, input: GatewayInput) {
    let policies = view.gateway.backendPolicies.values.sorted {
      ($0.creationTimestamp, $0.key) < ($1.creationTimestamp, $1.key)
    }
    for policy in policies {
      var verdict = Self.verdict(policy, input)
      for target in policy.targets {
        guard target.reference.group.isEmpty, target.reference.kind == "Service" else { continue }
        let place = Target(
          service: target.reference.key(in: policy.key.namespace), section: target.section)
        if let owner = owners[place] {
          verdict.rejection =
            verdict.rejection
            ?? Finding("Conflicted", "service \(place.service) has the older policy \(owner.name)")
        } else {
          owners[place] = policy.key
        }
      }
      verdicts[policy.key] = verdict
    }
  }

  private static func verdict(_ policy: BackendTLSPolicy, _ input: GatewayInput) -> Verdict {
    var verdict = Verdict(
      policy: policy,
      tls: GatewayPlan.BackendTLS(hostname: policy.hostname, authorities: [], names: policy.names))
    if let name = policy.wellKnown {
      if name != "System" {
        verdict.rejection = Finding(
          "Invalid", "wellKnownCACertificates: \(name) is nothing that is known here")
      }
      return verdict
    }
    for reference in policy.authorities {
      let key = ObjectKey(policy.key.namespace, reference.name)
      if !reference.group.isEmpty || reference.kind != "ConfigMap" {
        verdict.unresolved = verdict.unresolved ?? Finding("InvalidKind", "\(reference) is no ConfigMap")
      } else if input.authorities[key] == nil {
        verdict.unresolved =
          verdict.unresolved
          ?? Finding("InvalidCACertificateRef", "configmap \(key) has no ca.crt with certificates")
      } else {
        verdict.tls.authorities.append(key)
      }
    }
    if verdict.tls.authorities.isEmpty {
      verdict.rejection = Finding(
        "NoValidCACertificate", "no authority is left to check the backend's certificate with")
    }
    return verdict
  }

  /// The policy of a port: its own before that of the whole Service. One that cannot be followed closes the port.
  func choice(for service: ObjectKey, port: String) -> Choice {
    let own = port.isEmpty ? nil : owners[Target(service: service, section: port)]
    guard let owner = own ?? owners[Target(service: service, section: "")], let verdict = verdicts[owner]
    else { return .none }
    let isUnusable = verdict.rejection.map { $0.reason != "Conflicted" } ?? false
    return isUnusable ? .unusable : .some(verdict.tls)
  }
}

extension GatewayPlanner {
  /// What a policy is told of at most so many Gateways, as the API bounds it.
  private static let ancestorsMax = 16

  mutating func planPolicies() {
    if policies.verdicts.isEmpty { return }
    gatewaysOfServices = [:]
    for state in routes { noteServices(state) }
    for verdict in policies.verdicts.values {
      let policy = verdict.policy
      var gateways: Set<ObjectKey> = []
      var missing: Finding?
      for target in policy.targets {
        let service = target.reference.key(in: policy.key.namespace)
        gateways.formUnion(gatewaysOfServices[service] ?? [])
        if view.services[service] == nil || target.reference.kind != "Service" {
          missing = missing ?? Finding("TargetNotFound", "\(target.reference) does not exist")
        }
      }
      let conditions = [
        Self.condition(
          "Accepted", verdict.rejection ?? missing, else: Finding("Accepted", "the policy is followed"),
          policy.generation),
        Self.condition(
          "ResolvedRefs", verdict.unresolved, else: Finding("ResolvedRefs", "all that is named is there"),
          policy.generation),
      ]
      result.policies[policy.key] = gateways.sorted().prefix(Self.ancestorsMax).map {
        GatewayPlan.AncestorStatus(gateway: $0, conditions: conditions)
      }
    }
  }

  /// Policies are told of the Gateways through which their Services are reached, whether they are usable or not.
  private mutating func noteServices(_ state: RouteState) {
    let gateways = Set(state.listeners.map { listeners[$0].gateway })
    guard !gateways.isEmpty else { return }
    for backend in state.route.rules.flatMap(\.backends) where backend.reference.kind == "Service" {
      gatewaysOfServices[backend.reference.key(in: state.route.key.namespace), default: []]
        .formUnion(gateways)
    }
  }
}

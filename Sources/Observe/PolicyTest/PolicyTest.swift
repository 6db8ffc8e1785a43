// Expectations against policies, decided by the evaluator that the rules in the kernel are tested against. Pure: manifests in,
// verdicts out.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Policy

/// What came of one expectation.
public struct PolicyTestResult: Sendable, Hashable {
  public var expectation: PolicyExpectation
  public var hasPassed: Bool
  /// Which policy decided, or which object is missing.
  public var reason: String
}

/// A cluster as its manifests describe it. Workloads stand for a pod of their template.
public struct PolicyTest {
  private let pods: RehearsedPods

  /// - Parameter objects: of any kinds; those that policies do not look at are passed over.
  public init(_ objects: [JSON]) { pods = RehearsedPods(objects) }

  /// Policies that cannot be read: nothing is decided by them.
  public var unreadable: [UnreadableObject] {
    pods.view.quarantined.sorted { $0.key.key < $1.key.key }.map(\.value)
  }

  public func run(_ expectations: [PolicyExpectation]) -> [PolicyTestResult] { expectations.map(run) }

  private func run(_ expectation: PolicyExpectation) -> PolicyTestResult {
    func failed(_ reason: String) -> PolicyTestResult {
      PolicyTestResult(expectation: expectation, hasPassed: false, reason: reason)
    }
    guard let source = party(expectation.source) else {
      return failed("there is no \(expectation.source.noun)")
    }
    guard let ends = ends(expectation.destination) else {
      return failed("there is no \(expectation.destination.noun)")
    }
    guard !ends.isEmpty else { return failed("nothing stands behind \(expectation.destination.noun)") }
    var reasons: [String] = []
    var wrong: [String] = []
    for end in ends {
      let decision = decidePolicy(
        view: pods.view, from: source, to: end.party, port: end.port, transport: end.transport)
      let said = "\(end.party.pod.map { "\($0): " } ?? "")\(decision.words)"
      if decision.isAllowed == expectation.isAllowed { reasons.append(said) } else { wrong.append(said) }
    }
    return PolicyTestResult(
      expectation: expectation, hasPassed: wrong.isEmpty,
      reason: (wrong.isEmpty ? reasons : wrong).joined(separator: "; "))
  }

  private struct End {
    var party: PolicyParty
    var port: UInt16
    var transport: TransportProtocol
  }

  private func party(_ target: ExplainTarget) -> PolicyParty? {
    switch target.name {
    case .address(let address):
      let holder = pods.view.pods.values.first { $0.addresses.contains(address) && !$0.isHostNetwork }
      return PolicyParty(address: address, pod: holder?.key)
    case .object(let key), .pod(let key):
      guard let pod = pods.byName[key].flatMap({ pods.view.pods[$0] }), let address = pod.addresses.first
      else {
        return nil
      }
      return PolicyParty(address: address, pod: pod.key)
    case .service, .dns, .web: return nil
    }
  }

  /// Where the connection may end: one place, or every pod behind a Service. Nil: there is nothing of that name.
  private func ends(_ target: ExplainTarget) -> [End]? {
    guard let port = target.port else { return nil }
    switch target.name {
    case .service(let key): return serviceEnds(key, port, target.transport)
    case .object(let key) where pods.hasService(key) && pods.byName[key] == nil:
      return serviceEnds(key, port, target.transport)
    case .object, .pod, .address:
      guard let party = party(target) else { return nil }
      let transport = target.transport ?? .tcp
      switch port {
      case .number(let number): return [End(party: party, port: number, transport: transport)]
      case .name(let name):
        let found = party.pod.flatMap { pods.view.pods[$0] }?.ports
          .first { $0.name == name && $0.transport == transport }
        return found.map { [End(party: party, port: $0.port, transport: transport)] }
      }
    case .dns, .web: return nil
    }
  }

  private func serviceEnds(_ key: ObjectKey, _ port: ExplainTarget.Port, _ transport: TransportProtocol?)
    -> [End]?
  {
    pods.backends(of: key, port: port, transport)?.map { backend in
      let address = backend.pod.addresses.first ?? .v4(IPv4Address(bits: 0))
      return End(
        party: PolicyParty(address: address, pod: backend.pod.key), port: backend.port,
        transport: backend.transport)
    }
  }
}

extension ExplainTarget {
  /// The object that is meant.
  fileprivate var noun: String {
    let of =
      switch port {
      case .name(let name): " with a port \(name)"
      case .number(let number): " with port \(number)"
      case nil: ""
      }
    return switch name {
    case .object(let key): "pod, workload or Service \(key)\(of)"
    case .pod(let key): "pod or workload \(key)\(of)"
    case .service(let key): "Service \(key)\(of)"
    case .address(let address): "\(address)"
    case .dns(let name): "object that is called \(name): write NAMESPACE/NAME"
    case .web(let web): "object that is called \(web.host): write NAMESPACE/NAME"
    }
  }
}

extension PolicyDecision {
  /// What decided, in a few words.
  fileprivate var words: String {
    switch reason {
    case .notIsolated: "allowed, no policy isolates either end"
    case .itself: "allowed, a pod always reaches itself"
    case .ownNode: "allowed, no policy keeps a pod from its own node, or the node from it"
    case .ruled(let rule): "\(rule.action == .deny ? "denied" : "allowed") by \(rule.words)"
    case .allowed(let policy, let rule, let direction):
      "allowed by \(policy), \(direction.rawValue.lowercased()) rule \(rule)"
    case .denied(let policies, let direction):
      "denied, no \(direction.rawValue.lowercased()) rule of \(policies.map(\.description).joined(separator: ", ")) lets it through"
    }
  }
}

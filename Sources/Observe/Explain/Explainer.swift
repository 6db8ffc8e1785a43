// Follows one connection through the view: name, Service, endpoints, policy; then asks the kernel's ruleset the same.
// Pure: the view, the ruleset read from the kernel and the zone's answer come in as values.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import GatewayAPI
import Ingress
import Policy
import Ruleset

/// What cluster DNS says of a name.
public enum NameAnswer: Sendable, Hashable {
  case addresses([IPAddress])
  case alias(String)
  /// The name exists without an address of this kind.
  case noData
  case doesNotExist
  /// Not ours: it goes to the upstream servers.
  case forwarded
}

/// Explains connections from one node's point of view.
public struct Explainer: Sendable {
  public var view: ClusterView
  public var nodeName: String
  /// What is in force in this node's kernel; nil when it could not be read, or only manifests are at hand.
  public var observed: Ruleset?
  /// The node's own addresses.
  public var localAddresses: Set<IPAddress>
  public var names: @Sendable (String) -> NameAnswer
  /// The cluster's domain, where pods' search lists end.
  public var zone = "cluster.local"
  /// A pod's `ndots`: names with fewer dots are looked for along its search list first.
  static let dots = 5
  /// How an address of another node's pod is reached from this node: steps that name routes, neighbours and links, as planned and as
  /// they are in force. Empty when nothing is known.
  public var ways: @Sendable (Node, IPAddress) -> [Explanation.Step] = { _, _ in [] }
  /// Certificates that Ingresses and Gateways name; nil: they were not read.
  public var secrets: [ObjectKey: TLSSecret]?
  /// Secrets with passwords and authorities that Ingresses name; nil: they were not read.
  public var credentials: [ObjectKey: CredentialSecret]?
  /// ConfigMaps with fields of answers that Ingresses name.
  public var fields: [ObjectKey: [String: String]] = [:]
  /// Certificates of authorities that Gateways name.
  public var authorities: [ObjectKey: AuthorityBundle] = [:]

  public init(
    view: ClusterView, nodeName: String, observed: Ruleset?, localAddresses: Set<IPAddress> = [],
    names: @escaping @Sendable (String) -> NameAnswer
  ) {
    self.view = view
    self.nodeName = nodeName
    self.observed = observed
    self.localAddresses = localAddresses
    self.names = names
  }

  /// Explains a connection. Throws `CLI0011` when an end names no object and `CLI0012` when the port is not clear.
  public func explain(from sourceText: String, to destinationText: String, namespace: String = "default")
    throws(WeftError) -> Explanation
  {
    let source = try sourceParty(ExplainTarget(sourceText, namespace: namespace), sourceText)
    let target = try ExplainTarget(destinationText, namespace: namespace)
    var walk = Walk(
      explainer: self, source: source,
      explanation: Explanation(source: sourceText, destination: destinationText))
    walk.describeSource()
    try walk.follow(target)
    return walk.explanation
  }

  private func sourceParty(_ target: ExplainTarget, _ text: String) throws(WeftError) -> PolicyParty {
    switch target.name {
    case .object(let key), .pod(let key):
      guard let pod = view.pods[key] else {
        throw WeftError(
          "CLI0011", object: "pod \(key)", cause: "does not exist",
          next:
            "\(Spelling.pod(key, in: view).map { "did you mean \($0)? " } ?? "")look at: kubectl get pods -n \(key.namespace)",
          exit: .finding)
      }
      guard let address = pod.addresses.first else {
        throw WeftError(
          "CLI0013", object: "pod \(key)", cause: "has no address yet (phase \(pod.phase))",
          next: "look at: kubectl describe pod -n \(key.namespace) \(key.name)", exit: .finding)
      }
      return PolicyParty(address: address, pod: pod.isHostNetwork ? nil : key)
    case .address(let address): return PolicyParty(address: address, pod: view.pod(at: address)?.key)
    case .service, .dns, .web:
      throw WeftError(
        "CLI0014", object: text, cause: "is no pod and no address, so nothing is sent from it",
        next: "name a pod (NAMESPACE/NAME) or an address as the source")
    }
  }
}

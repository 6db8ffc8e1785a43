// A NetworkPolicy that would allow what was observed, with its reasons as remarks.

import Addresses
import ClusterObjects

/// A proposal for the pods of one workload.
public struct SuggestedPolicy: Sendable, Hashable {
  /// Who may be on the other side.
  public enum Peer: Sendable, Hashable, Comparable {
    case pods(namespace: String, labels: [String: String])
    case block(IPPrefix)
    /// Anyone: for what too many addresses have used.
    case anyone

    private var order: String {
      switch self {
      case .pods(let namespace, let labels):
        "0\(namespace) \(labels.sorted { $0.key < $1.key }.map { "\($0)=\($1)" }.joined(separator: ","))"
      case .block(let prefix): "1\(prefix)"
      case .anyone: "2"
      }
    }
    public static func < (a: Self, b: Self) -> Bool { a.order < b.order }
  }

  public struct Port: Sendable, Hashable, Comparable {
    public var transport: TransportProtocol
    public var port: UInt16
    public static func < (a: Self, b: Self) -> Bool { (a.transport, a.port) < (b.transport, b.port) }
  }

  public struct Rule: Sendable, Hashable {
    public var peers: [Peer]
    public var ports: [Port]
    /// The flows that it is for, a line each.
    public var reasons: [String]
  }

  public var key: ObjectKey
  /// Empty: every pod of the namespace.
  public var labels: [String: String]
  public var ingress: [Rule]
  public var egress: [Rule]

  /// The object.
  public var json: JSON {
    [
      "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
      "metadata": ["name": JSON(key.name), "namespace": JSON(key.namespace)],
      "spec": [
        "podSelector": Self.selector(labels), "policyTypes": ["Ingress", "Egress"],
        "ingress": .array(ingress.map { rule($0, "from") }), "egress": .array(egress.map { rule($0, "to") }),
      ],
    ]
  }

  /// The object for people, with the flows behind each rule as remarks.
  public var yaml: String {
    var remarks: [String: [String]] = [:]
    for (name, rules) in [("ingress", ingress), ("egress", egress)] {
      for (index, rule) in rules.enumerated() { remarks["spec.\(name).\(index)"] = rule.reasons }
      if rules.isEmpty { remarks["spec.\(name)"] = ["none was observed: all is refused"] }
    }
    return BlockYAML.text(json, remarks: remarks)
  }

  private static func selector(_ labels: [String: String]) -> JSON {
    labels.isEmpty ? .object([:]) : ["matchLabels": sorted(labels)]
  }

  private static func sorted(_ labels: [String: String]) -> JSON {
    .object(JSONObject(labels.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }))
  }

  private func rule(_ rule: Rule, _ side: String) -> JSON {
    var object = JSONObject()
    if !rule.peers.contains(.anyone) { object[side] = .array(rule.peers.map(peer)) }
    object["ports"] = .array(
      rule.ports.map { ["protocol": JSON($0.transport.rawValue), "port": JSON($0.port)] })
    return .object(object)
  }

  private func peer(_ peer: Peer) -> JSON {
    switch peer {
    case .block(let prefix): return ["ipBlock": ["cidr": JSON(prefix.description)]]
    case .pods(let namespace, let labels):
      var object = JSONObject()
      if namespace != key.namespace {
        object["namespaceSelector"] = ["matchLabels": ["kubernetes.io/metadata.name": JSON(namespace)]]
      }
      object["podSelector"] = Self.selector(labels)
      return .object(object)
    case .anyone: return .object([:])
    }
  }
}

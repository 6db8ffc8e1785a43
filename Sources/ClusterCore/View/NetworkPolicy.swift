// networking.k8s.io/v1 NetworkPolicy, parsed.

import Addresses
import ClusterObjects

/// Who may speak to the selected pods, and to whom they may speak.
public struct NetworkPolicy: Sendable, Hashable {
  public enum Direction: String, Sendable, Hashable, CaseIterable {
    case ingress = "Ingress", egress = "Egress"
  }

  public enum Peer: Sendable, Hashable {
    /// Pods of `namespaces` (nil: the policy's own) that `pods` selects (nil: all of them).
    case pods(namespaces: LabelSelector?, pods: LabelSelector?)
    case block(IPPrefix, except: [IPPrefix])
  }

  public enum PortMatch: Sendable, Hashable {
    case any
    case range(ClosedRange<UInt16>)
    /// A container port's name, looked up in the destination pod.
    case named(String)
  }

  public struct PortRule: Sendable, Hashable {
    public var transport: TransportProtocol
    public var port: PortMatch
    public init(transport: TransportProtocol, port: PortMatch) {
      self.transport = transport
      self.port = port
    }
  }

  /// Peers and ports that together allow. No peers: everyone. No ports: every port and protocol.
  public struct Rule: Sendable, Hashable {
    public var peers: [Peer]
    public var ports: [PortRule]
    public init(peers: [Peer], ports: [PortRule]) {
      self.peers = peers
      self.ports = ports
    }
  }

  public var key: ObjectKey
  public var podSelector: LabelSelector
  public var directions: Set<Direction>
  public var ingress: [Rule]
  public var egress: [Rule]
  /// What it would deny is noted and let through.
  public var isAudit: Bool

  /// `weft.dev/audit: "true"` on a policy of either kind.
  public static let auditAnnotation = "weft.dev/audit"

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("NetworkPolicy", tree)
    key = tree.key
    isAudit = tree.isAuditedPolicy
    podSelector = try reader.selector(tree.at("spec", "podSelector") ?? [:], "spec.podSelector")
    ingress = try Self.rules(tree.at("spec", "ingress"), "spec.ingress", "from", reader)
    egress = try Self.rules(tree.at("spec", "egress"), "spec.egress", "to", reader)
    directions = []
    for type in tree.at("spec", "policyTypes")?.elements ?? [] {
      guard let direction = type.string.flatMap(Direction.init) else {
        throw reader.unreadable("spec.policyTypes", type.text)
      }
      directions.insert(direction)
    }
    if directions.isEmpty { directions = egress.isEmpty ? [.ingress] : [.ingress, .egress] }
  }

  private static func rules(_ tree: JSON?, _ path: String, _ peersKey: String, _ reader: TreeReader)
    throws(UnreadableObject) -> [Rule]
  {
    var rules: [Rule] = []
    for (index, rule) in (tree?.elements ?? []).enumerated() {
      var peers: [Peer] = []
      for (at, peer) in (rule[peersKey]?.elements ?? []).enumerated() {
        peers.append(try Self.peer(peer, "\(path)[\(index)].\(peersKey)[\(at)]", reader))
      }
      var ports: [PortRule] = []
      for (at, port) in (rule["ports"]?.elements ?? []).enumerated() {
        ports.append(try Self.port(port, "\(path)[\(index)].ports[\(at)]", reader))
      }
      rules.append(Rule(peers: peers, ports: ports))
    }
    return rules
  }

  private static func peer(_ tree: JSON, _ path: String, _ reader: TreeReader) throws(UnreadableObject)
    -> Peer
  {
    if let block = tree["ipBlock"] {
      guard let prefix = block["cidr"]?.string.flatMap({ IPPrefix($0) }) else {
        throw reader.unreadable("\(path).ipBlock.cidr", block["cidr"]?.text ?? "")
      }
      return .block(prefix, except: try reader.prefixes(block["except"], "\(path).ipBlock.except"))
    }
    var namespaces: LabelSelector?
    var pods: LabelSelector?
    if let selector = tree["namespaceSelector"] {
      namespaces = try reader.selector(selector, "\(path).namespaceSelector")
    }
    if let selector = tree["podSelector"] { pods = try reader.selector(selector, "\(path).podSelector") }
    // A peer of unknown kind must select nothing rather than everything.
    if namespaces == nil, pods == nil { throw reader.unreadable(path, tree.text) }
    return .pods(namespaces: namespaces, pods: pods)
  }

  private static func port(_ tree: JSON, _ path: String, _ reader: TreeReader) throws(UnreadableObject)
    -> PortRule
  {
    let transport: TransportProtocol = try reader.choice(tree["protocol"], "\(path).protocol", default: .tcp)
    switch tree["port"] {
    case nil, .null: return PortRule(transport: transport, port: .any)
    case .string(let name): return PortRule(transport: transport, port: .named(name))
    case let number:
      let first = try reader.port(number, "\(path).port")
      let last = try reader.port(tree["endPort"], "\(path).endPort", default: first)
      guard last >= first else { throw reader.unreadable("\(path).endPort", "\(last)") }
      return PortRule(transport: transport, port: .range(first...last))
    }
  }
}

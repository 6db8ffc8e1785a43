// policy.networking.k8s.io/v1beta1 ClusterNetworkPolicy, parsed: what an administrator says of all pods, before and after what
// namespaces say themselves.

import Addresses
import ClusterObjects

/// Ordered rules for pods of any namespace. The first rule that matches decides.
public struct ClusterNetworkPolicy: Sendable, Hashable {
  /// Admin goes before every NetworkPolicy, Baseline is for pods that no NetworkPolicy isolates.
  public enum Tier: String, Sendable, Hashable { case admin = "Admin", baseline = "Baseline" }

  public enum Action: String, Sendable, Hashable {
    case accept = "Accept", deny = "Deny"
    /// On to the next tier.
    case pass = "Pass"
  }

  public enum Peer: Sendable, Hashable {
    /// Pods that `pods` selects (nil: all) of the namespaces that `namespaces` selects.
    case pods(namespaces: LabelSelector, pods: LabelSelector?)
    case networks([IPPrefix])
    /// Addresses of the nodes.
    case nodes(LabelSelector)
    /// What cluster DNS has answered for these names.
    case domains([DomainPattern])

    var arePods: Bool { if case .pods = self { true } else { false } }
  }

  public struct Rule: Sendable, Hashable {
    /// What a rule is about.
    public enum Reach: Sendable, Hashable {
      case peers([Peer])
      /// An Accept that could not be understood accepts nothing.
      case nothing
      /// A Deny or Pass that could not be understood denies everything.
      case everything
    }
    public var name: String
    public var action: Action
    public var reach: Reach
    /// Empty: every port and protocol.
    public var ports: [NetworkPolicy.PortRule]
    /// The field that could not be understood, when the rule is closed for it.
    public var unknown: String?
  }

  public var name: String
  public var tier: Tier
  /// Lower goes first. Of equal ones the first by name.
  public var priority: Int
  /// Pods that `subjectPods` selects (nil: all) of the namespaces that this selects.
  public var subjectNamespaces: LabelSelector
  public var subjectPods: LabelSelector?
  public var ingress: [Rule]
  public var egress: [Rule]
  /// What it would deny is noted and let through.
  public var isAudit: Bool

  /// Its key among policies of both kinds: those of namespaces have one.
  public var key: ObjectKey { ObjectKey("", name) }

  /// Throws what makes the whole policy mean nothing; a rule that cannot be understood is closed, and says so in `unknown`.
  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("ClusterNetworkPolicy", tree)
    name = tree.name
    isAudit = tree.isAuditedPolicy
    guard let tier = tree.at("spec", "tier")?.string.flatMap(Tier.init) else {
      throw reader.unreadable("spec.tier", tree.at("spec", "tier")?.text ?? "")
    }
    guard let priority = tree.at("spec", "priority")?.integer, (0...1000).contains(priority) else {
      throw reader.unreadable("spec.priority", tree.at("spec", "priority")?.text ?? "")
    }
    self.tier = tier
    self.priority = Int(priority)
    guard let subject = tree.at("spec", "subject"),
      case .pods(let namespaces, let pods)? = try Self.podPeer(subject, "spec.subject", reader)
    else { throw reader.unreadable("spec.subject", tree.at("spec", "subject")?.text ?? "") }
    subjectNamespaces = namespaces
    subjectPods = pods
    ingress = Self.rules(tree.at("spec", "ingress"), "spec.ingress", "from", reader)
    egress = Self.rules(tree.at("spec", "egress"), "spec.egress", "to", reader)
  }

  public func rules(_ direction: NetworkPolicy.Direction) -> [Rule] {
    direction == .ingress ? ingress : egress
  }

  /// Whether it speaks of pods of a namespace at all. A namespace that is not known is nobody's subject.
  public func concerns(namespace labels: [String: String]?) -> Bool {
    labels.map(subjectNamespaces.matches) ?? false
  }

  // MARK: - Reading

  private static func rules(_ tree: JSON?, _ path: String, _ peersKey: String, _ reader: TreeReader) -> [Rule]
  {
    (tree?.elements ?? []).enumerated().map { index, rule in
      let place = "\(path)[\(index)]"
      let name = rule["name"]?.string ?? ""
      // An action that is not known may have been meant to refuse.
      let action = rule["action"]?.string.flatMap(Action.init) ?? .deny
      do throws(UnreadableObject) {
        guard rule["action"]?.string.flatMap(Action.init) != nil else {
          throw reader.unreadable("\(place).action", rule["action"]?.text ?? "")
        }
        let reach = try peers(rule[peersKey], "\(place).\(peersKey)", action, reader)
        let ports = try ports(rule["protocols"], "\(place).protocols", reader)
        // Only pods have names for their ports.
        if ports.contains(where: \.isNamed), !reach.allSatisfy(\.arePods) {
          throw reader.unreadable("\(place).protocols", "destinationNamedPort")
        }
        return Rule(name: name, action: action, reach: .peers(reach), ports: ports)
      } catch {
        return Rule(
          name: name, action: action == .accept ? .accept : .deny,
          reach: action == .accept ? .nothing : .everything, ports: [], unknown: error.field)
      }
    }
  }

  private static func peers(_ tree: JSON?, _ path: String, _ action: Action, _ reader: TreeReader)
    throws(UnreadableObject) -> [Peer]
  {
    let isEgress = path.hasSuffix(".to")
    var peers: [Peer] = []
    for (index, peer) in (tree?.elements ?? []).enumerated() {
      let place = "\(path)[\(index)]"
      // Of two kinds at once nobody knows which is meant.
      guard peer.object?.count == 1 else { throw reader.unreadable(place, peer.text) }
      if let pods = try podPeer(peer, place, reader) {
        peers.append(pods)
      } else if isEgress, let networks = peer["networks"] {
        let blocks = try reader.prefixes(networks, "\(place).networks")
        if blocks.isEmpty { throw reader.unreadable("\(place).networks", "") }
        peers.append(.networks(blocks))
      } else if isEgress, let nodes = peer["nodes"] {
        peers.append(.nodes(try reader.selector(nodes, "\(place).nodes")))
      } else if isEgress, let names = peer["domainNames"], action == .accept {
        var patterns: [DomainPattern] = []
        for name in names.elements {
          guard let pattern = name.string.flatMap({ DomainPattern($0) }) else {
            throw reader.unreadable("\(place).domainNames", name.text)
          }
          patterns.append(pattern)
        }
        peers.append(.domains(patterns))
      } else {
        throw reader.unreadable(place, peer.text)
      }
    }
    if peers.isEmpty { throw reader.unreadable(path, "") }
    return peers
  }

  /// Nil: neither namespaces nor pods.
  private static func podPeer(_ tree: JSON, _ path: String, _ reader: TreeReader) throws(UnreadableObject)
    -> Peer?
  {
    guard tree.object?.count == 1 else { return nil }
    if let namespaces = tree["namespaces"] {
      return .pods(namespaces: try reader.selector(namespaces, "\(path).namespaces"), pods: nil)
    }
    guard let both = tree["pods"] else { return nil }
    guard let pods = both["podSelector"] else { throw reader.unreadable("\(path).pods.podSelector", "") }
    return .pods(
      namespaces: try reader.selector(both["namespaceSelector"] ?? [:], "\(path).pods.namespaceSelector"),
      pods: try reader.selector(pods, "\(path).pods.podSelector"))
  }

  private static func ports(_ tree: JSON?, _ path: String, _ reader: TreeReader) throws(UnreadableObject)
    -> [NetworkPolicy.PortRule]
  {
    guard let tree, !tree.isNull else { return [] }
    var ports: [NetworkPolicy.PortRule] = []
    for (index, entry) in tree.elements.enumerated() {
      let place = "\(path)[\(index)]"
      guard let key = entry.object?.keys.first, let value = entry[key], entry.object?.count == 1 else {
        throw reader.unreadable(place, entry.text)
      }
      if key == "destinationNamedPort", let name = value.string, !name.isEmpty {
        // The name says the protocol, pod by pod.
        ports += TransportProtocol.allCases.map { .init(transport: $0, port: .named(name)) }
      } else if let transport = TransportProtocol.allCases.first(where: { $0.rawValue.lowercased() == key }) {
        ports.append(.init(transport: transport, port: try match(value, "\(place).\(key)", reader)))
      } else {
        throw reader.unreadable(place, entry.text)
      }
    }
    // Said, and said of nothing: not the same as unsaid.
    if ports.isEmpty { throw reader.unreadable(path, "") }
    return ports
  }

  private static func match(_ tree: JSON, _ path: String, _ reader: TreeReader) throws(UnreadableObject)
    -> NetworkPolicy.PortMatch
  {
    guard let fields = tree.object else { throw reader.unreadable(path, tree.text) }
    guard let port = tree["destinationPort"] else {
      guard fields.isEmpty else { throw reader.unreadable(path, tree.text) }
      return .any
    }
    if let range = port["range"] {
      let first = try reader.port(range["start"], "\(path).destinationPort.range.start")
      let last = try reader.port(range["end"], "\(path).destinationPort.range.end")
      guard first <= last else { throw reader.unreadable("\(path).destinationPort.range.end", "\(last)") }
      return .range(first...last)
    }
    let number = try reader.port(port["number"], "\(path).destinationPort.number")
    return .range(number...number)
  }
}

/// A name of DNS, or all names below one.
public struct DomainPattern: Sendable, Hashable, CustomStringConvertible {
  /// In lower case, without the last dot, and without `*.`.
  public var name: String
  /// One label or more stand before `name`.
  public var isWildcard: Bool

  /// `kubernetes.io`, `*.kubernetes.io.`; nil for anything else.
  public init?(_ text: String) {
    var rest = text.lowercased()[...]
    if rest.last == "." { rest.removeLast() }
    isWildcard = rest.hasPrefix("*.")
    if isWildcard { rest = rest.dropFirst(2) }
    let labels = rest.split(separator: ".", omittingEmptySubsequences: false)
    guard labels.count > 1, text.utf8.count <= 255 else { return nil }
    for label in labels {
      guard (1...63).contains(label.utf8.count), label.first != "-", label.last != "-",
        label.utf8.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) || $0 == 45 || $0 == 95 })
      else { return nil }
    }
    name = String(rest)
  }

  /// - Parameter other: in lower case, without the last dot.
  public func matches(_ other: String) -> Bool {
    isWildcard ? other.hasSuffix("." + name) && other.utf8.count > name.utf8.count + 1 : other == name
  }

  public var description: String { isWildcard ? "*.\(name)" : name }
}

extension NetworkPolicy.PortRule {
  var isNamed: Bool { if case .named = port { true } else { false } }
}

extension JSON {
  /// Whether a policy is only to say what it would deny.
  var isAuditedPolicy: Bool { annotations[NetworkPolicy.auditAnnotation] == "true" }
}

extension GroupVersionResource {
  /// Of a CustomResourceDefinition that `weft` brings along.
  public static let clusterNetworkPolicies = Self(
    "policy.networking.k8s.io", "v1beta1", "clusternetworkpolicies")
}

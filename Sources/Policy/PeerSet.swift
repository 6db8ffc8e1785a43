// The sets that rules look addresses up in: what each is a set of, and what a pod adds to it.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// Pods by selectors. Equal choices share a set.
struct PodChoice: Hashable, Sendable {
  /// The namespace when `namespaces` is nil.
  var own: String
  var namespaces: LabelSelector?
  var pods: LabelSelector?

  init(own: String, namespaces: LabelSelector?, pods: LabelSelector?) {
    self.own = namespaces == nil ? own : ""
    self.namespaces = namespaces
    self.pods = pods
  }

  /// The only namespace whose pods can be chosen; nil: any.
  var scope: String? { namespaces == nil ? own : nil }

  func chooses(_ pod: PlacedPod, in labels: [String: String]?) -> Bool {
    if let namespaces {
      guard let labels, namespaces.matches(labels) else { return false }
    } else if pod.key.namespace != own {
      return false
    }
    return pods?.matches(pod.labels) ?? true
  }

  /// The same for the same choice, however it was written.
  var identity: String {
    "\(own)|\(Self.text(namespaces))|\(Self.text(pods))"
  }

  static func text(_ selector: LabelSelector?) -> String {
    guard let selector else { return "-" }
    if selector.isNothing { return "!" }
    return selector.requirements.map { "\($0.key)/\($0.operator.rawValue)/\($0.values)" }.sorted()
      .joined(separator: "&")
  }
}

/// What a set holds.
enum SetContent: Hashable, Sendable {
  /// Addresses of a block without exceptions: an interval set of one family.
  case block(IPPrefix, except: [IPPrefix])
  /// Addresses of several blocks.
  case networks([IPPrefix])
  /// Addresses of pods.
  case pods(PodChoice)
  /// Addresses of the nodes with these labels.
  case nodes(LabelSelector)
  /// What cluster DNS has answered for a name.
  case domain(DomainPattern)
  /// Where a named port is: address, protocol and number, of the pods that a choice or a block takes in.
  case ports(of: [Receivers], TransportProtocol, String)

  enum Receivers: Hashable, Sendable {
    case everyone
    case pods(PodChoice)
    case block(IPPrefix, except: [IPPrefix])

    var identity: String {
      switch self {
      case .everyone: "all"
      case .pods(let choice): choice.identity
      case .block(let block, let except): "\(block)-\(except.map(\.description).sorted())"
      }
    }

    func take(_ pod: PlacedPod, in labels: [String: String]?) -> Bool {
      switch self {
      case .everyone: true
      case .pods(let choice): choice.chooses(pod, in: labels)
      case .block(let block, let except):
        pod.addresses.contains { address in
          block.contains(address) && !except.contains { $0.contains(address) }
        }
      }
    }
  }

  /// The same content has the same name, after a restart too.
  var name: String {
    switch self {
    case .block(let block, let except):
      "cidr-" + stableName("\(block)-\(except.map(\.description).sorted())")
    case .networks(let blocks):
      "cidr-" + stableName(blocks.map(\.description).sorted().joined(separator: ","))
    case .pods(let choice): "sel-" + stableName(choice.identity)
    case .nodes(let selector): "node-" + stableName(PodChoice.text(selector))
    case .domain(let pattern): "name-" + stableName(pattern.description)
    case .ports(let receivers, let transport, let name):
      "named-"
        + stableName(
          "\(receivers.map(\.identity).joined(separator: ";")):\(transport.rawValue):\(name)")
    }
  }

  /// The only namespace whose pods can stand in it; nil: any.
  var scope: String? {
    switch self {
    case .block, .networks, .nodes, .domain: nil
    case .pods(let choice): choice.scope
    case .ports(let receivers, _, _):
      if receivers.count == 1, case .pods(let choice) = receivers[0] { choice.scope } else { nil }
    }
  }

  /// What a node puts in, when these are its labels and addresses.
  func elements(of node: Node, _ family: IPFamily) -> [Datum] {
    guard case .nodes(let selector) = self, selector.matches(node.labels) else { return [] }
    return node.addresses.filter { $0.family == family }.map { .address($0) }
  }

  /// What the answer for a name puts in.
  func elements(of name: String, _ addresses: Set<IPAddress>, _ family: IPFamily) -> [Datum] {
    guard case .domain(let pattern) = self, pattern.matches(name) else { return [] }
    return addresses.filter { $0.family == family }.sorted().map { .address($0) }
  }

  /// What a pod in a namespace with `labels` puts into the set of a family.
  func elements(of pod: PlacedPod, in labels: [String: String]?, _ family: IPFamily) -> [Datum] {
    switch self {
    case .block, .networks, .nodes, .domain: return []
    case .pods(let choice):
      guard choice.chooses(pod, in: labels) else { return [] }
      return pod.addresses.compactMap { $0.family == family ? .address($0) : nil }
    case .ports(let receivers, let transport, let name):
      guard pod.ports.contains(where: { $0.name == name && $0.transport == transport }),
        receivers.contains(where: { $0.take(pod, in: labels) })
      else { return [] }
      let numbers = Set(pod.ports.filter { $0.name == name && $0.transport == transport }.map(\.port))
      return pod.addresses.filter { $0.family == family }.flatMap { own in
        numbers.map { Datum(.address(own), .transport(transport), .port($0)) }
      }
    }
  }

  /// The set of a family, without what pods put in; nil: the family has none.
  func declaration(_ family: TableFamily.Addressed) -> NamedSet? {
    switch self {
    case .block(let block, let except):
      guard block.family == family.addresses else { return nil }
      var set = NamedSet(name, key: [family.addressType], isInterval: true)
      for range in addressRanges([block], except: except.filter { $0.family == family.addresses }) {
        set.insert(.address(range.lowerBound), through: .address(range.upperBound))
      }
      return set
    case .networks(let blocks):
      let own = blocks.filter { $0.family == family.addresses }
      if own.isEmpty { return nil }
      var set = NamedSet(name, key: [family.addressType], isInterval: true)
      for range in addressRanges(own, except: []) {
        set.insert(.address(range.lowerBound), through: .address(range.upperBound))
      }
      return set
    case .pods, .nodes, .domain: return NamedSet(name, key: [family.addressType])
    case .ports: return NamedSet(name, key: [family.addressType, .transport, .port])
    }
  }
}

/// FNV-1a over 64 bits, as sixteen digits: equal content gives equal names across restarts.
func stableName(_ content: String) -> String {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for byte in content.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
  let digits = String(hash, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}

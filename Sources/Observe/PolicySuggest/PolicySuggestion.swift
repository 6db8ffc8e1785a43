// Policies out of flows: what was seen is allowed, the rest is not. Pure.
//
//   flows -> by workload (stable labels) and direction: peer x port, with counts -> rules of equal ports together -> NetworkPolicy
//         -> the evaluator: is every observed flow allowed by all of them together?

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Policy

/// What was made of a set of flows.
public struct PolicySuggestion: Sendable {
  public private(set) var policies: [SuggestedPolicy] = []
  /// Observed connections that the policies were made from and are held against.
  public private(set) var connections = 0
  /// Those of them that the policies together would refuse, a line each. None, or something is wrong with the proposal.
  public private(set) var refused: [String] = []
  /// What no NetworkPolicy can say, or what was left out, a line each.
  public private(set) var leftOut: [String] = []

  /// More addresses than this on one side of one port are proposed as everyone.
  public static let addressesMax = 8
  /// Reasons that are written to a rule; the rest is counted.
  static let reasonsMax = 6

  fileprivate struct Workload: Hashable {
    var namespace: String
    var labels: [String: String]
  }

  fileprivate struct Seen: Hashable {
    var peer: SuggestedPolicy.Peer
    var port: SuggestedPolicy.Port
  }

  fileprivate struct Evidence {
    var count = 0
    var names: Set<String> = []
    var last: UInt64 = 0
  }

  fileprivate struct Sides {
    var ingress: [Seen: Evidence] = [:]
    var egress: [Seen: Evidence] = [:]
  }

  /// - Parameters:
  ///   - flows: refused ones count for nothing: what is refused today is not proposed.
  ///   - namespace: only for pods of this one; nil: for all.
  public init(_ flows: some Sequence<Flow>, namespace: String? = nil) {
    var workloads: [Workload: Sides] = [:]
    var observed: [Flow] = []
    var unspeakable: [String: Int] = [:]
    for flow in flows where flow.verdict != .denied {
      guard flow.source.pod != nil || flow.destination.pod != nil, flow.source.pod != flow.destination.pod
      else { continue }
      guard let transport = TransportProtocol(number: flow.transport) else {
        unspeakable[flow.transportName, default: 0] += 1
        continue
      }
      let port = SuggestedPolicy.Port(transport: transport, port: flow.destination.endpoint.port)
      var concerns = false
      // The node may always speak to its own pods: no policy needs to say so.
      let isOwnNode = flow.source.pod == nil && flow.source.node != nil && flow.source.node == flow.node
      if let pod = flow.destination.pod, namespace ?? pod.namespace == pod.namespace, !isOwnNode {
        concerns = true
        let workload = Workload(
          namespace: pod.namespace, labels: StableLabels.choose(flow.destination.labels))
        let seen = Seen(peer: Self.peer(flow.source), port: port)
        workloads[workload, default: Sides()].ingress[seen, default: Evidence()].take(flow, flow.source)
      }
      if let pod = flow.source.pod, namespace ?? pod.namespace == pod.namespace {
        concerns = true
        let workload = Workload(namespace: pod.namespace, labels: StableLabels.choose(flow.source.labels))
        let seen = Seen(peer: Self.peer(flow.destination), port: port)
        workloads[workload, default: Sides()].egress[seen, default: Evidence()].take(flow, flow.destination)
      }
      if concerns { observed.append(flow) }
    }
    connections = observed.count
    for (name, count) in unspeakable.sorted(by: { $0.key < $1.key }) {
      leftOut.append("\(count) flows of \(name): a NetworkPolicy has no word for it")
    }
    var taken: Set<ObjectKey> = []
    for (workload, sides) in workloads.sorted(by: Self.isBefore) {
      policies.append(
        SuggestedPolicy(
          key: Self.name(workload.namespace, workload.labels, &taken), labels: workload.labels,
          ingress: Self.rules(sides.ingress, isEgress: false),
          egress: Self.rules(sides.egress, isEgress: true) + [Self.nameResolution]))
    }
    hold(observed)
  }

  /// Every name is looked up before it is spoken to; answers of the node's own DNS pass no policy and are in no flow.
  private static let nameResolution = SuggestedPolicy.Rule(
    peers: [.anyone],
    ports: [
      SuggestedPolicy.Port(transport: .udp, port: 53), SuggestedPolicy.Port(transport: .tcp, port: 53),
    ],
    reasons: ["looking up names: always proposed, for it may not be observed"])

  private static func isBefore(_ a: (key: Workload, value: Sides), _ b: (key: Workload, value: Sides)) -> Bool
  {
    let one = (a.key.namespace, StableLabels.name(a.key.labels), "\(a.key.labels.sorted { $0.key < $1.key })")
    return one < (
      b.key.namespace, StableLabels.name(b.key.labels), "\(b.key.labels.sorted { $0.key < $1.key })"
    )
  }

  private static func peer(_ end: Flow.End) -> SuggestedPolicy.Peer {
    if let pod = end.pod {
      return .pods(namespace: pod.namespace, labels: StableLabels.choose(end.labels))
    }
    let address = end.endpoint.address
    return IPPrefix(address, length: address.family.width).map { .block($0) } ?? .anyone
  }

  /// Peers that use the same ports share a rule.
  private static func rules(_ seen: [Seen: Evidence], isEgress: Bool) -> [SuggestedPolicy.Rule] {
    var addresses: [SuggestedPolicy.Port: Set<SuggestedPolicy.Peer>] = [:]
    for key in seen.keys { if case .block = key.peer { addresses[key.port, default: []].insert(key.peer) } }
    var evidence: [SuggestedPolicy.Peer: [SuggestedPolicy.Port: Evidence]] = [:]
    for (key, found) in seen {
      var peer = key.peer
      if case .block = peer, addresses[key.port, default: []].count > addressesMax { peer = .anyone }
      evidence[peer, default: [:]][key.port, default: Evidence()].join(found)
    }
    var byPorts: [[SuggestedPolicy.Port]: [SuggestedPolicy.Peer]] = [:]
    for (peer, ports) in evidence { byPorts[ports.keys.sorted(), default: []].append(peer) }
    var rules: [SuggestedPolicy.Rule] = []
    for (ports, peers) in byPorts.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
      // Everyone stands alone: beside others in one rule it would swallow them.
      for group in [peers.filter { $0 != .anyone }.sorted(), peers.filter { $0 == .anyone }]
      where !group.isEmpty {
        var reasons: [String] = []
        for peer in group {
          for (port, found) in (evidence[peer] ?? [:]).sorted(by: { $0.key < $1.key }) {
            reasons.append(found.text(port, isEgress: isEgress, peer == .anyone))
          }
        }
        if reasons.count > reasonsMax {
          reasons = reasons.prefix(reasonsMax) + ["and \(reasons.count - reasonsMax) more"]
        }
        rules.append(SuggestedPolicy.Rule(peers: group, ports: ports, reasons: reasons))
      }
    }
    return rules
  }

  private static func name(
    _ namespace: String, _ labels: [String: String], _ taken: inout Set<ObjectKey>
  ) -> ObjectKey {
    let wanted = StableLabels.name(labels).lowercased().map { letter in
      letter.isASCII && (letter.isLetter || letter.isNumber) ? letter : "-"
    }
    var base = String(String(wanted).prefix(50))
    while base.hasPrefix("-") { base.removeFirst() }
    while base.hasSuffix("-") { base.removeLast() }
    if base.isEmpty { base = "all-pods" }
    var key = ObjectKey(namespace, base)
    var number = 2
    while !taken.insert(key).inserted {
      key.name = "\(base)-\(number)"
      number += 1
    }
    return key
  }

  /// The evaluator's word on every observed flow, under these policies and no others.
  private mutating func hold(_ flows: [Flow]) {
    var view = ClusterView()
    var namespaces: Set<String> = []
    for policy in policies { view.apply(policy.json) }
    for unreadable in view.quarantined.values {
      refused.append("proposed policy \(unreadable.key): \(unreadable)")
    }
    for end in flows.flatMap({ [$0.source, $0.destination] }) {
      guard let pod = end.pod else { continue }
      namespaces.insert(pod.namespace)
      view.apply([
        "kind": "Pod",
        "metadata": [
          "name": JSON(pod.name), "namespace": JSON(pod.namespace), "labels": JSON(end.labels),
        ],
        "status": ["podIP": JSON(end.endpoint.address.description)],
      ])
    }
    for name in namespaces {
      view.apply([
        "kind": "Namespace",
        "metadata": ["name": JSON(name), "labels": ["kubernetes.io/metadata.name": JSON(name)]],
      ])
    }
    var lines: Set<String> = []
    for flow in flows {
      guard let transport = TransportProtocol(number: flow.transport) else { continue }
      if flow.source.pod == nil, flow.source.node != nil, flow.source.node == flow.node { continue }
      let decision = decidePolicy(
        view: view, from: PolicyParty(address: flow.source.endpoint.address, pod: flow.source.pod),
        to: PolicyParty(address: flow.destination.endpoint.address, pod: flow.destination.pod),
        port: flow.destination.endpoint.port, transport: transport)
      if !decision.isAllowed {
        lines.insert(
          "\(flow.source.name) → \(flow.destination.name):\(flow.destination.endpoint.port)/\(transport.rawValue)"
        )
      }
    }
    refused += lines.sorted()
  }
}

extension PolicySuggestion.Evidence {
  fileprivate mutating func take(_ flow: Flow, _ end: Flow.End) {
    // An ended connection was new before.
    if flow.event != .end || count == 0 { count += 1 }
    if names.count <= PolicySuggestion.addressesMax { names.insert(end.name) }
    last = max(last, flow.time)
  }

  fileprivate mutating func join(_ other: Self) {
    count += other.count
    for name in other.names where names.count <= PolicySuggestion.addressesMax { names.insert(name) }
    last = max(last, other.last)
  }

  fileprivate func text(_ port: SuggestedPolicy.Port, isEgress: Bool, _ isMany: Bool) -> String {
    let shown = names.sorted().prefix(3).joined(separator: ", ")
    let more = isMany ? " and many others" : names.count > 3 ? " and others" : ""
    let time = Timestamp.text(seconds: Int64(clamping: last / 1_000_000_000))
    return
      "\(isEgress ? "to" : "from") \(shown)\(more) at \(port.port)/\(port.transport.rawValue): "
      + "\(count) \(count == 1 ? "connection" : "connections"), last \(time)"
  }
}

extension Flow.End {
  /// The pod, the node, or the address.
  var name: String { pod?.description ?? node.map { "node/\($0)" } ?? endpoint.address.description }
}

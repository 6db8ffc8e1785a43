// One family's KUBE-POLICY table, built from the model: base chains, the map of pods to profiles, the profiles' chains and
// the sets they look addresses up in.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

struct PolicyTable {
  let model: PolicyModel
  let family: TableFamily.Addressed

  private var sets: [String: NamedSet] = [:]
  private var chains: [String: Chain] = [:]

  init(model: PolicyModel, family: TableFamily.Addressed) {
    self.model = model
    self.family = family
  }

  private var address: DataType { family.addressType }

  consuming func table() -> Table {
    var ingress = NamedSet("pod-in", key: [address], data: .verdict)
    var egress = NamedSet("pod-eg", key: [address], data: .verdict)
    var pods = NamedSet("pods", key: [address])
    var itself = NamedSet("self", key: [address, address])
    var isolated = NamedSet("isolated-in", key: [address])
    var isolatedOut = NamedSet("isolated-eg", key: [address])
    for pod in model.localPods {
      let inbound = profile(.ingress, for: pod)
      let outbound = profile(.egress, for: pod)
      for own in pod.addresses where own.family == family.addresses {
        let datum = Datum.address(own)
        pods.insert(datum, comment: pod.key.description)
        itself.insert(Datum(datum, datum))
        if let inbound {
          ingress.insert(datum, .jump(inbound), comment: pod.key.description)
          isolated.insert(datum)
        }
        if let outbound {
          egress.insert(datum, .jump(outbound), comment: pod.key.description)
          isolatedOut.insert(datum)
        }
      }
    }
    let known = [egress, ingress, pods, podNet(), itself, isolated, isolatedOut]
    return Table(
      family.table, PolicyNames.table, sets: known + sets.values.sorted { $0.name < $1.name },
      counters: ["denied-in", "denied-eg", "quarantined"],
      chains: baseChains() + chains.values.sorted { $0.name < $1.name } + verdictChains())
  }

  /// The node's pod addresses, without the node's own.
  private func podNet() -> NamedSet {
    var set = NamedSet("pod-net", key: [address], isInterval: true)
    let blocks = model.settings.podBlocks.filter { $0.family == family.addresses }
    let own = model.settings.gateways.filter { $0.family == family.addresses }
      .compactMap { IPPrefix($0, length: $0.family.width) }
    for range in addressRanges(blocks, except: own) {
      set.insert(.address(range.lowerBound), through: .address(range.upperBound))
    }
    return set
  }

  private func baseChains() -> [Chain] {
    let source = Expression.source(family)
    let destination = Expression.destination(family)
    let unknownSource: [Statement] = [
      .lookup(source, set: "pod-net", negated: false), .lookup(source, set: "pods", negated: true),
      .goto(PolicyNames.quarantine),
    ]
    let unknownDestination: [Statement] = [
      .lookup(destination, set: "pod-net", negated: false), .lookup(destination, set: "pods", negated: true),
      .goto(PolicyNames.quarantine),
    ]
    let forward = Chain(
      "KUBE-FORWARD", BaseChain(.filter, .forward, priority: 0),
      rules: [
        Rule(.ctState([.established, .related]), .accept),
        Rule(.ctState(.invalid), .drop),
        // A flow whose entry was deleted must not be picked up in the middle: the server's next segment would
        // make it new again from the allowed side.
        Rule(
          .transport(TransportProtocol.tcp.number), .ctState(.new),
          .match(
            .masked(.tcpFlags, .byte(TCPFlag.fin | TCPFlag.syn | TCPFlag.rst | TCPFlag.ack)), .notEqual,
            .byte(TCPFlag.syn)), .drop),
        Rule(.lookup(.concatenation([source, destination]), set: "self", negated: false), .accept),
        Rule(unknownSource), Rule(unknownDestination),
        // A profile's chain decides, and nothing comes back from it; but look-ups see a new transaction before chains do. A packet
        // that is on its way through these rules at that very moment finds the new pod, and its new chain still empty.
        Rule(.vmap(source, map: "pod-eg")),
        Rule(.lookup(source, set: "isolated-eg", negated: false), .goto(PolicyNames.denyEgress)),
        Rule(.goto(PolicyNames.receiver)),
      ])
    // Ends with a verdict: whoever comes from a sender's chain would go back to where that was called. A pod that left while the
    // packet was on its way had its policies at the first look and has none at the next: it is looked for once more.
    let receiver = Chain(
      PolicyNames.receiver,
      rules: [
        Rule(.vmap(destination, map: "pod-in")),
        Rule(.lookup(destination, set: "isolated-in", negated: false), .goto(PolicyNames.denyIngress)),
        Rule(unknownSource), Rule(unknownDestination), Rule(.accept),
      ])
    // The node may always speak to its pods, but not to addresses that no committed pod has.
    let output = Chain(
      "KUBE-OUTPUT", BaseChain(.filter, .output, priority: 0),
      rules: [Rule([.ctState(.new)] + unknownDestination)])
    // Stateless: untracked packets, such as those to node-local DNS, are caught too.
    let input = Chain("KUBE-INPUT", BaseChain(.filter, .input, priority: 0), rules: [Rule(unknownSource)])
    return [forward, receiver, output, input]
  }

  private func verdictChains() -> [Chain] {
    [
      Chain(PolicyNames.denyIngress, rules: [Rule(.counterNamed("denied-in"), .drop)]),
      Chain(PolicyNames.denyEgress, rules: [Rule(.counterNamed("denied-eg"), .drop)]),
      Chain(PolicyNames.quarantine, rules: [Rule(.counterNamed("quarantined"), .drop)]),
    ]
  }

  // MARK: - Profiles

  /// The chain of a pod's set of policies, made when it is the first of its kind. Nil when nothing isolates the pod.
  private mutating func profile(_ direction: NetworkPolicy.Direction, for pod: PolicyModel.PlacedPod)
    -> String?
  {
    let policies = model.policies(for: pod.key, labels: pod.labels, direction)
    if policies.isEmpty { return nil }
    let prefix = direction == .ingress ? "KUBE-IN-" : "KUBE-EG-"
    let name = prefix + stableName(policies.map(\.key.description).joined(separator: ","))
    if chains[name] == nil {
      var rules: [Rule] = []
      for policy in policies {
        for (index, rule) in policy.rules(direction).enumerated() {
          rules += compile(rule, of: policy, direction, comment: "\(policy.key)#\(index)")
        }
      }
      let deny = direction == .ingress ? PolicyNames.denyIngress : PolicyNames.denyEgress
      rules.append(Rule(.goto(deny), comment: policies.map(\.key.description).joined(separator: " ")))
      chains[name] = Chain(name, rules: rules)
    }
    return name
  }

  /// Every pairing of a rule's peers and ports.
  private mutating func compile(
    _ rule: NetworkPolicy.Rule, of policy: NetworkPolicy, _ direction: NetworkPolicy.Direction,
    comment: String
  ) -> [Rule] {
    var peers: [[Statement]] = []
    for peer in rule.peers {
      if let match = match(peer, of: policy, direction) { peers.append(match) }
    }
    if rule.peers.isEmpty { peers = [[]] }
    var ports: [[Statement]] = []
    for port in rule.ports { ports.append(match(port, of: policy, rule, direction)) }
    if rule.ports.isEmpty { ports = [[]] }
    // Ingress has the last word; egress hands on to the receiver's ingress look-up.
    let verdict: Statement = direction == .ingress ? .accept : .goto(PolicyNames.receiver)
    return peers.flatMap { peer in ports.map { Rule(peer + $0 + [.counter, verdict], comment: comment) } }
  }

  private mutating func match(
    _ peer: NetworkPolicy.Peer, of policy: NetworkPolicy, _ direction: NetworkPolicy.Direction
  ) -> [Statement]? {
    let far = direction == .ingress ? Expression.source(family) : .destination(family)
    switch peer {
    case .block(let block, let except):
      guard block.family == family.addresses else { return nil }
      let name = "cidr-" + stableName("\(block)-\(except.map(\.description).sorted())")
      if sets[name] == nil {
        var set = NamedSet(name, key: [address], isInterval: true)
        for range in addressRanges([block], except: except.filter { $0.family == family.addresses }) {
          set.insert(.address(range.lowerBound), through: .address(range.upperBound))
        }
        sets[name] = set
      }
      return [.lookup(far, set: name, negated: false)]
    case .pods(let namespaces, let selector):
      let name = "sel-" + selectorName(namespaces, selector, own: policy.key.namespace)
      if sets[name] == nil {
        var set = NamedSet(name, key: [address])
        for pod in model.pods(namespaces: namespaces, pods: selector, own: policy.key.namespace) {
          for own in pod.addresses where own.family == family.addresses { set.insert(.address(own)) }
        }
        sets[name] = set
      }
      return [.lookup(far, set: name, negated: false)]
    }
  }

  private mutating func match(
    _ port: NetworkPolicy.PortRule, of policy: NetworkPolicy, _ rule: NetworkPolicy.Rule,
    _ direction: NetworkPolicy.Direction
  ) -> [Statement] {
    let transport = Statement.transport(port.transport.number)
    switch port.port {
    case .any: return [transport]
    case .range(let range) where range.count == 1:
      return [transport, .match(.destinationPort, .equal, .port(range.lowerBound))]
    case .range(let range):
      return [
        transport,
        .matchRange(.destinationPort, first: .port(range.lowerBound), last: .port(range.upperBound)),
      ]
    case .named(let wanted):
      // A name means whatever number the receiving pod gives it.
      let receivers: [PolicyModel.PlacedPod] =
        direction == .ingress
        ? model.placed.filter {
          $0.key.namespace == policy.key.namespace && policy.podSelector.matches($0.labels)
        }
        : namedReceivers(rule, own: policy.key.namespace)
      let scope = direction == .ingress ? "in:\(policy.key)" : "eg:\(policy.key):\(rule.peers)"
      let name = "named-" + stableName("\(scope):\(port.transport.rawValue):\(wanted)")
      if sets[name] == nil {
        var set = NamedSet(name, key: [address, .transport, .port])
        for pod in receivers {
          for own in pod.addresses where own.family == family.addresses {
            for candidate in pod.ports where candidate.name == wanted && candidate.transport == port.transport
            {
              set.insert(Datum(.address(own), .transport(port.transport), .port(candidate.port)))
            }
          }
        }
        sets[name] = set
      }
      let key = Expression.concatenation([.destination(family), .metaTransport, .destinationPort])
      return [transport, .lookup(key, set: name, negated: false)]
    }
  }

  private func namedReceivers(_ rule: NetworkPolicy.Rule, own: String) -> [PolicyModel.PlacedPod] {
    if rule.peers.isEmpty { return model.placed }
    return model.placed.filter { pod in
      rule.peers.contains { peer in
        switch peer {
        case .block(let block, let except):
          pod.addresses.contains { address in
            block.contains(address) && !except.contains { $0.contains(address) }
          }
        case .pods(let namespaces, let selector):
          model.matches(pod.key, pod.labels, namespaces: namespaces, pods: selector, own: own)
        }
      }
    }
  }

  private func selectorName(_ namespaces: LabelSelector?, _ pods: LabelSelector?, own: String) -> String {
    func text(_ selector: LabelSelector?) -> String {
      guard let selector else { return "-" }
      return selector.requirements.map { "\($0.key)/\($0.operator.rawValue)/\($0.values.sorted())" }.sorted()
        .joined(separator: "&")
    }
    return stableName("\(namespaces == nil ? own : "")|\(text(namespaces))|\(text(pods))")
  }
}

/// FNV-1a over 64 bits, as sixteen digits: equal content gives equal names across restarts.
func stableName(_ content: String) -> String {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for byte in content.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
  let digits = String(hash, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}

// The second half of a change: pods get their profiles, profiles their chains, addresses their elements.

import Addresses
import ClusterObjects
import ClusterView
import Ruleset

/// What a change set leaves to be settled once all objects are in.
struct Dirty: Sendable {
  /// Local pods whose policies may be others now, or that are gone.
  var pods: Set<ObjectKey> = []
  var addresses: Set<IPAddress> = []
  var policies: Set<ObjectKey> = []
}

extension PolicyPlanner {
  mutating func settle(_ dirty: Dirty, _ delta: inout PolicyDelta) {
    var addresses = dirty.addresses
    var released: [String] = []
    // First those that come, then those that go: what both share stays.
    for key in dirty.pods {
      let before = profiles.ofPod[key] ?? .init()
      let entry = sources.placement.placed[key].flatMap { $0.isLocal ? $0 : nil }
      let after = entry.map { profile(of: $0, &delta) } ?? .init()
      if before == after { continue }
      profiles.ofPod[key] = after == .init() ? nil : after
      for name in after.names { profiles.users[name, default: 0] += 1 }
      released += before.names
      addresses.formUnion(entry?.addresses ?? [])
    }
    for name in released { release(name, &delta) }
    for policy in dirty.policies { recompile(policy, &delta) }
    for address in addresses { write(address, &delta) }
  }

  /// Which profiles a pod belongs to. Those that were not there are made.
  private mutating func profile(of pod: PlacedPod, _ delta: inout PolicyDelta) -> ProfileBook.OfPod {
    var result = ProfileBook.OfPod()
    let selecting = (policiesByNamespace[pod.key.namespace] ?? []).compactMap { policies[$0] }
      .filter { $0.podSelector.matches(pod.labels) }
    let around = clusterPolicies(concerning: pod.key.namespace)
      .filter { $0.subjectPods?.matches(pod.labels) ?? true }
    for direction in NetworkPolicy.Direction.allCases {
      let chosen = selecting.filter { $0.directions.contains(direction) }
      let ruling = around.filter { !$0.rules(direction).isEmpty }
      let isIsolated = chosen.contains { !$0.isAudit }
      var profile = Profile(
        direction: direction, admin: ruling.filter { $0.tier == .admin }.map(\.key),
        policies: chosen.map(\.key).sorted(),
        baseline: isIsolated ? [] : ruling.filter { $0.tier == .baseline }.map(\.key))
      let name = make(profile, &delta)
      if direction == .ingress {
        result.ingress = name
      } else {
        result.egress = name
        // A node's own pods always reach it as far as NetworkPolicies are asked.
        profile.policies = []
        result.toNode = make(profile, &delta)
      }
    }
    return result
  }

  /// In their order.
  private mutating func clusterPolicies(concerning namespace: String) -> [ClusterNetworkPolicy] {
    if clusterPolicies.isEmpty { return [] }
    if let known = concerning[namespace] { return known }
    let found = clusterPolicies.values.filter { $0.concerns(namespace: sources.labels[namespace]) }
      .sorted { ($0.priority, $0.name) < ($1.priority, $1.name) }
    concerning[namespace] = found
    return found
  }

  /// The name of a profile, which is there afterwards; nil: nothing is said.
  private mutating func make(_ profile: Profile, _ delta: inout PolicyDelta) -> String? {
    if profile.isEmpty { return nil }
    let name = profile.name
    if profiles.byName[name] != nil { return name }
    profiles.byName[name] = profile
    for policy in profile.all {
      let use = PolicyUse(policy: policy, direction: profile.direction)
      profiles.using[use, default: []].insert(name)
      if profiles.compiled[use] == nil { compile(use, &delta) }
    }
    if let rest = profile.afterAdmin, let name = make(rest, &delta) { profiles.users[name, default: 0] += 1 }
    writeChain(name, &delta)
    return name
  }

  private mutating func compile(_ use: PolicyUse, _ delta: inout PolicyDelta) {
    let compiled: CompiledPolicy
    if let policy = policies[use.policy] {
      compiled = CompiledPolicy(policy, use.direction)
    } else if let policy = clusterPolicies[use.policy.name], use.policy.namespace.isEmpty {
      compiled = CompiledPolicy(policy, use.direction)
    } else {
      return
    }
    for set in compiled.sets { registry.retain(set, sources, &delta) }
    profiles.compiled[use] = compiled
  }

  /// A policy that changed and is still in use.
  private mutating func recompile(_ key: ObjectKey, _ delta: inout PolicyDelta) {
    guard policies[key] != nil || key.namespace.isEmpty && clusterPolicies[key.name] != nil else { return }
    for direction in NetworkPolicy.Direction.allCases {
      let use = PolicyUse(policy: key, direction: direction)
      guard let before = profiles.compiled[use] else { continue }
      compile(use, &delta)
      for set in before.sets { registry.release(set, &delta) }
      for name in profiles.using[use] ?? [] { writeChain(name, &delta) }
    }
  }

  private mutating func release(_ name: String, _ delta: inout PolicyDelta) {
    profiles.users[name, default: 1] -= 1
    guard profiles.users[name] == 0, let profile = profiles.byName[name] else { return }
    profiles.users[name] = nil
    profiles.byName[name] = nil
    for family in TableFamily.Addressed.allCases { delta.change(family) { $0.setChain(name, nil) } }
    if let rest = profile.afterAdmin { release(rest.name, &delta) }
    for policy in profile.all {
      let use = PolicyUse(policy: policy, direction: profile.direction)
      profiles.using[use]?.remove(name)
      guard profiles.using[use]?.isEmpty == true else { continue }
      profiles.using[use] = nil
      for set in profiles.compiled.removeValue(forKey: use)?.sets ?? [] { registry.release(set, &delta) }
    }
  }

  private func writeChain(_ name: String, _ delta: inout PolicyDelta) {
    for family in TableFamily.Addressed.allCases {
      delta.change(family) { $0.setChain(name, profiles.chain(name, family)) }
    }
  }

  // MARK: - Elements of local pods

  /// What stands under a local address: by set, nil where nothing does.
  private func elements(of address: IPAddress) -> [(set: String, key: Datum, element: Element?)] {
    let datum = Datum.address(address)
    let keys = owners[address] ?? []
    // Two may claim an address for a moment. Whoever is isolated wins, then the last by name.
    let inbound = keys.last { profiles.ofPod[$0]?.ingress != nil }
    let outbound = keys.last { profiles.ofPod[$0]?.egress != nil }
    let toNode = keys.last { profiles.ofPod[$0]?.toNode != nil }
    func jump(_ key: ObjectKey?, _ path: KeyPath<ProfileBook.OfPod, String?>) -> Element? {
      guard let key, let name = profiles.ofPod[key]?[keyPath: path] else { return nil }
      return Element(.verdict(.jump(name)), comment: key.description)
    }
    return [
      ("pods", datum, keys.last.map { Element(.present, comment: $0.description) }),
      ("self", Datum(datum, datum), keys.isEmpty ? nil : Element(.present)),
      ("pod-in", datum, jump(inbound, \.ingress)),
      ("pod-eg", datum, jump(outbound, \.egress)),
      ("isolated-in", datum, inbound == nil ? nil : Element(.present)),
      ("isolated-eg", datum, outbound == nil ? nil : Element(.present)),
      ("pod-node", datum, jump(toNode, \.toNode)),
      ("isolated-node", datum, toNode == nil ? nil : Element(.present)),
    ]
  }

  private func write(_ address: IPAddress, _ delta: inout PolicyDelta) {
    let family: TableFamily.Addressed = address.family == .v4 ? .ip : .ip6
    delta.change(family) { table in
      for (set, key, element) in elements(of: address) { table.setElement(set, key, element) }
    }
  }

  /// A family's table, whole.
  func table(_ family: TableFamily.Addressed) -> Table {
    let address = family.addressType
    var sets = [
      NamedSet("pod-eg", key: [address], data: .verdict), NamedSet("pod-in", key: [address], data: .verdict),
      NamedSet("pods", key: [address]), PolicyChains.podNet(settings, family),
      NamedSet("self", key: [address, address]), NamedSet("isolated-in", key: [address]),
      NamedSet("isolated-eg", key: [address]),
      NamedSet("pod-node", key: [address], data: .verdict), NamedSet("isolated-node", key: [address]),
      NamedSet(
        PolicyNames.ownNode, key: [address],
        values: ownAddresses.filter { $0.family == family.addresses }.map { .address($0) }),
    ]
    let places = Dictionary(uniqueKeysWithValues: sets.indices.map { (sets[$0].name, $0) })
    for own in owners.keys where own.family == family.addresses {
      for (set, key, element) in elements(of: own) {
        if let element, let at = places[set] { sets[at].elements[key] = element }
      }
    }
    return Table(
      family.table, PolicyNames.table, sets: sets + registry.sets(family),
      counters: PolicyChains.counters,
      chains: PolicyChains.base(family)
        + profiles.byName.keys.sorted().compactMap { profiles.chain($0, family) }
        + PolicyChains.verdicts(settings.logging))
  }
}

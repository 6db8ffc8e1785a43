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
      let entry = placement.placed[key].flatMap { $0.isLocal ? $0 : nil }
      let after = entry.map { profile(of: $0, &delta) } ?? .init()
      if before == after { continue }
      profiles.ofPod[key] = after == .init() ? nil : after
      for name in [after.ingress, after.egress].compactMap({ $0 }) { profiles.users[name, default: 0] += 1 }
      released += [before.ingress, before.egress].compactMap { $0 }
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
    for direction in NetworkPolicy.Direction.allCases {
      let chosen = selecting.filter { $0.directions.contains(direction) }.map(\.key).sorted()
      if chosen.isEmpty { continue }
      let profile = Profile(direction: direction, policies: chosen)
      let name = profile.name
      if profiles.byName[name] == nil { make(profile, name, &delta) }
      if direction == .ingress { result.ingress = name } else { result.egress = name }
    }
    return result
  }

  private mutating func make(_ profile: Profile, _ name: String, _ delta: inout PolicyDelta) {
    profiles.byName[name] = profile
    for policy in profile.policies {
      let use = PolicyUse(policy: policy, direction: profile.direction)
      profiles.using[use, default: []].insert(name)
      if profiles.compiled[use] == nil, let policy = policies[policy] { compile(policy, use, &delta) }
    }
    writeChain(name, &delta)
  }

  private mutating func compile(_ policy: NetworkPolicy, _ use: PolicyUse, _ delta: inout PolicyDelta) {
    let compiled = CompiledPolicy(policy, use.direction)
    for set in compiled.sets { registry.retain(set, placement, labels, &delta) }
    profiles.compiled[use] = compiled
  }

  /// A policy that changed and is still in use.
  private mutating func recompile(_ key: ObjectKey, _ delta: inout PolicyDelta) {
    guard let policy = policies[key] else { return }
    for direction in NetworkPolicy.Direction.allCases {
      let use = PolicyUse(policy: key, direction: direction)
      guard let before = profiles.compiled[use] else { continue }
      compile(policy, use, &delta)
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
    for policy in profile.policies {
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
    ]
    let places = Dictionary(uniqueKeysWithValues: sets.indices.map { (sets[$0].name, $0) })
    for own in owners.keys where own.family == family.addresses {
      for (set, key, element) in elements(of: own) {
        if let element, let at = places[set] { sets[at].elements[key] = element }
      }
    }
    return Table(
      family.table, PolicyNames.table, sets: sets + registry.sets(family),
      counters: ["denied-in", "denied-eg", "quarantined"],
      chains: PolicyChains.base(family)
        + profiles.byName.keys.sorted().compactMap { profiles.chain($0, family) }
        + PolicyChains.verdicts(settings.logging))
  }
}

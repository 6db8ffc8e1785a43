// One Service, namespace or pod of a plan: what it takes out of the zone and puts in.

import Addresses
import ClusterObjects
import ClusterView

extension ZonePlanner {
  mutating func take(_ key: ObjectKey, _ state: ServiceState?, _ step: inout Step) {
    let old = planned[key]
    guard let state else {
      guard let old else { return }
      retire(old.groups, &step)
      if old.isServed { count(key.namespace, -1, &step) }
      planned[key] = nil
      noteNameServer(key, nil)
      return
    }
    var new = PlannedService(isServed: isServed(state.service), groups: [])
    if settings.namespaceSelector != nil { new.state = state }
    new.trigger = note(state, since: old?.trigger)
    let plans = new.isServed ? plan(state) : []
    let blocks = plans.map { $0.names.build(seed: seed) }
    noteNameServer(key, plans.isEmpty ? nil : state)
    // The same octets: nothing that can be asked has changed.
    if let old, old.isServed == new.isServed, old.groups.elementsEqual(blocks, by: { $0.holdsSame(as: $1) }) {
      new.groups = old.groups
      planned[key] = new
      return
    }
    if let old { retire(old.groups, &step) }
    if old?.isServed != new.isServed { count(key.namespace, new.isServed ? 1 : old == nil ? 0 : -1, &step) }
    new.groups = blocks
    for (group, plan) in zip(blocks, plans) { add(group, plan.pointers, &step) }
    planned[key] = new
  }

  /// The names of a Service, one block a zone.
  private mutating func plan(_ state: ServiceState) -> [(names: ZoneGroupBuilder, pointers: [PlannedPointer])]
  {
    work.services += 1
    let slices =
      state.slices.count < 2
      ? Array(state.slices.values) : state.slices.sorted { $0.key < $1.key }.map(\.value)
    let plans = planService(state.service, slices, settings).map { [$0] } ?? []
    return settings.external == nil ? plans : plans + planExternal(state.service, slices, settings)
  }

  /// One block of names and the PTR records that point into it.
  func build(_ names: ZoneGroupBuilder, _ pointers: [PlannedPointer], _ step: inout Step) -> ZoneGroup {
    let group = names.build(seed: seed)
    add(group, pointers, &step)
    return group
  }

  private func add(_ group: ZoneGroup, _ pointers: [PlannedPointer], _ step: inout Step) {
    step.added.append(group)
    // A name of more addresses than an answer can say has no PTR record for those it leaves out: retiring goes by what is said.
    let said = pointers.count > 1000 ? Set(group.view.addresses) : nil
    for pointer in pointers where said?.contains(pointer.address) ?? true {
      guard let entry = entry(pointer, group) else { continue }
      if pointer.address.family == .v4 { step.added4.append(entry) } else { step.added6.append(entry) }
    }
  }

  /// Takes blocks out, and the PTR records that point into them: those of addresses that they say.
  func retire(_ groups: [ZoneGroup], _ step: inout Step) {
    step.retired += groups
    for address in groups.flatMap(\.view.addresses) {
      if address.family == .v4 {
        step.retiredKeys4.append(ReverseEntry.key(address))
      } else {
        step.retiredKeys6.append(ReverseEntry.key(address))
      }
    }
  }

  private func entry(_ pointer: PlannedPointer, _ group: ZoneGroup) -> ReverseEntry? {
    let hash = prefixHash(pointer.prefix, seed: seed)
    let node = pointer.prefix.withUnsafeBytes {
      group.view.find($0.bytes, at: 0, count: $0.count, hash: hash)
    }
    guard let node else { return nil }
    return ReverseEntry(
      key: ReverseEntry.key(pointer.address), group: UInt(bitPattern: group.base),
      prefixAt: UInt32(truncatingIfNeeded: node.prefix - group.base),
      prefixLength: UInt8(truncatingIfNeeded: node.prefixLength),
      keyLength: UInt8(truncatingIfNeeded: group.view.keyLength), rank: pointer.rank)
  }

  /// Remembers when a change of endpoints began, as the EndpointSlice controller wrote it down.
  private mutating func note(_ state: ServiceState, since old: PackedTime?) -> PackedTime {
    var latest: String?
    for case let time? in state.slices.values.lazy.map(\.triggerTime) where time > latest ?? "" {
      latest = time
    }
    guard let latest else { return old ?? PackedTime() }
    let time = PackedTime(latest)
    // The first plan of a Service says nothing of how long a change took.
    if let old, time > old {
      let headless = state.service.selector.isEmpty ? "headless_without_selector" : "headless_with_selector"
      triggers.append((state.service.isHeadless ? headless : "cluster_ip", latest))
    }
    return time
  }

  // MARK: - Namespaces

  func isServed(namespace: String) -> Bool {
    guard settings.namespaces.isEmpty || settings.namespaces.contains(namespace) else { return false }
    guard let selector = settings.namespaceSelector else { return true }
    return namespaces[namespace]?.object.map { selector.matches($0.labels) } ?? false
  }

  func isServed(_ service: Service) -> Bool {
    isServed(namespace: service.key.namespace) && settings.serviceSelector?.matches(service.labels) ?? true
  }

  mutating func take(_ name: String, _ object: Namespace?, _ step: inout Step) {
    let old = namespaces[name]
    if old?.object == object { return }
    let wasServed = isServed(namespace: name)
    namespaces[name, default: PlannedNamespace()].object = object
    let isServed = isServed(namespace: name)
    if wasServed != isServed, settings.namespaceSelector != nil {
      // Rare: the labels of a namespace decide about all its Services.
      for (key, old) in planned where key.namespace == name {
        take(key, nil, &step)
        take(key, old.state, &step)
      }
      for (key, old) in imports where key.namespace == name {
        take(imported: key, nil, &step)
        take(imported: key, old.state, &step)
      }
    }
    count(name, 0, &step)
  }

  /// A namespace's names stand while the namespace does, or a Service in it.
  mutating func count(_ name: String, _ amount: Int, _ step: inout Step) {
    // One more in a namespace that stands already: nothing but the number changes.
    if amount > 0, let at = namespaces.index(forKey: name), !namespaces.values[at].groups.isEmpty {
      namespaces.values[at].services += amount
      return
    }
    var namespace = namespaces[name] ?? PlannedNamespace()
    namespace.services += amount
    let exists = (namespace.object != nil && isServed(namespace: name)) || namespace.services > 0
    if exists, namespace.groups.isEmpty {
      namespace.groups = planNamespace(name, settings).map { $0.build(seed: seed) }
      step.added += namespace.groups
    } else if !exists, !namespace.groups.isEmpty {
      step.retired += namespace.groups
      namespace.groups = []
    }
    namespaces[name] = exists || namespace.object != nil ? namespace : nil
  }

  // MARK: - Pods

  mutating func take(pod key: ObjectKey, _ pod: Pod?, _ step: inout Step) {
    var entries: [PodEntry] = []
    if let pod, !pod.hasEnded, isServed(namespace: key.namespace) {
      if let name = settings.zone.child(of: [key.namespace, "pod"]) {
        let hash = name.lowercased.wire.withUnsafeBytes {
          $0.bytes.foldedHash(at: 0, count: $0.count, seed: seed)
        }
        entries = pod.addresses.map { address in
          PodEntry(
            namespace: hash, bits: address.v4.map { UInt128($0.bits) } ?? address.v6?.bits ?? 0,
            isSix: address.family == .v6)
        }
      }
    }
    let old = pods[key] ?? []
    if old == entries { return }
    // Pods of the host's network share its address: it stays while one of them does.
    for entry in entries {
      podUses[entry, default: 0] += 1
      if podUses[entry] == 1 { step.addedPods[entry, default: 0] += 1 }
    }
    for entry in old {
      podUses[entry, default: 0] -= 1
      if podUses[entry] == 0 {
        podUses[entry] = nil
        step.addedPods[entry, default: 0] -= 1
      }
    }
    pods[key] = entries.isEmpty ? nil : entries
  }
}

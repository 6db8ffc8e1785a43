// One Service, namespace or pod of a plan: what it takes out of the zone and puts in.

import Addresses
import ClusterObjects
import ClusterView

extension ZonePlanner {
  mutating func take(_ key: ObjectKey, _ state: ServiceState?, _ step: inout Step) {
    let old = planned[key]
    if let old, let state, old.state == state { return }
    if let old, let state { note(old.state, state) }
    if let old {
      retire(old, &step)
      if old.isServed { count(key.namespace, -1, &step) }
    }
    planned[key] = state.map { state in
      let isServed = isServed(state.service)
      if isServed { count(key.namespace, 1, &step) }
      return PlannedService(state: state, isServed: isServed, groups: isServed ? encode(state, &step) : [])
    }
  }

  mutating func encode(_ state: ServiceState, _ step: inout Step) -> [ZoneGroup] {
    work.services += 1
    let slices = state.slices.sorted { $0.key < $1.key }.map(\.value)
    var plans = planService(state.service, slices, settings).map { [$0] } ?? []
    if settings.external != nil { plans += planExternal(state.service, slices, settings) }
    return plans.map { build($0.names, $0.pointers, &step) }
  }

  /// One block of names and the PTR records that point into it.
  func build(_ names: ZoneGroupBuilder, _ pointers: [PlannedPointer], _ step: inout Step) -> ZoneGroup {
    let group = names.build(seed: seed)
    step.added.append(group)
    for pointer in pointers {
      guard let entry = entry(pointer, group) else { continue }
      if pointer.address.family == .v4 { step.added4.append(entry) } else { step.added6.append(entry) }
    }
    return group
  }

  /// Takes a Service's block out, and the PTR records that point into it.
  private func retire(_ old: PlannedService, _ step: inout Step) {
    guard !old.groups.isEmpty else { return }
    let endpoints = old.state.slices.values.flatMap { $0.endpoints.map(\.address) }
    let external = settings.external == nil ? [] : old.state.service.outsideAddresses
    retire(old.groups, old.state.service.clusterIPs + external + endpoints, &step)
  }

  func retire(_ groups: [ZoneGroup], _ addresses: [IPAddress], _ step: inout Step) {
    step.retired += groups
    for address in addresses {
      if address.family == .v4 {
        step.retiredKeys4.append(ReverseEntry.key(address))
      } else {
        step.retiredKeys6.append(ReverseEntry.key(address))
      }
    }
  }

  private func entry(_ pointer: PlannedPointer, _ group: ZoneGroup) -> ReverseEntry? {
    let prefix = pointer.labels.reversed().reduce(into: [UInt8]()) { prefix, label in
      prefix = [UInt8(truncatingIfNeeded: label.utf8.count)] + label.utf8.map(foldedByte) + prefix
    }
    let hash = prefixHash(prefix, seed: seed)
    let node = prefix.withUnsafeBytes { group.view.find($0.bytes, at: 0, count: $0.count, hash: hash) }
    guard let node else { return nil }
    return ReverseEntry(
      key: ReverseEntry.key(pointer.address), group: UInt(bitPattern: group.base),
      prefixAt: UInt32(truncatingIfNeeded: node.prefix - group.base),
      prefixLength: UInt8(truncatingIfNeeded: node.prefixLength),
      keyLength: UInt8(truncatingIfNeeded: group.view.keyLength), rank: pointer.rank)
  }

  /// Remembers when a change of endpoints began, as the EndpointSlice controller wrote it down.
  private mutating func note(_ old: ServiceState, _ new: ServiceState) {
    var latest: String?
    for (key, slice) in new.slices where slice != old.slices[key] {
      guard let time = slice.triggerTime, time != old.slices[key]?.triggerTime else { continue }
      latest = max(latest ?? time, time)
    }
    guard let latest else { return }
    let headless = new.service.selector.isEmpty ? "headless_without_selector" : "headless_with_selector"
    triggers.append((new.service.isHeadless ? headless : "cluster_ip", latest))
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
      let labels = [Array(key.namespace.utf8), Array("pod".utf8)] + settings.zone.labels.map(Array.init)
      if let name = DomainName(labels: labels) {
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

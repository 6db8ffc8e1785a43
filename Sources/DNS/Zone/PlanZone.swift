// From the cluster to its names: Kubernetes DNS-Based Service Discovery 1.1.0, as pure functions.

import Addresses
import ClusterObjects
import ClusterView

/// The zone of a cluster. Pure; cost is linear in Services and endpoints (see `ZonePlanner` for changes).
public func planZone(view: ClusterView, settings: ZoneSettings) -> Zone {
  var planner = ZonePlanner(settings: settings)
  return planner.plan(view)
}

/// Plans zones one after another and encodes again only what changed. A value: whoever follows the cluster owns one.
public struct ZonePlanner: Sendable {
  public let settings: ZoneSettings
  public private(set) var serial: UInt32
  private let seed = UInt64.random(in: .min ... .max)
  private var planned: [ObjectKey: PlannedService] = [:]
  private var fixed: [ZoneGroup] = []
  private var fixedNamespaces: Set<String>?
  private var reverse4 = ReverseIndex()
  private var reverse6 = ReverseIndex()

  struct PlannedService: Sendable {
    var service: Service
    var slices: [ObjectKey: EndpointSlice]
    /// Nil when the Service has no name now: headless without a ready endpoint.
    var group: ZoneGroup?
  }

  /// The serial of the SOA grows by one with each plan; start it from the clock to grow across restarts.
  public init(settings: ZoneSettings, firstSerial: UInt32 = 1) {
    self.settings = settings
    serial = firstSerial &- 1
  }

  /// The zone of `view`. With `changed`, only those Services are looked at: the caller vouches for the others. Without,
  /// all are compared with what was planned before. Namespaces and pods are always looked at.
  public mutating func plan(_ view: ClusterView, changed: Set<ObjectKey>? = nil) -> Zone {
    serial &+= 1
    var removed: Set<UInt> = []
    var added4: [ReverseIndex.Entry] = []
    var added6: [ReverseIndex.Entry] = []
    func forget(_ group: ZoneGroup?) {
      if let group { removed.insert(UInt(bitPattern: group.base)) }
    }
    // Old blocks stay allocated until the end: a new one must not get the address of one to be removed.
    var retired: [ZoneGroup] = []
    if changed == nil {
      for (key, old) in planned where view.services[key] == nil {
        forget(old.group)
        if let group = old.group { retired.append(group) }
        planned[key] = nil
      }
    }
    let keys = changed.map(Array.init) ?? Array(view.services.keys)
    for key in keys {
      let old = planned[key]
      guard let service = view.services[key], isServed(key) else {
        forget(old?.group)
        if let group = old?.group { retired.append(group) }
        planned[key] = nil
        continue
      }
      let slices = view.endpointSlices[key] ?? [:]
      if let old, old.service == service, old.slices == slices { continue }
      forget(old?.group)
      if let group = old?.group { retired.append(group) }
      let plan = planService(service, slices.sorted { $0.key < $1.key }.map(\.value), settings)
      let group = plan?.names.build(seed: seed)
      if let group, let plan {
        for pointer in plan.pointers {
          guard let entry = entry(pointer, group) else { continue }
          if pointer.address.family == .v4 { added4.append(entry) } else { added6.append(entry) }
        }
      }
      planned[key] = PlannedService(service: service, slices: slices, group: group)
    }
    reverse4.update(removed: removed, added: added4)
    reverse6.update(removed: removed, added: added6)
    withExtendedLifetime(retired) {}
    var namespaces = Set(view.namespaces.keys.filter(isServed(namespace:)))
    for key in planned.keys { namespaces.insert(key.namespace) }
    fixed = planFixedNames(settings, namespaces: namespaces, serial: serial).map { $0.build(seed: seed) }
    return Zone(
      settings: settings, serial: serial, seed: seed, groups: fixed + planned.values.compactMap(\.group),
      reverse4: reverse4, reverse6: reverse6, verifiedPods: verifiedPods(view), isReady: true)
  }

  private func isServed(_ key: ObjectKey) -> Bool { isServed(namespace: key.namespace) }
  private func isServed(namespace: String) -> Bool {
    settings.namespaces.isEmpty || settings.namespaces.contains(namespace)
  }

  private func entry(_ pointer: PlannedPointer, _ group: ZoneGroup) -> ReverseIndex.Entry? {
    let prefix = pointer.labels.reversed().reduce(into: [UInt8]()) { prefix, label in
      prefix = [UInt8(truncatingIfNeeded: label.utf8.count)] + label.utf8.map(foldedByte) + prefix
    }
    let hash = prefixHash(prefix, seed: seed)
    let node = prefix.withUnsafeBytes { group.view.find($0.bytes, at: 0, count: $0.count, hash: hash) }
    guard let node else { return nil }
    return ReverseIndex.Entry(
      bits: pointer.address.v4.map { UInt128($0.bits) } ?? pointer.address.v6?.bits ?? 0, rank: pointer.rank,
      prefixLength: UInt16(truncatingIfNeeded: node.prefixLength),
      prefixAt: UInt32(truncatingIfNeeded: node.prefix - group.base), group: UInt(bitPattern: group.base),
      keyLength: UInt16(truncatingIfNeeded: group.view.keyLength))
  }

  private func verifiedPods(_ view: ClusterView) -> Set<Zone.PodAddress> {
    guard settings.pods == .verified else { return [] }
    var pods: Set<Zone.PodAddress> = []
    for pod in view.pods.values where !pod.hasEnded && isServed(pod.key) {
      let labels = [Array(pod.key.namespace.utf8), Array("pod".utf8)] + settings.zone.labels.map(Array.init)
      guard let name = DomainName(labels: labels) else { continue }
      let hash = name.lowercased.wire.withUnsafeBytes {
        $0.bytes.foldedHash(at: 0, count: $0.count, seed: seed)
      }
      for address in pod.addresses {
        pods.insert(
          Zone.PodAddress(
            namespace: hash, bits: address.v4.map { UInt128($0.bits) } ?? address.v6?.bits ?? 0,
            family: address.family))
      }
    }
    return pods
  }
}

/// Names that do not depend on a Service: the apexes, `dns-version`, `svc`, `pod` and one of each a namespace.
func planFixedNames(_ settings: ZoneSettings, namespaces: Set<String>, serial: UInt32) -> [ZoneGroupBuilder] {
  var groups: [ZoneGroupBuilder] = []
  func group(_ labels: [String]) -> ZoneGroupBuilder? {
    let all = labels.map { Array($0.utf8) } + settings.zone.labels.map(Array.init)
    return DomainName(labels: all).map { ZoneGroupBuilder(key: $0, ttl: settings.ttl) }
  }
  guard let server = settings.zone.child("dns")?.child("ns") else { return [] }
  for zone in [settings.zone] + settings.reverseZones {
    guard zone == settings.zone || !settings.fallthroughZones.contains(where: { zone.isWithin($0) }) else {
      continue
    }
    var apex = ZoneGroupBuilder(key: zone, ttl: settings.ttl)
    let mailbox = settings.zone.child("hostmaster") ?? settings.zone
    apex.add(
      [],
      .soa(StartOfAuthority(primary: server, mailbox: mailbox, serial: serial, minimum: settings.negativeTTL))
    )
    apex.add([], .ns(server), additional: settings.nameServerAddresses.map { (server, addressRecord($0)) })
    groups.append(apex)
  }
  if var version = group(["dns-version"]) {
    version.add([], .txt([Array("1.1.0".utf8)]))
    groups.append(version)
  }
  if var names = group(["ns", "dns"]) {
    for address in settings.nameServerAddresses { names.add([], addressRecord(address)) }
    groups.append(names)
  }
  let kinds = settings.pods == .disabled ? ["svc"] : ["svc", "pod"]
  for labels in [["dns"]] + kinds.flatMap({ kind in [[kind]] + namespaces.map { [$0, kind] } }) {
    if let empty = group(labels) { groups.append(empty) }
  }
  return groups
}

func addressRecord(_ address: IPAddress) -> RecordData {
  switch address {
  case .v4(let four): .a(four)
  case .v6(let six): .aaaa(six)
  }
}

// From the cluster to its names: Kubernetes DNS-Based Service Discovery 1.1.0, as pure functions.

import Addresses
import ClusterObjects
import ClusterView

/// The zone of a cluster. Pure; cost is linear in Services and endpoints (see `ZonePlanner` for changes).
public func planZone(view: ClusterView, settings: ZoneSettings) -> Zone {
  var planner = ZonePlanner(settings: settings)
  return planner.plan(view)
}

/// Plans zones one after another. A plan costs what changed since the one before, however many Services there are: blocks
/// and tries of what stayed are shared. A value: whoever follows the cluster owns one.
public struct ZonePlanner: Sendable {
  public let settings: ZoneSettings
  public private(set) var serial: UInt32
  /// What the last plan had to do.
  public internal(set) var work = Work()
  /// Endpoint changes of the last plan: the kind of Service as CoreDNS's metric says it, and when the change began (RFC 3339).
  public internal(set) var triggers: [(serviceKind: String, time: String)] = []

  /// Work of one plan, in things that were made anew.
  public struct Work: Sendable, Hashable {
    /// Services whose names were planned and encoded.
    public var services = 0
    /// Blocks of names that were put in or taken out.
    public var groups = 0
    /// Nodes of the zone's tries that were copied.
    public var nodes = 0
  }

  let seed = UInt64.random(in: .min ... .max)
  var planned: [ObjectKey: PlannedService] = [:]
  var fixed: [ZoneGroup] = []
  /// Services that lead to us, with their addresses, and what zones say for it.
  var leading: [ObjectKey: [IPAddress]] = [:]
  private var nameServers: NameServers
  var apexes: [ZoneGroup] = []
  var namespaces: [String: PlannedNamespace] = [:]
  var imports: [ObjectKey: PlannedImport] = [:]
  /// Of the current zone, and of what has been taken in: what has been read once stays known.
  private var areImportsRead = false
  private var haveImportsCome = false
  var pods: [ObjectKey: [PodEntry]] = [:]
  var podUses: [PodEntry: Int] = [:]
  private var names = NameIndex()
  private var reverse4 = ReverseIndex()
  private var reverse6 = ReverseIndex()
  private var verifiedPods = Trie<PodEntry>()
  private var current: Zone?
  /// What `stage` gathered for the next zone.
  private var staged: Step?

  /// What is remembered of a Service: the blocks that stand for it. What they were made of is its owner's to keep.
  struct PlannedService: Sendable {
    var isServed: Bool
    /// Empty when the Service has no name now: headless without a ready endpoint.
    var groups: [ZoneGroup]
    /// When the newest of its changes of endpoints began; empty when none says so.
    var trigger = PackedTime()
    /// Kept only where the labels of a namespace can bring it back.
    var state: ServiceState?
  }

  struct PlannedImport: Sendable {
    var state: ServiceImportState
    var isServed: Bool
    var groups: [ZoneGroup]
  }

  struct PlannedNamespace: Sendable {
    /// Nil when only Services say that it exists.
    var object: Namespace?
    var services = 0
    var groups: [ZoneGroup] = []
  }

  /// What one plan takes out and puts in. Blocks taken out stay allocated until its end: a new one must not get the address
  /// of one to be removed.
  struct Step: Sendable {
    var retired: [ZoneGroup] = []
    var retiredKeys4: [UInt128] = []
    var retiredKeys6: [UInt128] = []
    var added: [ZoneGroup] = []
    var added4: [ReverseEntry] = []
    var added6: [ReverseEntry] = []
    /// 1 for an address that came, -1 for one that went, 0 for one that did both.
    var addedPods: [PodEntry: Int] = [:]
    var isEmpty: Bool { retired.isEmpty && added.isEmpty && addedPods.allSatisfy { $0.value == 0 } }
  }

  /// The serial of the SOA grows by one with each zone that differs; start it from the clock to grow across restarts.
  public init(settings: ZoneSettings, firstSerial: UInt32 = 1) {
    self.settings = settings
    nameServers = NameServers([:], settings)
    serial = firstSerial &- 1
  }

  /// The zone of `view`. With `changed`, only those Services are looked at: the caller vouches for the others. Without,
  /// all are compared with what was planned before. Costs the whole view; see `plan(_:)` of changes.
  public mutating func plan(_ view: ClusterView, changed: Set<ObjectKey>? = nil) -> Zone {
    guard let changed else { return plan(view.allChanges) }
    var changes = ViewChanges()
    for key in changed { changes.services[key] = .some(view.state(of: key)) }
    for name in namespaces.keys { changes.namespaces[name] = .some(view.namespaces[name]) }
    for (name, namespace) in view.namespaces { changes.namespaces[name] = .some(namespace) }
    return plan(changes)
  }

  /// The zone after `changes`, and after all that was staged. Costs what they hold.
  public mutating func plan(_ changes: ViewChanges) -> Zone {
    stage(changes)
    return finish()
  }

  /// Takes a part of the changes in; the next `plan` puts them in force together with its own. So nobody has to hold all that a
  /// large plan is made of at once.
  public mutating func stage(_ changes: ViewChanges) {
    if staged == nil {
      work = Work()
      triggers = []
    }
    var step = staged ?? Step()
    staged = nil
    if changes.areImportsRead { haveImportsCome = true }
    if fixed.isEmpty {
      fixed = planFixedNames(settings, nameServers).map { $0.build(seed: seed) }
      step.added += fixed
    }
    for (name, namespace) in changes.namespaces { take(name, namespace, &step) }
    if changes.isWhole {
      for name in namespaces.keys where changes.namespaces[name] == nil { take(name, nil, &step) }
      for key in planned.keys where changes.services[key] == nil { take(key, nil, &step) }
      for key in imports.keys where changes.imports[key] == nil { take(imported: key, nil, &step) }
      for key in pods.keys where changes.pods[key] == nil { take(pod: key, nil, &step) }
    }
    for (key, state) in changes.services { take(key, state, &step) }
    if !settings.multiclusterZones.isEmpty {
      for (key, state) in changes.imports { take(imported: key, state, &step) }
    }
    if settings.pods == .verified { for (key, pod) in changes.pods { take(pod: key, pod, &step) } }
    // Nobody has seen a zone yet: what is ready goes where it belongs, and no list of all of it is ever held.
    if current == nil, step.added.count >= Self.stagedMax {
      put(step)
      step = Step()
    }
    staged = step
  }

  /// Blocks that the first plan gathers before it puts them into the tries.
  private static let stagedMax = 4096

  private mutating func finish() -> Zone {
    var step = staged ?? Step()
    staged = nil
    let isCurrent = areImportsRead == haveImportsCome || settings.multiclusterZones.isEmpty
    areImportsRead = haveImportsCome
    let servers = NameServers(leading, settings)
    if servers != nameServers {
      nameServers = servers
      step.retired += fixed
      fixed = planFixedNames(settings, servers).map { $0.build(seed: seed) }
      step.added += fixed
    }
    if step.isEmpty, isCurrent, let current { return current }
    serial &+= 1
    step.retired += apexes
    apexes = planApexes(settings, nameServers, serial: serial).map { $0.build(seed: seed) }
    step.added += apexes
    let zone = apply(step)
    current = zone
    return zone
  }

  private mutating func apply(_ step: Step) -> Zone {
    let added = put(step)
    let journal = current.map { old in
      ZoneChange.appended(
        ZoneChange(from: old.serial, to: serial, removed: step.retired, added: added), to: old.journal)
    }
    return Zone(
      settings: settings, serial: serial, seed: seed, names: names, reverse4: reverse4, reverse6: reverse6,
      verifiedPods: verifiedPods, isReady: true, areImportsRead: areImportsRead, journal: journal ?? [])
  }

  /// Brings the tries up to date; the blocks that were put in.
  @discardableResult private mutating func put(_ step: Step) -> [ZoneGroup] {
    let retired = Set(step.retired.map { UInt(bitPattern: $0.base) })
    // What this very step put in and took out again was never seen.
    let added =
      retired.isEmpty ? step.added : step.added.filter { !retired.contains(UInt(bitPattern: $0.base)) }
    let nodes = nodesMade
    names.update(
      removed: step.retired.map { UInt128($0.hash) << 64 },
      where: { retired.contains(UInt(bitPattern: $0.base)) },
      added: added.map { (NameEntry(hash: $0.hash, base: $0.base), $0) })
    let isRetired = { (entry: ReverseEntry) in retired.contains(entry.group) }
    reverse4.update(
      removed: step.retiredKeys4, where: isRetired,
      added: step.added4.compactMap { isRetired($0) ? nil : ($0, nil) })
    reverse6.update(
      removed: step.retiredKeys6, where: isRetired,
      added: step.added6.compactMap { isRetired($0) ? nil : ($0, nil) })
    let gone = Set(step.addedPods.filter { $0.value < 0 }.keys)
    verifiedPods.update(
      removed: gone.map(\.key), where: { gone.contains($0) },
      added: step.addedPods.filter { $0.value > 0 }.map { ($0.key, nil) })
    work.groups += added.count + step.retired.count
    work.nodes += nodesMade - nodes
    return added
  }

  private var nodesMade: Int {
    names.nodesMade + reverse4.nodesMade + reverse6.nodesMade + verifiedPods.nodesMade
  }
}

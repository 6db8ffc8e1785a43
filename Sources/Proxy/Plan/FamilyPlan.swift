// The plan of one family's table, kept: what each Service contributes, who holds which address and port, and how often shared
// elements are asked for. Replacing one Service's contribution costs that Service, whatever else there is.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import Ruleset

/// State of one table; `replace` is its only change.
struct FamilyPlan: Sendable {
  let configuration: ProxyConfiguration
  let family: IPFamily
  private(set) var allocation: ProxyAllocation
  private var plans: [ObjectKey: KeptPlan] = [:]
  /// Who holds an address and port, and of contested ones everybody who claims it.
  private var holders = Holders()
  private var contested: [ProxySet: [Datum: Set<ObjectKey>]] = [:]
  /// How many Services have an address, by the key that it stands under.
  private var clusterIPs: [Datum: Int] = [:]
  private var hairpins: [IPAddress: Int] = [:]
  private var classUse: [BalancingClass: Int] = [:]
  /// Classes that have an element and a chain, used or not.
  private var installed: Set<BalancingClass>
  private(set) var starved: Set<ObjectKey> = []
  private(set) var troubled: Set<ObjectKey> = []
  private(set) var totals = Totals()
  /// Endpoints behind ids as an earlier process left them, until the first whole plan.
  private var recovered: [UInt32: ServicePlan.Flows]

  /// Unused classes that stay, so that a Service which grows and shrinks does not change verdict maps all the time.
  static let idleClassesMax = 64

  /// Who holds an address and port, by the map that it stands in.
  private struct Holders: Sendable {
    var services: [Datum: ObjectKey] = [:]
    var nodePorts: [Datum: ObjectKey] = [:]

    /// Gives a free address and port to a Service. False when somebody else may have it: nothing has changed then.
    mutating func take(_ claim: ClaimKey, _ service: ObjectKey, _ isContested: Bool) -> Bool {
      guard !isContested else { return false }
      let isNodePort = claim.set == .nodePorts
      let before =
        isNodePort
        ? nodePorts.updateValue(service, forKey: claim.key)
        : services.updateValue(service, forKey: claim.key)
      guard let before, before != service else { return true }
      self[claim] = before
      return false
    }

    subscript(_ claim: ClaimKey) -> ObjectKey? {
      get { claim.set == .nodePorts ? nodePorts[claim.key] : services[claim.key] }
      set {
        if claim.set == .nodePorts { nodePorts[claim.key] = newValue } else { services[claim.key] = newValue }
      }
    }
  }

  struct Totals: Sendable {
    var servicePorts = 0
    var endpoints = 0
    var internalWithoutLocal = 0
    var externalWithoutLocal = 0

    mutating func add(_ plan: ServicePlan, _ sign: Int) {
      servicePorts += sign * plan.servicePorts
      endpoints += sign * plan.endpoints
      internalWithoutLocal += sign * plan.withoutLocal.internal
      externalWithoutLocal += sign * plan.withoutLocal.external
    }
  }

  init(_ configuration: ProxyConfiguration, _ family: IPFamily, _ allocation: ProxyAllocation) {
    self.configuration = configuration
    self.family = family
    self.allocation = allocation
    installed = Set(allocation.classes.keys)
    recovered = allocation.clearableFlows
  }

  // MARK: - Change

  /// Makes room for as many Services.
  mutating func reserve(_ count: Int) {
    plans.reserveCapacity(count)
    holders.services.reserveCapacity(count)
    clusterIPs.reserveCapacity(count)
    allocation.reserve(count)
  }

  /// Plans a Service anew.
  /// - Parameter delta: nil when the table is asked for as a whole afterwards.
  mutating func plan(
    _ key: ObjectKey, _ state: ServiceState, at place: NodePlace, _ delta: inout TableDelta?,
    _ flows: inout [FlowChange]
  ) {
    let planner = ServicePlanner(configuration: configuration, family: family, place: place)
    replace(key, planner.plan(state, &allocation), &delta, &flows)
  }

  /// Puts a Service's plan in place of the one before; nil: takes it out.
  mutating func replace(
    _ key: ObjectKey, _ new: ServicePlan?, _ delta: inout TableDelta?, _ flows: inout [FlowChange]
  ) {
    guard delta != nil else { return replaceWhole(key, new, &flows) }
    let old = plans[key]?.plan
    guard old != nil || new != nil else { return }
    changeElements(old, new, &delta)
    changeCounted(old, new, &delta)
    changeFlows(old, new, &flows)
    let claimed = Set((old?.claims ?? []).map(ClaimKey.init) + (new?.claims ?? []).map(ClaimKey.init))
    let before = claimed.map { ($0, effective($0)) }
    plans[key] = new.map(KeptPlan.init)
    for (claim, element) in before {
      settle(claim, key, isClaimed: new?.claims.contains { ClaimKey($0) == claim } ?? false)
      let now = effective(claim)
      if now != element { delta?.setElement(claim.set.name, claim.key, now) }
    }
    finish(key, old, new)
  }

  /// The same when nobody asks what changes: each name and address is hashed as seldom as can be.
  private mutating func replaceWhole(
    _ key: ObjectKey, _ new: ServicePlan?, _ flows: inout [FlowChange]
  ) {
    let before: KeptPlan?
    if let new {
      before = plans.updateValue(KeptPlan(new), forKey: key)
    } else {
      before = plans.removeValue(forKey: key)
    }
    let old = before?.plan
    guard old != nil || new != nil else { return }
    var none: TableDelta?
    changeCounted(old, new, &none)
    changeFlows(old, new, &flows)
    if let old {
      for claim in old.claims where !(new?.claims.contains { ClaimKey($0) == ClaimKey(claim) } ?? false) {
        settle(ClaimKey(claim), key, isClaimed: false)
      }
    }
    if let new {
      for index in new.claims.indices {
        let claim = ClaimKey(new.claims[index].entry.set, new.claims[index].entry.key)
        if !holders.take(claim, key, !contested.isEmpty) { settle(claim, key, isClaimed: true) }
      }
    }
    finish(key, old, new)
  }

  private mutating func finish(_ key: ObjectKey, _ old: ServicePlan?, _ new: ServicePlan?) {
    if let old {
      for port in old.ids where new?.ids.contains(where: { $0.id == port.id }) != true {
        allocation.release(port.key)
      }
      totals.add(old, -1)
    }
    if let new { totals.add(new, 1) }
    mark(key, new?.isStarved ?? false, in: &starved)
    mark(key, !(new?.problems.isEmpty ?? true), in: &troubled)
  }

  /// What slots of Services with least connections are shared out by from the next plan on.
  mutating func take(_ open: OpenConnections) { allocation.openConnections = open }

  /// To be called when every Service there is has been planned: forgets numbers of those that an earlier process served.
  mutating func finishWhole(_ flows: inout [FlowChange]) {
    defer { recovered = [:] }
    // Nobody else has a number: there is none to forget.
    let count = plans.values.reduce(0) { $0 + $1.plan.ids.count }
    guard count != allocation.ids.count else { return }
    var used: Set<UInt32> = []
    for kept in plans.values { for port in kept.plan.ids { used.insert(port.id) } }
    allocation.keepOnly(used)
    for (id, before) in recovered where !used.contains(id) && !before.targets.isEmpty {
      flows.append(
        FlowChange(family: family, id: id, transport: before.transport, before: before.targets, now: nil))
    }
  }

  /// Takes out classes that nobody has used for long; chains of a constant number stay for later.
  mutating func dropIdleClasses(_ delta: inout TableDelta?) {
    let idle = installed.count - classUse.count
    guard idle > Self.idleClassesMax else { return }
    let unused = installed.filter { classUse[$0] == nil }.sorted()
    for balancing in unused.prefix(idle - Self.idleClassesMax) {
      guard let number = allocation.classes[balancing] else { continue }
      installed.remove(balancing)
      allocation.release(balancing)
      delta?.setElement(ProxySet.classes.name, .number(number << 18), nil)
      if !ProxyChains.isRetry(balancing) { delta?.setChain(balancing.chain, nil) }
    }
  }

  private func mark(_ key: ObjectKey, _ isIn: Bool, in set: inout Set<ObjectKey>) {
    if isIn { set.insert(key) } else if !set.isEmpty { set.remove(key) }
  }

  private func changeElements(_ old: ServicePlan?, _ new: ServicePlan?, _ delta: inout TableDelta?) {
    let unchanged = Set(old?.elements ?? []).intersection(new?.elements ?? [])
    for element in old?.elements ?? [] where !unchanged.contains(element) {
      delta?.setElement(element.set.name, element.key, nil)
    }
    for element in new?.elements ?? [] where !unchanged.contains(element) {
      delta?.setElement(element.set.name, element.key, element.element)
    }
  }

  private static func increment(_ uses: inout Int) -> Int {
    uses += 1
    return uses
  }

  private mutating func changeCounted(_ old: ServicePlan?, _ new: ServicePlan?, _ delta: inout TableDelta?) {
    func count<Value: Hashable>(_ list: [Value], _ sign: Int, _ counts: inout [Value: Int]) {
      for value in list {
        counts[value, default: 0] += sign
        if sign < 0, counts[value] == 0 { counts[value] = nil }
      }
    }
    if old == nil, delta == nil, let new {
      // The most frequent case by far, without a list for what is not there.
      for index in new.clusterIPs.indices { clusterIPs[.address(new.clusterIPs[index]), default: 0] += 1 }
      for index in new.hairpins.indices { hairpins[new.hairpins[index], default: 0] += 1 }
      for balancing in new.classes where Self.increment(&classUse[balancing, default: 0]) == 1 {
        installed.insert(balancing)
      }
      return
    }
    if old?.clusterIPs ?? [] != new?.clusterIPs ?? [] {
      let (now, before) = (
        (new?.clusterIPs ?? []).map(Datum.address), (old?.clusterIPs ?? []).map(Datum.address)
      )
      count(now, 1, &clusterIPs)
      count(before, -1, &clusterIPs)
      for address in delta == nil ? [] : Set(before + now) {
        let element = clusterIPs[address].map { _ in Element(.present) }
        delta?.setElement(ProxySet.clusterIPs.name, address, element)
      }
    }
    if old?.hairpins ?? [] != new?.hairpins ?? [] {
      count(new?.hairpins ?? [], 1, &hairpins)
      count(old?.hairpins ?? [], -1, &hairpins)
      for address in delta == nil ? [] : Set(old?.hairpins ?? []).symmetricDifference(new?.hairpins ?? []) {
        let element = hairpins[address].map { _ in Element(.present) }
        delta?.setElement(ProxySet.hairpin.name, Self.pair(address), element)
      }
    }
    guard old?.classes ?? [] != new?.classes ?? [] else { return }
    // Of a class that somebody else uses everything is there.
    var first: [BalancingClass] = []
    for balancing in new?.classes ?? [] where Self.increment(&classUse[balancing, default: 0]) == 1 {
      first.append(balancing)
    }
    count(old?.classes ?? [], -1, &classUse)
    for balancing in first where installed.insert(balancing).inserted {
      guard delta != nil, let number = allocation.classes[balancing] else { continue }
      delta?.setElement(
        ProxySet.classes.name, .number(number << 18), Element(.verdict(.jump(balancing.chain))))
      delta?.setChain(balancing.chain, chains.balancing(balancing))
    }
  }

  private func changeFlows(_ old: ServicePlan?, _ new: ServicePlan?, _ flows: inout [FlowChange]) {
    // Of TCP there are none, as a rule.
    if old?.flows.isEmpty ?? true, new?.flows.isEmpty ?? true { return }
    for (id, now) in new?.flows ?? [:] {
      let before = old?.flows[id] ?? recovered[id]
      if before?.targets != now.targets {
        flows.append(
          FlowChange(
            family: family, id: id, transport: now.transport, before: before?.targets ?? [],
            now: now.targets))
      }
    }
    for (id, before) in old?.flows ?? [:] where new?.flows[id] == nil && !before.targets.isEmpty {
      flows.append(
        FlowChange(family: family, id: id, transport: before.transport, before: before.targets, now: nil))
    }
  }

  // MARK: - Claims

  private struct ClaimKey: Hashable {
    var set: ProxySet
    var key: Datum
    init(_ claim: ServicePlan.Claim) {
      set = claim.entry.set
      key = claim.entry.key
    }
    init(_ set: ProxySet, _ key: Datum) {
      self.set = set
      self.key = key
    }
  }

  private func claim(of service: ObjectKey, _ claim: ClaimKey) -> ServicePlan.Claim? {
    plans[service]?.plan.claims.first { $0.entry.key == claim.key && $0.entry.set == claim.set }
  }

  /// The element that stands in the map: that of the holder.
  private func effective(_ claim: ClaimKey) -> Element? {
    guard let holder = holders[claim] else { return nil }
    return self.claim(of: holder, claim)?.entry.element
  }

  private mutating func settle(_ claim: ClaimKey, _ service: ObjectKey, isClaimed: Bool) {
    let holder = holders[claim]
    if holder == nil || holder == service, contested[claim.set]?[claim.key] == nil {
      if isClaimed != (holder != nil) { holders[claim] = isClaimed ? service : nil }
      return
    }
    var claimants = contested[claim.set]?[claim.key] ?? Set([holder].compactMap(\.self))
    if isClaimed { claimants.insert(service) } else { claimants.remove(service) }
    let winner = claimants.min { order($0, claim) < order($1, claim) }
    holders[claim] = winner
    contested[claim.set, default: [:]][claim.key] = claimants.count > 1 ? claimants : nil
  }

  private func order(_ service: ObjectKey, _ claim: ClaimKey) -> (ServicePlan.Rank, String, ObjectKey) {
    (self.claim(of: service, claim)?.rank ?? .external, plans[service]?.plan.creationTime ?? "", service)
  }

  // MARK: - Reading

  private static func pair(_ address: IPAddress) -> Datum {
    Datum(.address(address), .address(address))
  }

  private var chains: ProxyChains { ProxyChains(configuration, family) }

  /// The table as a whole: costs all elements.
  var table: Table {
    // By the number of the set: looking sets up for each element would cost more than the elements.
    var sets = ProxySet.allCases.map { $0.declaration(family) }
    func index(_ set: ProxySet) -> Int { Int(set.rawValue) }
    sets[index(.services)].elements.reserveCapacity(holders.services.count)
    sets[index(.backends)].elements.reserveCapacity(totals.endpoints)
    sets[index(.hairpin)].elements.reserveCapacity(hairpins.count)
    // Nearly all elements stand in these two: their dictionaries are at hand.
    var services: [Datum: Element] = [:]
    var backends: [Datum: Element] = [:]
    swap(&services, &sets[index(.services)].elements)
    swap(&backends, &sets[index(.backends)].elements)
    func add(_ set: ProxySet, _ key: Datum, _ element: Element) {
      switch set {
      case .services: services[key] = element
      case .backends: backends[key] = element
      default: sets[index(set)].elements[key] = element
      }
    }
    for (service, kept) in plans {
      kept.plan.elements.withUnsafeBufferPointer { elements in
        for at in elements.indices { add(elements[at].set, elements[at].key, elements[at].element) }
      }
      // Without rivals a claim is its Service's own.
      kept.plan.claims.withUnsafeBufferPointer { claims in
        for at in claims.indices where contested.isEmpty || holders[ClaimKey(claims[at])] == service {
          add(claims[at].entry.set, claims[at].entry.key, claims[at].entry.element)
        }
      }
    }
    swap(&services, &sets[index(.services)].elements)
    swap(&backends, &sets[index(.backends)].elements)
    sets[index(.clusterIPs)].elements = clusterIPs.mapValues { _ in Element(.present) }
    for address in hairpins.keys {
      sets[index(.hairpin)].elements[Self.pair(address)] = Element(.present)
    }
    sets[index(.classes)].elements[.number(0)] = Element(.verdict(.drop))
    for balancing in installed {
      guard let number = allocation.classes[balancing] else { continue }
      sets[index(.classes)].elements[.number(number << 18)] = Element(.verdict(.jump(balancing.chain)))
    }
    return chains.table(sets: sets, classes: installed)
  }

  /// Services of which something is left out.
  var quarantined: [QuarantinedObject] {
    var result = troubled.flatMap { key in
      (plans[key]?.plan.problems ?? []).map { QuarantinedObject(object: "Service \(key)", reason: $0) }
    }
    for (set, claims) in contested {
      for (key, claimants) in claims {
        let holder = holders[ClaimKey(set, key)]
        for loser in claimants where loser != holder {
          result.append(
            QuarantinedObject(
              object: "Service \(loser)",
              reason:
                "\(set.declaration(family).elementText(key, Element(.present))) belongs to another Service"
                + (holder.map { " (\($0))" } ?? "")))
        }
      }
    }
    return result
  }
}

extension ProxyAllocation {
  /// Flows that have to be cleared when an endpoint of theirs leaves, as far as a restart can know: TCP is not among them.
  var clearableFlows: [UInt32: ServicePlan.Flows] {
    var result: [UInt32: ServicePlan.Flows] = [:]
    for (key, id) in ids where key.transport != .tcp {
      result[id] = .init(transport: key.transport, targets: Set(slots[id] ?? []))
    }
    return result
  }
}

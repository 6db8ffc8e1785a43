// Charges against quotas, one namespace's at a time: those that arrive while a status is on its way to the
// disk are judged together and share the next write. The status is changed by compare-and-swap, so that the
// quota controller and other API servers may write it too.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Synchronization

/// What one write asks for.
struct QuotaCharge: Sendable {
  let identifier = RESTCore.uid()
  var namespace: String
  var gvr: GroupVersionResource
  var object: JSON
  var old: JSON?
  /// More than it used before.
  var asked: ResourceList
  var isDryRun: Bool
}

/// The charges of all namespaces.
final class QuotaLedger: Sendable {
  /// Charges that may wait in one namespace; past it writes are refused with 429.
  static let waitingMax = 10_000
  /// Charges judged together.
  static let batchMax = 500
  private static let triesMax = 64

  private struct Waiting {
    var charge: QuotaCharge
    var continuation: CheckedContinuation<Result<String?, APIStatusError>, Never>
  }
  private struct Line {
    var waiting: [Waiting] = []
    var isBusy = false
    /// Charged, and not yet known to be stored: what the caches do not show.
    var inFlight: [String: QuotaCharge] = [:]
    /// Quotas as this ledger wrote them last: the caches may be a moment behind.
    var written: [String: CachedObject] = [:]
  }
  private let lines = Mutex<[String: Line]>([:])
  private let state: AdmissionState

  init(state: AdmissionState) { self.state = state }

  /// Charges; gives the reason of a refusal, or nil.
  func charge(_ charge: QuotaCharge) async throws -> String? {
    let namespace = charge.namespace
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<String?, APIStatusError>, Never>) in
      let (isFull, isFirst) = lines.withLock { lines in
        if (lines[namespace]?.waiting.count ?? 0) >= Self.waitingMax { return (true, false) }
        lines[namespace, default: Line()].waiting.append(Waiting(charge: charge, continuation: continuation))
        let isFirst = lines[namespace]?.isBusy == false
        lines[namespace]?.isBusy = true
        return (false, isFirst)
      }
      if isFull {
        continuation.resume(returning: .failure(Failure.store(.overloaded)))
      } else if isFirst {
        Task { await self.work(namespace) }
      }
    }
    return try result.get()
  }

  /// The write was stored, or failed. What failed stays charged until the quota controller counts again: to
  /// give it back here could undo a count that was made meanwhile.
  func forget(_ identifier: String, in namespace: String) {
    lines.withLock { lines in
      lines[namespace]?.inFlight[identifier] = nil
      if let line = lines[namespace], !line.isBusy, line.waiting.isEmpty, line.inFlight.isEmpty {
        lines[namespace] = nil
      }
    }
  }

  private func work(_ namespace: String) async {
    while true {
      let batch = lines.withLock { lines -> [Waiting] in
        guard var line = lines[namespace] else { return [] }
        let batch = Array(line.waiting.prefix(Self.batchMax))
        line.waiting.removeFirst(batch.count)
        if batch.isEmpty {
          line.isBusy = false
          line.written = [:]
          lines[namespace] = line.inFlight.isEmpty ? nil : line
          return []
        }
        lines[namespace] = line
        return batch
      }
      if batch.isEmpty { return }
      let results = await judge(batch.map(\.charge), namespace)
      for (waiting, result) in zip(batch, results) { waiting.continuation.resume(returning: result) }
    }
  }

  // MARK: One batch

  private struct Working {
    var object: CachedObject
    var hard: ResourceList
    var used: ResourceList
    var isChanged: Bool
  }

  private func judge(_ charges: [QuotaCharge], _ namespace: String) async -> [Result<String?, APIStatusError>]
  {
    var refusals: [String?] = charges.map { _ in nil }
    /// By charge, the quotas that are charged and written already.
    var done: [Set<String>] = charges.map { _ in [] }
    for _ in 0..<Self.triesMax {
      var quotas = await present(namespace)
      var touched: [(quota: String, charge: Int)] = []
      for index in charges.indices where refusals[index] == nil {
        let charge = charges[index]
        var wanted: [(String, ResourceList)] = []
        for (key, quota) in quotas.sorted(by: { $0.key < $1.key }) where !done[index].contains(key) {
          guard let asked = Self.asked(charge, of: quota) else { continue }
          if let excess = QuotaUsage.excess(asked: asked, used: quota.used, hard: quota.hard) {
            refusals[index] = "exceeded quota: \(quota.object.name), \(excess)"
            break
          }
          wanted.append((key, asked))
        }
        if refusals[index] != nil || charge.isDryRun { continue }
        for (key, asked) in wanted {
          guard var quota = quotas[key] else { continue }
          quota.used = quota.used + asked
          quota.isChanged = true
          quotas[key] = quota
          touched.append((key, index))
        }
      }
      var conflicts = false
      for (key, quota) in quotas where quota.isChanged {
        do throws(StoreError) {
          try await write(quota, namespace)
          for (name, index) in touched where name == key { done[index].insert(key) }
        } catch {
          switch error {
          case .conflict(let stored):
            if let newer = CachedObject(stored) { remember(newer, namespace) }
            conflicts = true
          case .notFound:
            // The quota is gone; so is its limit, as soon as the caches know.
            await state.caches.catchUp()
            lines.withLock { $0[namespace]?.written[key] = nil }
            conflicts = true
          default: return charges.map { _ in .failure(Failure.store(error)) }
          }
        }
      }
      if conflicts { continue }
      lines.withLock { lines in
        for (index, charge) in charges.enumerated() where refusals[index] == nil && !charge.isDryRun {
          lines[namespace]?.inFlight[charge.identifier] = charge
        }
      }
      return refusals.map { .success($0) }
    }
    return charges.map { charge in
      .failure(
        APIStatusError(
          code: 409, reason: "Conflict",
          message: "Operation cannot be fulfilled on resourcequotas \"\(namespace)\": "
            + "the quota is changed too often, please try again"))
    }
  }

  /// What a charge asks of a quota; nil when the quota is not about it.
  private static func asked(_ charge: QuotaCharge, of quota: Working) -> ResourceList? {
    let isNow = QuotaUsage.matches(quota: quota.object.tree, charge.object, charge.gvr)
    guard isNow else { return nil }
    var asked = charge.asked
    // It was not in the quota's scope before: all of it is new.
    if let old = charge.old, !QuotaUsage.matches(quota: quota.object.tree, old, charge.gvr) {
      asked = QuotaUsage.usage(of: charge.object, charge.gvr, now: Timestamp.now().seconds)
    }
    let amounts = asked.amounts.filter { quota.hard.amounts[$0.key] != nil && !$0.value.isZero }
    return amounts.isEmpty ? nil : ResourceList(amounts)
  }

  private func remember(_ object: CachedObject, _ namespace: String) {
    lines.withLock { $0[namespace]?.written[object.key] = object }
  }

  /// The namespace's quotas, newest known. One whose status does not speak of all its limits is counted now.
  private func present(_ namespace: String) async -> [String: Working] {
    var found: [String: Working] = [:]
    let written = lines.withLock { $0[namespace]?.written ?? [:] }
    for cached in state.objects(.resourceQuotas, namespace: namespace) {
      var object = cached
      if let own = written[cached.key], own.revision > cached.revision { object = own }
      let hard = ResourceList(object.tree.at("spec", "hard"))
      let told = ResourceList(object.tree.at("status", "hard"))
      var used = ResourceList(object.tree.at("status", "used"))
      var isChanged = false
      if told != hard || hard.amounts.keys.contains(where: { used.amounts[$0] == nil }) {
        used = await count(object.tree, namespace)
        isChanged = true
      }
      found[object.key] = Working(object: object, hard: hard, used: used, isChanged: isChanged)
    }
    return found
  }

  /// Counts what is stored and what is about to be.
  private func count(_ quota: JSON, _ namespace: String) async -> ResourceList {
    let inFlight = lines.withLock { Array(($0[namespace]?.inFlight ?? [:]).values) }
    await state.caches.catchUp()
    let registry = state.kinds.current
    let now = Timestamp.now().seconds
    let status = QuotaUsage.status(
      of: quota,
      objects: { group, resource in
        guard let kind = registry.kinds.first(where: { $0.group == group && $0.plural == resource }) else {
          return nil
        }
        let stored = state.objects(kind.gvr, namespace: namespace)
        let keys = Set(stored.map(\.key))
        let coming = inFlight.filter { $0.gvr.group == group && $0.gvr.resource == resource }
          .map(\.object).filter { !keys.contains(RESTCore.key(kind, namespace, $0.name)) }
        return (kind.gvr, stored.map { $0.served(as: kind).tree } + coming)
      }, now: now)
    return ResourceList(status["used"])
  }

  /// Writes a quota's status. Who only changed its labels meanwhile is no reason to judge again.
  private func write(_ quota: Working, _ namespace: String) async throws(StoreError) {
    guard let kind = state.kinds.current[.resourceQuotas] else { return }
    var base = quota.object
    for attempt in 0..<Self.triesMax {
      await state.core?.turns.pass(base.key)
      var tree = base.tree
      tree.set(QuotaUsage.written(quota.hard), at: "status", "hard")
      tree.set(
        QuotaUsage.written(ResourceList(quota.used.amounts.filter { quota.hard.amounts[$0.key] != nil })),
        at: "status", "used")
      do throws(StoreError) {
        let revision = try await state.store.update(
          base.key, RESTCore.stored(tree, kind).bytes, expecting: base.revision)
        remember(CachedObject(key: base.key, revision: revision, tree: tree), namespace)
        return
      } catch {
        guard case .conflict(let stored) = error, attempt + 1 < Self.triesMax,
          let newer = CachedObject(stored), newer.tree.spec == base.tree.spec,
          newer.tree.status == base.tree.status
        else { throw error }
        base = newer
      }
    }
  }
}

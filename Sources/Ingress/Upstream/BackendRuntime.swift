// A backend at work on one worker: whose turn it is among its endpoints, and what its requests count for.

import Addresses
import Diagnostics
import Reactor

/// A backend at work: its pools and the metrics of its routes.
final class BackendRuntime {
  let backend: RouteBackend
  let pools: [UpstreamPool]
  let policy: BackendPolicy
  // Known when a table is put in force, so that a request without settings asks once.
  let hasTimeouts: Bool
  let readMilliseconds: UInt64?
  let connectMilliseconds: UInt64?
  /// Answers tell how endpoints are, and some are thrown away for another try.
  let watchesOutcome: Bool
  let retriesStatuses: Bool
  let hasBudget: Bool
  let hasMirrors: Bool
  var budget: RetryBudget
  /// Nil for the plain way.
  private var chooser: Chooser?
  private let hashName: [UInt8]
  private var next = 0
  private var lastKey = UInt64.max
  private var last: RouteMeter?
  private var meters: [UInt64: RouteMeter] = [:]

  init(_ backend: RouteBackend, pools: [UpstreamPool], seed: UInt64 = 1) {
    self.backend = backend
    self.pools = pools
    policy = backend.policy
    watchesOutcome = policy.health.failures > 0
    retriesStatuses = !policy.retry.statuses.isEmpty
    hasMirrors = !policy.mirrors.isEmpty
    hasBudget = policy.retry.budgetPercent > 0
    budget = RetryBudget(percent: Int(policy.retry.budgetPercent), free: Int(policy.retry.budgetMin))
    hashName =
      switch policy.balancing {
      case .consistentHash(.header(let name)), .consistentHash(.cookie(let name)),
        .consistentHash(.endpoint(let name)):
        name.utf8.map(lowercase)
      default: []
      }
    if !policy.choosesPlainly {
      // Clients see an endpoint's number where a cookie names it: it tells no address, and is none of another Service's.
      let owner = policy.namesEndpoints ? "\(backend.namespace)/\(backend.service) " : ""
      chooser = Chooser(
        policy.balancing, hashes: pools.map { Chooser.hash("\(owner)\($0.endpoint)".utf8) },
        traits: policy.endpoints, seed: seed)
    }
    let timeouts = policy.timeouts
    hasTimeouts = timeouts.request > 0 || timeouts.backendRequest > 0
    readMilliseconds = timeouts.idle > 0 ? UInt64(timeouts.idle) : nil
    connectMilliseconds = timeouts.connect > 0 ? UInt64(timeouts.connect) : nil
  }

  func triesMax(_ limits: IngressLimits) -> Int {
    policy.retry.tries > 0 ? Int(policy.retry.tries) : limits.triesMax
  }

  /// Endpoints looked at for one choice: enough to find the least busy, constant for any number of them.
  static let candidatesMax = 8

  /// The endpoint with the fewest requests among the next few in turn; one that failed lately only if all
  /// did.
  func choose(now: UInt64, avoiding failed: UpstreamPool?) -> UpstreamPool? {
    let count = pools.count
    guard count > 0 else { return nil }
    next = next + 1 < count ? next + 1 : 0
    var best: UpstreamPool?
    var bestCost = Int.max
    for offset in 0..<min(count, Self.candidatesMax) {
      let pool = pools[next + offset < count ? next + offset : next + offset - count]
      var cost = pool.active
      if pool.failedUntil > now { cost += 1 << 32 }
      if pool === failed { cost += 1 << 40 }
      if cost < bestCost {
        best = pool
        bestCost = cost
      }
    }
    return best
  }

  /// The meter of one route, method and status. The look-up is a comparison while they repeat.
  func meter(
    _ match: RouteTable.Match, _ hosts: [RouteHost], _ method: HTTPMethod, _ status: Int,
    _ routes: RouteMeters
  ) -> RouteMeter {
    let key =
      UInt64(UInt16(truncatingIfNeeded: status)) << 48 | UInt64(method.rawValue) << 44
      | UInt64(truncatingIfNeeded: match.host & 0x3f_ffff) << 22
      | UInt64(truncatingIfNeeded: match.path & 0x3f_ffff)
    if key == lastKey, let last { return last }
    let found: RouteMeter
    if let known = meters[key] {
      found = known
    } else {
      let host = match.host >= 0 ? hosts[match.host] : nil
      let path = host.map { String(decoding: $0.paths[match.path].path, as: UTF8.self) } ?? ""
      found = routes.meter(
        RouteSeries(
          ingress: backend.ingress, namespace: backend.namespace, service: backend.service,
          host: host?.name ?? "_", path: path.isEmpty ? "/" : path, method: method.name,
          status: String(status),
          canary: backend.isCanary
            ? "\(backend.namespace)-\(backend.service)-\(backend.servicePort)" : ""))
      meters[key] = found
    }
    last = found
    lastKey = key
    return found
  }
}

extension BackendPolicy {
  /// A client's cookie says which endpoint it has.
  var namesEndpoints: Bool { if case .consistentHash(.endpoint) = balancing { true } else { false } }

  /// The least busy of the next few is as good an endpoint as any.
  fileprivate var choosesPlainly: Bool {
    balancing == .leastRequests && endpoints.isEmpty && health.failures == 0 && health.check == nil
      && circuit.requests == 0 && slowStart == 0
  }
}

extension BackendRuntime {
  /// The endpoint for a request that is ready to be sent.
  func choose(for exchange: Exchange, now: UInt64, avoiding failed: UpstreamPool?) -> UpstreamPool? {
    guard chooser != nil else { return choose(now: now, avoiding: failed) }
    let found = choose(
      key: exchange.boundKey ?? key(of: exchange.request.readable), now: now, avoiding: failed)
    if found == nil, !pools.isEmpty { exchange.worker.metrics.overflows.increment() }
    return found
  }

  /// The number of an endpoint for a new client; nil when a cookie's value names one, or none can be had.
  /// - Parameter value: of the client's cookie; empty without one.
  func newPin(_ value: UnsafeRawBufferPointer, now: UInt64) -> UInt64? {
    guard policy.namesEndpoints, chooser?.pin(Self.pin(value)) == nil else { return nil }
    return choose(key: 0, now: now, avoiding: nil).map { pool in
      Chooser.hash("\(backend.namespace)/\(backend.service) \(pool.endpoint)".utf8)
    }
  }

  /// The number that a cookie says; 0 for none.
  private static func pin(_ text: some Sequence<UInt8>) -> UInt64 {
    var (value, count): (UInt64, Int) = (0, 0)
    for byte in text {
      let digit: UInt8
      switch byte {
      case 48...57: digit = byte - 48
      case 97...102: digit = byte - 87
      default: return 0
      }
      count += 1
      if count > 16 { return 0 }
      value = value << 4 | UInt64(digit)
    }
    return value
  }

  /// The endpoint for a client's connection or datagrams.
  func choose(for client: IPAddress, now: UInt64, avoiding failed: UpstreamPool?) -> UpstreamPool? {
    guard chooser != nil else { return choose(now: now, avoiding: failed) }
    return choose(key: Chooser.hash("\(client)".utf8), now: now, avoiding: failed)
  }

  private func choose(key: UInt64, now: UInt64, avoiding failed: UpstreamPool?) -> UpstreamPool? {
    let avoided = failed.flatMap { failed in pools.firstIndex { $0 === failed } }
    return chooser?.choose(key: key, avoiding: avoided) { state(of: pools[$0], now) }.map { pools[$0] }
  }

  private func state(of pool: UpstreamPool, _ now: UInt64) -> EndpointState {
    var warmth = 1000
    if policy.slowStart > 0, pool.bornAt > 0 {
      let age = (now &- pool.bornAt) / 1_000_000
      warmth = Int(max(100, min(1000, age * 1000 / UInt64(policy.slowStart))))
    }
    let most = Int(policy.circuit.requests)
    return EndpointState(
      active: pool.active, isOut: pool.isOut(now: now), isFull: most > 0 && pool.active >= most,
      warmth: warmth)
  }

  /// What consistent hashing goes by, out of the head as it goes to the endpoint.
  private func key(of head: UnsafeRawBufferPointer) -> UInt64 {
    guard case .consistentHash(let by) = policy.balancing else { return 0 }
    if by == .target {
      let parts = head.prefix { $0 != 13 }.split(separator: 32)
      return parts.count > 1 ? Chooser.hash(parts[1]) : 0
    }
    var source: UInt64 = 0
    var found: UInt64?
    Trailers.forEachLine(in: head) { name, value in
      if HeadReader.equals(head, name, "x-real-ip") { source = Chooser.hash(head[value]) }
      switch by {
      case .header:
        let isNamed =
          name.count == hashName.count && zip(head[name], hashName).allSatisfy { lowercase($0) == $1 }
        if isNamed, found == nil { found = Chooser.hash(head[value]) }
      case .cookie where HeadReader.equals(head, name, "cookie"),
        .endpoint where HeadReader.equals(head, name, "cookie"):
        for crumb in head[value].split(separator: 59) {
          let text = crumb.drop { $0 == 32 }
          guard text.count > hashName.count, text[text.startIndex + hashName.count] == 61,
            zip(text, hashName).allSatisfy({ lowercase($0) == $1 })
          else { continue }
          let value = text.dropFirst(hashName.count + 1)
          found = policy.namesEndpoints ? Self.pin(value) : Chooser.hash(value)
        }
      default: break
      }
    }
    return found ?? source
  }

  /// What a try says of its endpoint.
  func noteOutcome(_ pool: UpstreamPool, isFailure: Bool, now: UInt64, _ metrics: IngressMetrics) {
    guard isFailure else { return pool.outlier.noteSuccess(now: now) }
    // A copy: the count of those that are out looks at this one too.
    var outlier = pool.outlier
    let goes = outlier.noteFailure(policy.health, now: now) {
      let out = pools.count { $0.isOut(now: now) }
      return out == 0 || (out + 1) * 100 <= pools.count * Int(policy.health.ejectedPercentMax)
    }
    pool.outlier = outlier
    if goes { metrics.ejections.child("failures").increment() }
  }

  /// Begins the active checks that the policy asks for, where they do not run yet.
  func keepChecking(_ worker: IngressWorker) {
    guard let check = policy.health.check else { return }
    for pool in pools {
      if pool.check?.check == check { continue }
      pool.check?.stop()
      pool.check = EndpointCheck(check, pool, worker)
    }
  }
}

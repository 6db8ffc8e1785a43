// The endpoints of a table's backends on one worker. A table that follows keeps those it names too, with their connections and what
// is known of them.

import Diagnostics
import Reactor

struct PoolSet {
  private var pools: [UpstreamKey: UpstreamPool] = [:]
  /// TLS towards endpoints, by its settings.
  private var security: [UpstreamTLS: TLSContext] = [:]
  /// Endpoints of the first table are not new.
  private var hasTable = false

  /// Backends of a new table, and the endpoints that it does not name: to be retired when it is in force.
  mutating func replace(
    _ backends: [RouteBackend], _ worker: IngressWorker
  ) -> (backends: [BackendRuntime], gone: [UpstreamPool]) {
    var kept: [UpstreamKey: UpstreamPool] = [:]
    var contexts: [UpstreamTLS: TLSContext] = [:]
    let runtimes = backends.map { backend in
      let settings = UpstreamSettings(backend.policy)
      if let tls = settings.tls, contexts[tls] == nil {
        contexts[tls] = security[tls] ?? Self.context(tls, worker)
      }
      return BackendRuntime(
        backend,
        pools: backend.endpoints.map { endpoint in
          let key = UpstreamKey(endpoint: endpoint, settings: settings)
          let pool =
            kept[key] ?? pools[key]
            ?? UpstreamPool(
              endpoint, settings, security: settings.tls.flatMap { contexts[$0] },
              bornAt: hasTable ? worker.reactor.now : 0)
          kept[key] = pool
          return pool
        }, seed: worker.nextRequestID().0 | 1)
    }
    hasTable = true
    security = contexts
    for backend in runtimes { backend.keepChecking(worker) }
    let gone = pools.filter { kept[$0.key] == nil }.map(\.value)
    pools = kept
    return (runtimes, gone)
  }

  /// Nil when OpenSSL takes something of it as unreadable: its endpoints cannot be reached then (502).
  private static func context(_ tls: UpstreamTLS, _ worker: IngressWorker) -> TLSContext? {
    let made = TLSContext(client: tls, outputBytesMax: worker.limits.readBytesMax + (64 << 10))
    if made == nil { worker.metrics.unusableTLS.increment() }
    return made
  }

  /// Closes connections that nobody has used since `keep` nanoseconds before now.
  func tick(now: UInt64, keep: UInt64) {
    for pool in pools.values where !pool.idle.isEmpty || !pool.sessions.isEmpty {
      pool.tick(now: now, keep: keep)
    }
  }
}

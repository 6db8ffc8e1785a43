// What a server does all the time, beside answering.

import ClusterStore
import Diagnostics
import Logging

/// Upkeep of builtin objects, certificates and history.
struct ServerChores: Sendable {
  let store: any Store
  let caches: ObjectCaches
  let upkeep: CertificateUpkeep
  /// Superseded versions are kept at least this long.
  let historySeconds: Int

  /// Until the task is cancelled. Every ten seconds the builtin objects that somebody deleted come back: without Service
  /// `default/kubernetes` no pod finds the API. Certificates, bookmarks and expiry each minute; compaction to where the store stood
  /// `historySeconds` ago.
  func run(restore: () async throws -> Void) async {
    let objects = Metrics.shared.gauge(
      "apiserver_storage_objects", "Objects by resource.", labels: ["resource"])
    let watches = Metrics.shared.gauge(
      "apiserver_longrunning_requests", "Open watches.", labels: ["resource"])
    var past: [Revision] = []
    let minutes = max(1, historySeconds / 60)
    while !Task.isCancelled {
      for (resource, cache) in caches.all {
        objects.child(resource).set(Double(cache.count))
        watches.child(resource).set(Double(cache.watchCount))
      }
      for _ in 0..<6 {
        do { try await Task.sleep(for: .seconds(10)) } catch { return }
        // A writer that was quicker, or a store that is full: the next round tries again.
        try? await restore()
      }
      do { try await upkeep.refresh() } catch {
        upkeep.log.error("certificates stay as they are", metadata: ["error": "\(error)"])
      }
      caches.bookmark()
      store.expire()
      past.append(store.currentRevision)
      if past.count > minutes { try? await forget(before: past.removeFirst()) }
    }
  }

  /// Superseded versions up to `revision` go, and what pages of lists were cut from before it.
  func forget(before revision: Revision) async throws(StoreError) {
    try await store.compact(to: revision)
    for (_, cache) in caches.all { cache.forgetSnapshots(before: revision) }
  }
}

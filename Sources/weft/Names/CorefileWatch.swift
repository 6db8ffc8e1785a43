// `reload`: a Corefile and the files that it names are looked at from time to time, and taken over when they have changed.

import Diagnostics
import Logging

enum CorefileWatch {
  /// Looks until the task is cancelled, or at once never, when the configuration asks for no looking.
  /// - Parameters:
  ///   - first: what is served now.
  ///   - take: serves by a changed configuration. What it throws is said and counted, and changes nothing; nor does a file that
  ///     cannot be read.
  static func run(
    _ path: String, _ first: DNSPlan, take: (DNSPlan) async throws -> Void
  ) async {
    let log = Logger(label: "dns")
    let failures = Metrics.shared.counter(
      "coredns_reload_failed_total", "Changed configurations that could not be taken."
    ).child()
    var source = first.source
    var current = first
    var signature = first.signature
    var dueAt = 0.0
    let clock = ContinuousClock()
    let began = clock.now
    while true {
      // Servers that look together would also stop together: each waits a time of its own.
      let seconds = min(current.fileReloadSeconds ?? .infinity, current.reloadSeconds ?? .infinity)
      guard seconds.isFinite,
        (try? await Task.sleep(for: .seconds(seconds + .random(in: 0...seconds / 2)))) != nil
      else { return }
      // Without `reload`, and before its time, the Corefile stays as it was and only the files that it names are looked at.
      let now = (clock.now - began) / .seconds(1)
      let isDue = current.reloadSeconds.map { _ in now >= dueAt } ?? false
      if isDue, let seconds = current.reloadSeconds { dueAt = now + seconds - 0.001 }
      let looks = current.signature
      if !isDue, looks == signature { continue }
      signature = looks
      do {
        let read = try CorefilePlan.read(path, text: isDue ? nil : current.text)
        guard read.source != source else { continue }
        source = read.source
        try await take(read)
        (current, signature) = (read, read.signature)
        for warning in read.warnings { log.warning("\(warning)") }
        log.info("configuration reloaded", metadata: ["file": "\(path)"])
      } catch {
        failures.increment()
        log.error("configuration not reloaded", metadata: ["error": "\(error)"])
      }
    }
  }
}

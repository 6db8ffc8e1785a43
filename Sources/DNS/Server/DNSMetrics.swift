// The server's numbers under CoreDNS's names, so that dashboards work unchanged.

import Addresses
import Diagnostics
import Synchronization

/// Adds the threads' tallies up into metric families each time metrics are read.
final class DNSMetrics: Sendable {
  private let metrics: Metrics
  private let tallies: [Tally]
  private let seen: Mutex<[[UInt64]]>
  let server: String
  private let zone: String
  let programming: MetricFamily<Histogram>
  let forward: ForwardMetrics
  let plugins: PluginMetrics

  init(_ metrics: Metrics, tallies: [Tally], server: String, zone: DomainName) {
    self.metrics = metrics
    self.tallies = tallies
    self.server = server
    self.zone = "\(zone)"
    seen = Mutex(tallies.map { _ in Array(repeating: 0, count: Tally.Part.count) })
    programming = metrics.histogram(
      "coredns_kubernetes_dns_programming_duration_seconds",
      "Seconds from a change of endpoints to the zone that has it.", labels: ["service_kind"],
      bounds: (0..<20).map { 0.001 * Double(1 << $0) })
    forward = ForwardMetrics(metrics)
    plugins = PluginMetrics(metrics)
    _ = metrics.counter(
      "coredns_reload_failed_total", "Changed configurations that could not be taken.")
    metrics.counter("coredns_panics_total", "Always 0: there is no panic to recover from.").child().increment(
      by: 0)
    metrics.onCollect { [weak self] in self?.collect() }
  }

  /// Says which plugins a block has.
  func note(_ block: ServerBlock, _ zone: DomainName) {
    let enabled = metrics.gauge(
      "coredns_plugin_enabled", "1 for each plugin of a server block.",
      labels: ["server", "zone", "view", "name"])
    for plugin in block.plugins { enabled.child(server, "\(zone)", block.view?.name ?? "", plugin).set(1) }
    guard let hosts = block.hosts else { return }
    metrics.gauge(
      "coredns_hosts_entries", "Addresses of names and names of addresses that hosts has.",
      labels: ["hostsfile"]
    ).child(hosts.path).set(Double(hosts.entryCount))
    metrics.gauge(
      "coredns_hosts_reload_timestamp_seconds",
      "When the entries of hosts were read last, seconds since 1970."
    ).child().set(Double(Timestamp.now().seconds))
  }

  private func collect() {
    seen.withLock { seen in
      for (index, tally) in tallies.enumerated() {
        var now: [UInt64] = []
        for cell in 0..<Tally.Part.count { now.append(tally.value(cell)) }
        publish(zip(now, seen[index]).map { $0 &- $1 }, gauges: now, first: index == 0)
        seen[index] = now
      }
    }
  }

  private func publish(_ added: [UInt64], gauges: [UInt64], first: Bool) {
    let requests = metrics.counter(
      "coredns_dns_requests_total", "Queries.", labels: ["server", "zone", "view", "proto", "family", "type"])
    let names = Tally.Part.types.map(\.description) + ["other"]
    for index in 0..<Tally.Part.requestCount where added[Tally.Part.requests + index] > 0 {
      let kind = index % 13
      let rest = index / 13
      requests.child(
        server, rest & 4 == 0 ? "." : zone, "", rest & 2 == 0 ? "udp" : "tcp", rest & 1 == 0 ? "1" : "2",
        names[kind]
      ).increment(by: added[Tally.Part.requests + index])
    }
    let wanted = metrics.counter(
      "coredns_dns_do_requests_total", "Queries that ask for DNSSEC records.",
      labels: ["server", "zone", "view"])
    for (place, name) in [(Tally.Other.dnssecWanted, zone), (.dnssecWantedForwarded, ".")] {
      let count = added[Tally.Part.others + place.rawValue]
      if count > 0 { wanted.child(server, name, "").increment(by: count) }
    }
    let responses = metrics.counter(
      "coredns_dns_responses_total", "Replies by response code.",
      labels: ["server", "zone", "view", "rcode", "plugin"])
    let durations = metrics.histogram(
      "coredns_dns_request_duration_seconds", "Seconds a query took.", labels: ["server", "zone", "view"],
      bounds: Tally.bounds)
    for zoneIndex in 0..<2 {
      let name = zoneIndex == 0 ? "." : zone
      for code in 0..<8 where added[Tally.Part.responses + zoneIndex * 8 + code] > 0 {
        responses.child(
          server, name, "", ResponseCode(rawValue: UInt16(code)).description,
          zoneIndex == 0 ? "forward" : "kubernetes"
        ).increment(by: added[Tally.Part.responses + zoneIndex * 8 + code])
      }
      let start = Tally.Part.buckets + zoneIndex * 17
      durations.child(server, name, "").merge(
        counts: Array(added[start..<start + 17]), sum: Double(added[Tally.Part.sums + zoneIndex]) * 1e-9)
    }
    for (start, name, help) in [
      (Tally.Part.querySizes, "coredns_dns_request_size_bytes", "Octets of a query."),
      (Tally.Part.replySizes, "coredns_dns_response_size_bytes", "Octets of a reply."),
    ] {
      let family = metrics.histogram(
        name, help, labels: ["server", "zone", "view", "proto"], bounds: Tally.sizeBounds.map(Double.init))
      for place in 0..<4 {
        let counts = Array(added[start + place * 15..<start + place * 15 + 15])
        guard counts.contains(where: { $0 > 0 }) else { continue }
        family.child(server, place < 2 ? "." : zone, "", place % 2 == 0 ? "udp" : "tcp")
          .merge(counts: counts, sum: Double(added[start + 60 + place]))
      }
    }
    func other(_ other: Tally.Other) -> UInt64 { added[Tally.Part.others + other.rawValue] }
    let hits = metrics.counter(
      "coredns_cache_hits_total", "Answers from the cache.", labels: ["server", "type"])
    hits.child(server, "success").increment(by: other(.cacheHit))
    hits.child(server, "denial").increment(by: other(.cacheDenialHit))
    metrics.counter(
      "coredns_cache_misses_total", "Forwarded names the cache did not have.", labels: ["server"]
    )
    .child(server).increment(by: other(.cacheMiss))
    metrics.counter(
      "coredns_cache_requests_total", "Forwarded names the cache was asked for.", labels: ["server"]
    ).child(server).increment(by: other(.cacheMiss) + other(.cacheHit) + other(.cacheDenialHit))
    metrics.counter(
      "coredns_cache_evictions_total", "Answers that another took the place of before their time.",
      labels: ["server"]
    ).child(server).increment(by: other(.cacheEviction))
    metrics.counter(
      "coredns_forward_max_concurrent_rejects_total", "Queries refused since too many waited for upstream."
    ).child().increment(by: other(.forwardReject))
    metrics.counter(
      "coredns_cache_served_stale_total", "Answers given after their time.", labels: ["server"]
    ).child(server).increment(by: other(.cacheStale))
    metrics.counter(
      "coredns_cache_prefetch_total", "Answers fetched again before their time.", labels: ["server"]
    ).child(server).increment(by: other(.cachePrefetch))
    metrics.counter(
      "weft_dns_rate_limited_total", "Replies held back, or sent cut, since their network got too many."
    ).child().increment(by: other(.limited))
    metrics.counter(
      "weft_dns_denied_answers_total", "Upstream answers with addresses that their names may not have."
    ).child().increment(by: other(.addressDenied))
    metrics.counter("weft_dns_dropped_total", "Datagrams that were no query.").child()
      .increment(by: other(.dropped))
    metrics.counter("weft_dns_connection_rejects_total", "TCP connections closed since too many were open.")
      .child()
      .increment(by: other(.connectionReject))
    let entries = metrics.gauge("coredns_cache_entries", "Answers in the cache.", labels: ["server"]).child(
      server)
    if first { entries.set(0) }
    entries.add(Double(gauges[Tally.Part.others + Tally.Other.cacheEntries.rawValue]))
  }
}

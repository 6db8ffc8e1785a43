// Goal: while the API server is away, nothing in the kernel changes, and afterwards the rules are what became of the cluster meanwhile.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Glibc
import KernelNftables
import Logging
import NamespaceLab
import Policy
import Proxy
import Ruleset
import Synchronization
import Testing

private func service(_ number: Int) -> JSON {
  [
    "apiVersion": "v1", "kind": "Service",
    "metadata": ["name": JSON("s\(number)"), "namespace": "demo"],
    "spec": [
      "clusterIP": JSON("10.43.0.\(number)"), "ports": [["name": "http", "port": 80, "protocol": "TCP"]],
    ],
  ]
}

private func slice(_ number: Int, _ address: String) -> JSON {
  [
    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": [
      "name": JSON("s\(number)-1"), "namespace": "demo",
      "labels": ["kubernetes.io/service-name": JSON("s\(number)")],
    ],
    "ports": [["name": "http", "port": 8080, "protocol": "TCP"]],
    "endpoints": [["addresses": [JSON(address)], "conditions": ["ready": true]]],
  ]
}

private struct Gone: Error {}

/// Asks again and again until it holds, at most 20 seconds.
private func becomes(_ condition: () async throws -> Bool) async throws -> Bool {
  for _ in 0..<400 {
    if try await condition() { return true }
    try await Task.sleep(for: .milliseconds(50))
  }
  return false
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct AwayTests {
  @Test(arguments: [false, true])
  func `while the API server is away the rules stay, and follow when it is back`(isExpired: Bool) async throws
  {
    let api = MemoryClusterAPI()
    for number in 1...5 {
      api.put(.services, service(number))
      api.put(.endpointSlices, slice(number, "10.42.0.\(number)"))
    }
    var settings = InformerSettings()
    settings.retry = RetryPolicy(initial: .milliseconds(1), maximum: .milliseconds(5))
    let informers = SharedInformers(api: api, settings: settings, metrics: Metrics())
    let follower = ViewFollower()
    let worker = try inFreshNamespace { try RulesetWorker(owned: NodeNetwork.tables) }
    let syncer = ProxySyncer(
      worker: worker, configuration: ProxyConfiguration(nodeName: "n1", families: [.v4]),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, metrics: Metrics())
    let network = NodeNetwork(
      follower: follower, worker: worker, proxy: syncer, policy: nil, book: nil,
      comparisonPeriod: .milliseconds(200))
    try await follower.start(informers, resources: [.services, .endpointSlices, .nodes])
    let loop = Task { await network.run() }
    func targets() async throws -> Set<String> {
      let table = try await worker.perform { try $0.socket.observe([ProxyTables.id(.v4)]) }
        .tables[ProxyTables.id(.v4)]
      return Set(
        (table?.sets["backends"]?.elements ?? [:]).values.map {
          guard case .data(let data) = $0.value else { return "?" }
          return data.bytes.prefix(4).map(String.init).joined(separator: ".")
        })
    }
    #expect(try await becomes { try await targets().count == 5 })
    let before = try await worker.perform { try $0.socket.generation() }

    // Away: watches end, nothing can be listed or watched. The server goes on without us.
    let asked = Mutex(0)
    api.inject { _, _ in
      asked.withLock { $0 += 1 }
      return Gone()
    }
    api.dropWatches()
    api.remove(.services, ObjectKey("demo", "s5"))
    api.remove(.endpointSlices, ObjectKey("demo", "s4-1"))
    api.put(.endpointSlices, slice(1, "10.42.0.101"))
    if isExpired { api.expireHistory() }
    // Hundreds of failures, as in an hour of real ones; the safety net has looked several times.
    #expect(try await becomes { asked.withLock { $0 } > 300 })
    try await Task.sleep(for: .milliseconds(500))
    #expect(try await targets() == ["10.42.0.1", "10.42.0.2", "10.42.0.3", "10.42.0.4", "10.42.0.5"])
    #expect(try await worker.perform { try $0.socket.generation() } == before, "nothing was sent at all")

    api.inject(nil)
    #expect(try await becomes { try await targets() == ["10.42.0.101", "10.42.0.2", "10.42.0.3"] })
    follower.stop()
    loop.cancel()
    await loop.value
    await informers.stop()
    worker.stop(removingTables: true)
  }
}

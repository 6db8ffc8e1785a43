// How long a change takes from the API to the kernel, both ends seen from outside. See README.md.

import Addresses
import ClusterClient
import ClusterObjects
import Glibc
import KernelNftables
import Proxy
import Ruleset

func say(_ key: String, _ value: Double) {
  var text = "\(key) \((value * 1000).rounded() / 1000)\n"
  _ = text.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

func fail(_ text: String) -> Never {
  var text = text + "\n"
  _ = text.withUTF8 { write(2, $0.baseAddress, $0.count) }
  exit(1)
}

struct Written {
  static let table = ProxyTables.id(.v4)
  /// Longer is a failure, not a figure.
  static let patience: Duration = .seconds(60)
  let api: RemoteClient

  private func name(_ index: Int) -> String { "bench\(index)" }

  private func endpoints(_ index: Int, shifted: Int = 0) -> JSON {
    let list: [JSON] = (0..<2).map { slot in
      let number = slot == 0 && shifted > 0 ? 100_000 + shifted : index * 2 + slot
      let address = "10.\(128 + number / 62500).\(number / 250 % 250).\(number % 250 + 1)"
      return ["addresses": [JSON(address)], "conditions": ["ready": true]]
    }
    return .array(list)
  }

  /// Services and slices, several at a time.
  func make(_ count: Int) async throws {
    let options = WriteOptions(fieldManager: "bench")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<count {
        if index >= 16 { try await group.next() }
        group.addTask {
          let service: JSON = [
            "apiVersion": "v1", "kind": "Service",
            "metadata": ["name": JSON(name(index)), "namespace": "default"],
            "spec": ["ports": [["name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080]]],
          ]
          _ = try await api.create(.services, service, options: options)
          let slice: JSON = [
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": [
              "name": JSON("\(name(index))-1"), "namespace": "default",
              "labels": ["kubernetes.io/service-name": JSON(name(index))],
            ],
            "ports": [["name": "http", "port": 8080, "protocol": "TCP"]], "endpoints": endpoints(index),
          ]
          _ = try await api.create(.endpointSlices, slice, options: options)
        }
      }
      try await group.waitForAll()
    }
  }

  /// Polls until the kernel holds as many endpoints.
  func settle(_ socket: NftablesSocket, _ count: Int) async throws {
    let deadline = ContinuousClock.now + Self.patience
    while ContinuousClock.now < deadline {
      let inForce = try socket.observe([Self.table])
      if inForce.tables[Self.table]?.sets["backends"]?.elements.count ?? 0 >= count { return }
      try await Task.sleep(for: .milliseconds(200))
    }
    fail("the kernel does not hold what was written")
  }

  /// Milliseconds from before the request until another generation is in force, and those until the server had answered.
  func change(_ socket: NftablesSocket, _ index: Int, _ round: Int) async throws -> (
    inForce: Double, answered: Double
  ) {
    let before = try socket.generation()
    let clock = ContinuousClock()
    let start = clock.now
    _ = try await api.patch(
      .endpointSlices, namespace: "default", name: "\(name(index))-1",
      patch: .merge(["endpoints": endpoints(index, shifted: round)]), subresource: nil,
      options: WriteOptions(fieldManager: "bench"))
    let answered = clock.now - start
    while try socket.generation() == before {
      guard clock.now - start < Self.patience else { fail("a change did not reach the kernel") }
      usleep(50)
    }
    func milliseconds(_ duration: Duration) -> Double { Double(duration / .nanoseconds(1)) / 1e6 }
    return (milliseconds(clock.now - start), milliseconds(answered))
  }
}

func percentile(_ values: [Double], _ share: Double) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
}

let words = CommandLine.arguments
guard words.count == 4, let services = Int(words[2]), let changes = Int(words[3]), services > 0, changes > 0
else { fail("usage: ProxyWriteBenchmark KUBECONFIG SERVICES CHANGES") }
let written = Written(api: try RemoteClient(kubeconfig: Kubeconfig(path: words[1])))
let socket = try NftablesSocket()
try await written.make(services)
try await written.settle(socket, services * 2)
var inForce: [Double] = []
var answered: [Double] = []
for round in 1...changes {
  let times = try await written.change(socket, round * 7919 % services, round)
  inForce.append(times.inForce)
  answered.append(times.answered)
  usleep(2000)
}
say("answered_p50_ms", percentile(answered, 0.5))
say("answered_p99_ms", percentile(answered, 0.99))
say("in_force_p50_ms", percentile(inForce, 0.5))
say("in_force_p99_ms", percentile(inForce, 0.99))

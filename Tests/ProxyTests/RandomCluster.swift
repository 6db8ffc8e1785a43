// A cluster that changes at random, as plain values, and what its Services must come to: written from the API's promises and
// from nothing of the planner, so that both can be held against each other.

import Addresses
import ClusterObjects
import ClusterView

/// The generator of a run; the seed is printed when something differs.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}

struct ModelEndpoint: Hashable {
  var address: String
  var node: String
  var isReady = true
  var isTerminating = false
  var zoneHint: String?
}

struct ModelPort: Hashable {
  var name: String
  var transport: String
  var port: Int
  var nodePort: Int?
}

struct ModelService: Hashable {
  var name: String
  var created: Int
  var clusterIP: String
  var ports: [ModelPort]
  var externalIPs: [String] = []
  var balancerIPs: [String] = []
  var isExternalLocal = false
  var isInternalLocal = false
  var affinity: Int?
  var weightOfN1: Int?
  var isMaglev = false
  var isLeftToAnother = false
}

/// Where packets to one address and port go, or what becomes of them.
struct Expectation: Hashable, CustomStringConvertible {
  /// cluster, external, externalLocal, reject or drop.
  var kind: String
  /// With how many slots each; of a hash, once each.
  var targets: [String: Int] = [:]
  /// Of policy Local, for strangers; nil: dropped.
  var local: [String: Int]?
  var description: String {
    "\(kind) \(targets.sorted { $0.key < $1.key }) local \(local.map { "\($0.sorted { $0.key < $1.key })" } ?? "-")"
  }
}

/// Services by name, and endpoints by the same names, whether there is a Service or not.
struct ModelCluster {
  var services: [String: ModelService] = [:]
  var endpoints: [String: [ModelEndpoint]] = [:]
  var zone: String? = nil
  private var clock = 1000
  private let memory = Memory()

  /// What a Service came to when it was last asked for, by all that it depends on: most of them do not change.
  private final class Memory {
    struct Known {
      var service: ModelService
      var endpoints: [ModelEndpoint]
      var zone: String?
      var ports: [(port: ModelPort, inside: Expectation, outside: Expectation)]
    }
    var known: [String: Known] = [:]
  }

  static let addresses = (11...22).map { "10.42.0.\($0)" }
  static let shared = ["203.0.113.1", "203.0.113.2"]

  // MARK: - Change

  /// One random step; returns the object that changed, or the kind and name of one that went.
  mutating func step(_ random: inout SplitMix) -> (apply: JSON?, remove: (kind: String, key: ObjectKey)?) {
    let index = Int.random(in: 0..<24, using: &random)
    let name = "s\(index)"
    switch Int.random(in: 0..<20, using: &random) {
    case 0...2:
      services[name] = make(name, index, &random)
      return (services[name]?.json, nil)
    case 3:
      services[name] = nil
      return (nil, ("Service", ObjectKey("demo", name)))
    case 4:
      endpoints[name] = nil
      return (nil, ("EndpointSlice", ObjectKey("demo", "\(name)-1")))
    case 5:
      zone = [nil, "a", "b"].randomElement(using: &random) ?? nil
      return (nodeObject, nil)
    case 6...11:
      let count = Int.random(in: 0...6, using: &random)
      endpoints[name] = (0..<count).map { _ in endpoint(&random) }
      return (sliceJSON(name), nil)
    default:
      var list = endpoints[name] ?? []
      if !list.isEmpty, Bool.random(using: &random) {
        list.remove(at: Int.random(in: 0..<list.count, using: &random))
      } else {
        list.append(endpoint(&random))
      }
      endpoints[name] = list
      return (sliceJSON(name), nil)
    }
  }

  private func endpoint(_ random: inout SplitMix) -> ModelEndpoint {
    let state = Int.random(in: 0..<10, using: &random)
    return ModelEndpoint(
      address: Self.addresses.randomElement(using: &random) ?? "10.42.0.11",
      node: Bool.random(using: &random) ? "n1" : "n2", isReady: state > 1, isTerminating: state == 0,
      zoneHint: Int.random(in: 0..<4, using: &random) == 0 ? nil : ["a", "b"].randomElement(using: &random))
  }

  private mutating func make(_ name: String, _ index: Int, _ random: inout SplitMix) -> ModelService {
    func chance(_ of: Int, _ random: inout SplitMix) -> Bool { Int.random(in: 0..<of, using: &random) == 0 }
    clock += 1
    var ports = [ModelPort(name: "http", transport: "TCP", port: 80)]
    if chance(3, &random) { ports.append(ModelPort(name: "dns", transport: "UDP", port: 53)) }
    for at in ports.indices where chance(2, &random) {
      ports[at].nodePort = Int.random(in: 30000...30008, using: &random)
    }
    var service = ModelService(
      name: name, created: services[name]?.created ?? clock, clusterIP: "10.43.0.\(index + 1)", ports: ports)
    if chance(4, &random) { service.externalIPs = [Self.shared.randomElement(using: &random) ?? ""] }
    if chance(4, &random) { service.balancerIPs = [Self.shared.randomElement(using: &random) ?? ""] }
    service.isExternalLocal = chance(3, &random)
    service.isInternalLocal = chance(5, &random)
    if chance(5, &random) { service.affinity = chance(2, &random) ? 60 : 10800 }
    if chance(5, &random) { service.weightOfN1 = Int.random(in: 0...3, using: &random) }
    service.isMaglev = chance(8, &random)
    service.isLeftToAnother = chance(12, &random)
    return service
  }

  // MARK: - Objects

  var nodeObject: JSON {
    let labels: JSON = zone.map { ["topology.kubernetes.io/zone": JSON($0)] } ?? [:]
    return ["kind": "Node", "metadata": ["name": "n1", "labels": labels]]
  }

  func sliceJSON(_ name: String) -> JSON {
    let list: [JSON] = (endpoints[name] ?? []).map { endpoint in
      var tree: JSON = [
        "addresses": [JSON(endpoint.address)], "nodeName": JSON(endpoint.node),
        "conditions": [
          "ready": .bool(endpoint.isReady), "serving": .bool(endpoint.isReady || endpoint.isTerminating),
          "terminating": .bool(endpoint.isTerminating),
        ],
      ]
      if let hint = endpoint.zoneHint { tree["hints"] = ["forZones": [["name": JSON(hint)]]] }
      return tree
    }
    return [
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": JSON("\(name)-1"), "namespace": "demo", "labels": ["kubernetes.io/service-name": JSON(name)],
      ],
      "ports": [
        ["name": "http", "port": 8080, "protocol": "TCP"], ["name": "dns", "port": 5353, "protocol": "UDP"],
      ],
      "endpoints": .array(list),
    ]
  }

  // MARK: - What must come of it

  /// By `ADDRESS TRANSPORT PORT`, or `node TRANSPORT PORT`.
  var expectations: [String: Expectation] {
    var claims: [String: [(rank: Int, created: Int, name: String, is: Expectation)]] = [:]
    for service in services.values where !service.isLeftToAnother {
      for (port, inside, outside) in remembered(service) {
        let mine = (inside: inside, outside: outside)
        func claim(_ host: String, _ number: Int, _ rank: Int, _ expectation: Expectation) {
          claims["\(host) \(port.transport) \(number)", default: []].append(
            (rank, service.created, service.name, expectation))
        }
        claim(service.clusterIP, port.port, 0, mine.inside)
        for address in service.balancerIPs { claim(address, port.port, 1, mine.outside) }
        for address in service.externalIPs { claim(address, port.port, 2, mine.outside) }
        if let nodePort = port.nodePort { claim("node", nodePort, 0, mine.outside) }
      }
    }
    return claims.compactMapValues { list in
      list.min { ($0.rank, $0.created, $0.name) < ($1.rank, $1.created, $1.name) }?.is
    }
  }

  private func remembered(_ service: ModelService) -> [(
    port: ModelPort, inside: Expectation, outside: Expectation
  )] {
    let endpoints = endpoints[service.name] ?? []
    if let known = memory.known[service.name], known.endpoints == endpoints, known.service == service,
      known.zone == zone
    {
      return known.ports
    }
    let ports = service.ports.map { port in
      let result = expectations(of: service, port)
      return (port: port, inside: result.inside, outside: result.outside)
    }
    memory.known[service.name] = .init(service: service, endpoints: endpoints, zone: zone, ports: ports)
    return ports
  }

  private func expectations(of service: ModelService, _ port: ModelPort) -> (
    inside: Expectation, outside: Expectation
  ) {
    // The API lists an address once; of several entries the first ready one counts.
    var known: [String: ModelEndpoint] = [:]
    for endpoint in endpoints[service.name] ?? [] {
      if let other = known[endpoint.address], other.isReady || !endpoint.isReady { continue }
      known[endpoint.address] = endpoint
    }
    func serving(_ list: [ModelEndpoint]) -> [ModelEndpoint] {
      let ready = list.filter { $0.isReady && !$0.isTerminating }
      if !ready.isEmpty { return ready }
      return list.filter(\.isTerminating)
    }
    var everywhere = serving(Array(known.values))
    if let zone, everywhere.contains(where: \.isReady), everywhere.allSatisfy({ $0.zoneHint != nil }) {
      let near = everywhere.filter { $0.zoneHint == zone }
      if !near.isEmpty { everywhere = near }
    }
    let here = serving(known.values.filter { $0.node == "n1" })
    let all = slots(everywhere, service, port)
    let mine = slots(here, service, port)
    guard !all.isEmpty else { return (.init(kind: "reject"), .init(kind: "reject")) }
    let inside: Expectation =
      !service.isInternalLocal
      ? .init(kind: "cluster", targets: all)
      : mine.isEmpty ? .init(kind: "drop") : .init(kind: "cluster", targets: mine)
    let outside: Expectation =
      service.isExternalLocal
      ? .init(kind: "externalLocal", targets: all, local: mine.isEmpty ? nil : mine)
      : .init(kind: "external", targets: all)
    return (inside, outside)
  }

  private func slots(_ list: [ModelEndpoint], _ service: ModelService, _ port: ModelPort) -> [String: Int] {
    let target = port.transport == "TCP" ? 8080 : 5353
    var shares: [String: Int] = [:]
    for endpoint in list {
      shares["\(endpoint.address):\(target)"] = endpoint.node == "n1" ? service.weightOfN1 ?? 1 : 1
    }
    let weighted = shares.filter { $0.value > 0 }
    if weighted.isEmpty || (service.isMaglev && service.affinity == nil) {
      return (weighted.isEmpty ? shares : weighted).mapValues { _ in 1 }
    }
    // In lowest terms.
    for divisor in [3, 2] where weighted.values.allSatisfy({ $0 % divisor == 0 }) {
      return weighted.mapValues { $0 / divisor }
    }
    return weighted
  }
}

extension ModelService {
  var json: JSON {
    // Times in the order of creation, for a day of seconds: 100,000 operations make fewer Services.
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let list: [JSON] = ports.map { port in
      var tree: JSON = [
        "name": JSON(port.name), "port": JSON(integerLiteral: Int64(port.port)),
        "protocol": JSON(port.transport),
      ]
      if let nodePort = port.nodePort { tree["nodePort"] = JSON(integerLiteral: Int64(nodePort)) }
      return tree
    }
    var extra: [String: JSON] = [
      "type": "NodePort", "externalIPs": .array(externalIPs.map { JSON($0) }),
      "externalTrafficPolicy": JSON(isExternalLocal ? "Local" : "Cluster"),
      "internalTrafficPolicy": JSON(isInternalLocal ? "Local" : "Cluster"),
    ]
    if let affinity {
      extra["sessionAffinity"] = "ClientIP"
      extra["sessionAffinityConfig"] = ["clientIP": ["timeoutSeconds": JSON(integerLiteral: Int64(affinity))]]
    }
    var tree = service(name, clusterIP, list, extra, ingress: balancerIPs)
    tree["metadata"] = [
      "name": JSON(name), "namespace": "demo",
      "creationTimestamp": JSON(
        "2026-01-01T\(two(created / 3600)):\(two(created / 60 % 60)):\(two(created % 60))Z"),
    ]
    var annotations: JSON = [:]
    if let weightOfN1 { annotations["weft.dev/endpoint-weights"] = JSON("n1=\(weightOfN1)") }
    if isMaglev { annotations["weft.dev/balancing"] = "maglev" }
    var metadata = tree["metadata"] ?? [:]
    metadata["annotations"] = annotations
    if isLeftToAnother { metadata["labels"] = ["service.kubernetes.io/service-proxy-name": "other"] }
    tree["metadata"] = metadata
    return tree
  }
}

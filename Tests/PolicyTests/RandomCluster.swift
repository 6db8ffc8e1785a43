// Clusters of a few pods, namespaces and policies, drawn from a seed: small enough that every pair of pods can be asked.
import ClusterObjects

/// A reproducible source of choices (SplitMix64).
struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func pick<T>(_ from: [T]) -> T { from[Int(next() % UInt64(from.count))] }
  mutating func chance(_ percent: UInt64) -> Bool { next() % 100 < percent }
}

let namespaceNames = ["a", "b", "c"]

func randomCluster(_ random: inout Seeded) -> [JSON] {
  var objects: [JSON] = namespaceNames.map {
    [
      "kind": "Namespace",
      "metadata": ["name": JSON($0), "labels": ["ns": JSON($0), "team": JSON($0 == "a" ? "x" : "y")]],
    ]
  }
  for index in 0..<9 {
    objects.append(
      pod(
        "p\(index)", namespaceNames[index % 3], "10.42.0.\(10 + index)", random.pick(["web", "db", "job"]),
        tier: random.pick(["f", "b"])))
  }
  for index in 0..<Int(random.next() % 5) {
    objects.append(randomPolicy("np\(index)", &random))
  }
  return objects
}

func pod(_ name: String, _ namespace: String, _ address: String, _ app: String, tier: String = "f") -> JSON {
  [
    "kind": "Pod",
    "metadata": [
      "name": JSON(name), "namespace": JSON(namespace), "labels": ["app": JSON(app), "tier": JSON(tier)],
    ],
    "spec": [
      "nodeName": "n1",
      // The same name, another number for each app: named ports are looked up pod by pod.
      "containers": [["ports": [["name": "http", "containerPort": app == "web" ? 80 : 8080]]]],
    ],
    "status": ["phase": "Running", "podIP": JSON(address), "podIPs": [["ip": JSON(address)]]],
  ]
}

private func randomSelector(_ random: inout Seeded) -> JSON {
  switch random.next() % 5 {
  case 0: [:]
  case 1: ["matchLabels": ["app": JSON(random.pick(["web", "db", "job", "none"]))]]
  case 2: ["matchExpressions": [["key": "app", "operator": "NotIn", "values": ["web"]]]]
  case 3: ["matchLabels": ["tier": "f"], "matchExpressions": [["key": "app", "operator": "Exists"]]]
  default: ["matchExpressions": [["key": "tier", "operator": "In", "values": ["b", "z"]]]]
  }
}

func randomPolicy(_ name: String, _ random: inout Seeded) -> JSON {
  func rules(_ peers: String) -> JSON {
    .array(
      (0..<Int(random.next() % 3)).map { _ in
        var rule: JSON = [:]
        if random.chance(80) { rule[peers] = .array((0..<Int(1 + random.next() % 2)).map { _ in peer() }) }
        if random.chance(60) { rule["ports"] = .array((0..<Int(1 + random.next() % 2)).map { _ in port() }) }
        return rule
      })
  }
  func peer() -> JSON {
    switch random.next() % 4 {
    case 0: return ["podSelector": randomSelector(&random)]
    case 1:
      return [
        "namespaceSelector": random.chance(30)
          ? [:] : ["matchLabels": ["team": JSON(random.pick(["x", "y", "z"]))]]
      ]
    case 2:
      return [
        "namespaceSelector": ["matchLabels": ["ns": JSON(random.pick(namespaceNames))]],
        "podSelector": randomSelector(&random),
      ]
    default:
      return [
        "ipBlock": [
          "cidr": JSON(random.pick(["10.42.0.8/29", "0.0.0.0/0", "10.42.0.16/32"])),
          "except": random.chance(50) ? ["10.42.0.12/31"] : [],
        ]
      ]
    }
  }
  func port() -> JSON {
    switch random.next() % 5 {
    case 0: ["port": 80]
    case 1: ["port": "http", "protocol": "TCP"]
    case 2: ["port": 79, "endPort": 81]
    case 3: ["protocol": "UDP", "port": 80]
    default: ["protocol": JSON(random.pick(["TCP", "UDP"]))]
    }
  }
  return [
    "kind": "NetworkPolicy",
    "metadata": ["name": JSON(name), "namespace": JSON(random.pick(namespaceNames))],
    "spec": [
      "podSelector": randomSelector(&random),
      "policyTypes": random.pick([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
      "ingress": rules("from"), "egress": rules("to"),
    ],
  ]
}

// Clusters of a few pods, namespaces and policies, drawn from a seed: small enough that every pair of pods can be asked.
import Addresses
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
  objects.append(node("n1", ["192.0.2.1", "2001:db8::1"], ["zone": "a"]))
  objects.append(node("n2", ["192.0.2.2", "2001:db8::2"], ["zone": "b"]))
  for index in 0..<Int(random.next() % 5) {
    objects.append(randomPolicy("np\(index)", &random))
  }
  for index in 0..<Int(random.next() % 5) {
    objects.append(randomClusterPolicy("cnp\(index)", &random))
  }
  return objects
}

func node(_ name: String, _ addresses: [String], _ labels: [String: String]) -> JSON {
  [
    "kind": "Node",
    "metadata": [
      "name": JSON(name),
      "labels": .object(JSONObject(labels.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) })),
    ],
    "spec": ["podCIDRs": [name == "n1" ? "10.42.0.0/24" : "10.42.1.0/24"]],
    "status": [
      "addresses": .array(
        addresses.map { ["type": "InternalIP", "address": JSON($0)] } + [
          ["type": "Hostname", "address": JSON(name)]
        ])
    ],
  ]
}

/// Of every kind of subject, peer and port, some of them with what nobody knows.
func randomClusterPolicy(_ name: String, _ random: inout Seeded) -> JSON {
  func namespaces() -> JSON {
    switch random.next() % 3 {
    case 0: [:]
    case 1: ["matchLabels": ["team": JSON(random.pick(["x", "y", "z"]))]]
    default: ["matchLabels": ["ns": JSON(random.pick(namespaceNames))]]
    }
  }
  func podPeer() -> JSON {
    random.chance(50)
      ? ["namespaces": namespaces()]
      : ["pods": ["namespaceSelector": namespaces(), "podSelector": randomSelector(&random)]]
  }
  func peer(_ isEgress: Bool) -> JSON {
    switch isEgress ? random.next() % 8 : random.next() % 4 {
    case 0 where random.chance(20): ["planets": ["mars"]]
    case 4:
      [
        "networks": random.pick([
          ["10.42.0.8/29", "192.0.2.0/24"], ["0.0.0.0/0", "::/0"], ["198.51.100.0/24"],
        ])
      ]
    case 5: ["nodes": random.pick([[:], ["matchLabels": ["zone": "a"]], ["matchLabels": ["zone": "b"]]])]
    case 6:
      ["domainNames": random.pick([["a.example.org"], ["*.example.org"], ["b.example.com", "example.org"]])]
    default: podPeer()
    }
  }
  func port() -> JSON {
    switch random.next() % 6 {
    case 0: ["tcp": ["destinationPort": ["number": 80]]]
    case 1: ["tcp": ["destinationPort": ["range": ["start": 79, "end": 81]]]]
    case 2: ["udp": [:]]
    case 3: ["destinationNamedPort": "http"]
    case 4 where random.chance(20): ["quic": [:]]
    default: ["udp": ["destinationPort": ["number": 80]]]
    }
  }
  func rules(_ peers: String) -> JSON {
    .array(
      (0..<Int(random.next() % 4)).map { index in
        var rule: JSON = [
          "name": JSON("r\(index)"), "action": JSON(random.pick(["Accept", "Deny", "Pass"])),
          peers: .array((0..<Int(1 + random.next() % 2)).map { _ in peer(peers == "to") }),
        ]
        if random.chance(50) {
          rule["protocols"] = .array((0..<Int(1 + random.next() % 2)).map { _ in port() })
        }
        return rule
      })
  }
  return [
    "kind": "ClusterNetworkPolicy",
    "metadata": [
      "name": JSON(name), "annotations": random.chance(20) ? ["weft.dev/audit": "true"] : [:],
    ],
    "spec": [
      "tier": JSON(random.pick(["Admin", "Baseline"])), "priority": JSON(Int(random.next() % 3)),
      "subject": podPeer(), "ingress": rules("from"), "egress": rules("to"),
    ],
  ]
}

let resolvedNames = ["a.example.org", "b.example.com", "example.org", "c.d.example.org"]
let resolvedAddresses = ["198.51.100.7", "198.51.100.8", "10.42.0.11", "2001:db8:7::7"].map { IPAddress($0)! }

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
    "metadata": [
      "name": JSON(name), "namespace": JSON(random.pick(namespaceNames)),
      "annotations": random.chance(15) ? ["weft.dev/audit": "true"] : [:],
    ],
    "spec": [
      "podSelector": randomSelector(&random),
      "policyTypes": random.pick([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
      "ingress": rules("from"), "egress": rules("to"),
    ],
  ]
}

// Dual-stack Services by number, each for TCP and UDP, and attempts at them in both families: what the packet tests of
// features are written in.

import Addresses
import ClusterObjects
import ClusterView
import Proxy

/// One endpoint of a Service: a pod of `Node` and what its slice says of it.
struct End {
  /// a, b, out or node.
  var pod: String
  var ready = true
  var serving = true
  var terminating = false
  var zones: [String] = []
  var nodes: [String] = []

  init(
    _ pod: String, ready: Bool = true, serving: Bool = true, terminating: Bool = false, zones: [String] = [],
    nodes: [String] = []
  ) {
    self.pod = pod
    self.ready = ready
    self.serving = serving
    self.terminating = terminating
    self.zones = zones
    self.nodes = nodes
  }
}

/// Addresses by what stands there: `vip 20`, `lb 31`, `node` (as a source that is asked for: `self`), `bridge`, pods a, b, c, `out` and `far`, the pod of node n2.
func address(_ what: String, _ family: IPFamily) -> String {
  let words = what.split(separator: " ").map(String.init)
  let isFour = family == .v4
  switch words[0] {
  case "vip": return isFour ? "10.43.0.\(words[1])" : "fd00:43::\(words[1])"
  case "lb": return isFour ? "203.0.113.\(words[1])" : "2001:db8::\(words[1])"
  case "node", "self": return isFour ? "192.168.50.1" : "fd00:50::1"
  case "bridge": return isFour ? "10.42.0.1" : "fd00:42::1"
  case "out": return isFour ? "192.168.50.2" : "fd00:50::2"
  case "far": return isFour ? "10.42.1.21" : "fd00:42:1::21"
  default:
    let last = ["a": "11", "b": "12", "c": "13"][words[0]] ?? "0"
    return isFour ? "10.42.0.\(last)" : "fd00:42::\(last)"
  }
}

/// A Service `sN` of both families with node port 30000 + N, and its slices.
func feature(
  _ number: Int, _ ends: [End], as type: String = "ClusterIP", _ extra: [String: JSON] = [:],
  annotations: [String: String] = [:], lb: Int? = nil, ipMode: String? = nil
) -> [JSON] {
  let families = IPFamily.allCases.sorted { $0 < $1 }
  let ports: [(String, String, Int64, Int64)] = [
    ("http", "TCP", 80, 8080), ("dns", "UDP", 80, 5353), ("held", "TCP", 90, 9090),
  ]
  var spec: JSONObject = [
    "type": JSON(type), "clusterIP": JSON(address("vip \(number)", .v4)),
    "clusterIPs": .array(families.map { JSON(address("vip \(number)", $0)) }),
    "ipFamilies": ["IPv4", "IPv6"],
  ]
  spec["ports"] = .array(
    ports.map { name, transport, port, _ in
      var tree: JSON = ["name": JSON(name), "protocol": JSON(transport), "port": .integer(port)]
      if type != "ClusterIP", port == 80 { tree["nodePort"] = .integer(Int64(30000 + number)) }
      return tree
    })
  for (key, value) in extra { spec[key] = value }
  let ingress: [JSON] = families.compactMap { family in
    guard let lb else { return nil }
    var tree: JSON = ["ip": JSON(address("lb \(lb)", family))]
    if let ipMode { tree["ipMode"] = JSON(ipMode) }
    return tree
  }
  let name = JSON("s\(number)")
  let service: JSON = [
    "kind": "Service", "spec": .object(spec), "status": ["loadBalancer": ["ingress": .array(ingress)]],
    "metadata": ["name": name, "namespace": "demo", "annotations": JSON(annotations)],
  ]
  let slices: [JSON] = families.map { family in
    [
      "kind": "EndpointSlice", "addressType": family == .v4 ? "IPv4" : "IPv6",
      "metadata": [
        "name": JSON("s\(number)-\(family)"), "namespace": "demo",
        "labels": ["kubernetes.io/service-name": name],
      ],
      "ports": .array(
        ports.map { ["name": JSON($0.0), "protocol": JSON($0.1), "port": .integer($0.3)] }),
      "endpoints": .array(
        ends.map { end in
          [
            "addresses": [JSON(address(end.pod == "out" ? "far" : end.pod, family))],
            "nodeName": end.pod == "out" ? "n2" : "n1",
            "targetRef": ["kind": "Pod", "namespace": "demo", "name": JSON("pod-\(end.pod)")],
            "conditions": [
              "ready": JSON(end.ready), "serving": JSON(end.serving), "terminating": JSON(end.terminating),
            ],
            "hints": [
              "forZones": .array(end.zones.map { ["name": JSON($0)] }),
              "forNodes": .array(end.nodes.map { ["name": JSON($0)] }),
            ],
          ]
        }),
    ]
  }
  return [service] + slices
}

/// The node that the tests stand on.
let featureNode: JSON = [
  "kind": "Node",
  "metadata": ["name": "n1", "labels": ["topology.kubernetes.io/zone": "zone-a"]],
]

let featureConfiguration = {
  var configuration = ProxyConfiguration(
    nodeName: "n1", podNetworks: [IPPrefix("10.42.0.0/24")!, IPPrefix("fd00:42::/64")!],
    clusterNetworks: [IPPrefix("10.42.0.0/16")!, IPPrefix("fd00:42::/32")!],
    nodePortAddresses: [IPAddress("192.168.50.1")!, IPAddress("fd00:50::1")!])
  configuration.serviceNetworks = [IPPrefix("10.43.0.0/16")!, IPPrefix("fd00:43::/112")!]
  return configuration
}()

/// A word for `Node.attempt`. The far pod and the host outside share a place, so that a source is always said there.
func word(
  _ transport: String, _ family: IPFamily, from place: String, to destination: String, _ port: Int,
  count: Int,
  sourcePort: Int = 0
) -> String {
  let source =
    ["out", "far", "self"].contains(place) ? "\(address(place, family))@\(sourcePort)" : "\(sourcePort)"
  return "\(transport),\(address(destination, family)),\(port),\(count),\(source)"
}

/// Every transport in every family.
let everyWay: [(transport: String, family: IPFamily)] = [
  ("TCP", .v4), ("TCP", .v6), ("UDP", .v4), ("UDP", .v6),
]

extension Node {
  /// Where attempts of a place are made: the far pod lives on the host outside.
  static func host(of place: String) -> String {
    place == "far" ? "out" : place == "node" || place == "self" ? "" : place
  }

  /// Waits until both families carry packets everywhere: neighbours of IPv6 take a moment.
  func settle() -> Bool {
    ["c", "out", ""].allSatisfy { place in
      let words = everyWay.map { way in
        let port = way.transport == "TCP" ? 8080 : 5353
        return word(way.transport, way.family, from: place, to: place == "c" ? "far" : "a", port, count: 1)
      }
      return (0..<20).contains { _ in
        let answers = attempt(place, words)
        return words.allSatisfy {
          ["a", "out"].contains(answers[$0]?.first?.split(separator: " ").first ?? "")
        }
      }
    }
  }
}

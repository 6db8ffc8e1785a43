// A small cluster as manifests would give it, and what a plan of it is asked about.

import Addresses
import ClusterObjects
import ClusterView
import Proxy
import Ruleset

func service(
  _ name: String, _ ip: String, _ ports: [JSON] = [["name": "http", "port": 80]],
  _ extra: [String: JSON] = [:],
  ingress: [String] = [], isAnnounced: Bool = false
) -> JSON {
  var fields: [(String, JSON)] = [("clusterIP", JSON(ip)), ("ports", .array(ports))]
  for (key, value) in extra { fields.append((key, value)) }
  var spec = JSONObject()
  for (key, value) in fields { spec[key] = value }
  let balancer: [JSON] = ingress.map { ["ip": JSON($0)] }
  let conditions: [JSON] = isAnnounced ? [["type": JSON(JSON.announcedCondition), "status": "True"]] : []
  return [
    "kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"], "spec": .object(spec),
    "status": ["loadBalancer": ["ingress": .array(balancer)], "conditions": .array(conditions)],
  ]
}

func endpointSlice(
  _ service: String, _ endpoints: [(String, String)], port: Int64 = 8080, transport: String = "TCP",
  name: String = "http", family: String = "IPv4", trigger: String? = nil
) -> JSON {
  let list: [JSON] = endpoints.map { ["addresses": [JSON($0.0)], "nodeName": JSON($0.1)] }
  let annotations: JSON =
    trigger.map { ["endpoints.kubernetes.io/last-change-trigger-time": JSON($0)] } ?? [:]
  return [
    "kind": "EndpointSlice", "addressType": JSON(family),
    "metadata": [
      "name": JSON(service + "-1"), "namespace": "demo", "annotations": annotations,
      "labels": ["kubernetes.io/service-name": JSON(service)],
    ],
    "ports": [["name": JSON(name), "port": JSON(integerLiteral: port), "protocol": JSON(transport)]],
    "endpoints": .array(list),
  ]
}

let podA = ("10.42.0.11", "n1")
let podB = ("10.42.0.12", "n1")
let remote = ("10.42.1.21", "n2")

func nodePort(_ port: Int64, _ transport: String = "TCP", name: String = "http", at number: Int64 = 80)
  -> JSON
{
  [
    "name": JSON(name), "port": JSON(integerLiteral: number), "protocol": JSON(transport),
    "nodePort": JSON(integerLiteral: port),
  ]
}

/// Every kind of Service that the proxy knows.
let clusterObjects: [JSON] = [
  service("web", "10.43.0.10", [nodePort(30080)], ["type": "NodePort", "externalIPs": ["203.0.113.9"]]),
  endpointSlice("web", [podA, podB]),
  service("dns", "10.43.0.11", [nodePort(30053, "UDP", name: "dns", at: 53)], ["type": "NodePort"]),
  endpointSlice("dns", [podA, podB], port: 5353, transport: "UDP", name: "dns"),
  service("none", "10.43.0.12", [nodePort(30082)], ["type": "NodePort"]),
  service(
    "local", "10.43.0.13", [nodePort(30083)], ["type": "NodePort", "externalTrafficPolicy": "Local"]),
  endpointSlice("local", [podA, remote]),
  service(
    "away", "10.43.0.14", [nodePort(30084)], ["type": "NodePort", "externalTrafficPolicy": "Local"]),
  endpointSlice("away", [remote]),
  service("sticky", "10.43.0.15", [["name": "http", "port": 80]], ["sessionAffinity": "ClientIP"]),
  endpointSlice("sticky", [podA, podB]),
  service(
    "open", "10.43.0.16", [nodePort(30085)],
    ["type": "LoadBalancer", "loadBalancerSourceRanges": ["192.168.50.0/30", "192.168.50.2/32"]],
    ingress: ["203.0.113.7"]),
  endpointSlice("open", [podA]),
  service(
    "shut", "10.43.0.17", [nodePort(30086)],
    ["type": "LoadBalancer", "loadBalancerSourceRanges": ["172.16.0.0/12"]], ingress: ["203.0.113.8"]),
  endpointSlice("shut", [podA]),
  service("inside", "10.43.0.18", [["name": "http", "port": 80]], ["internalTrafficPolicy": "Local"]),
  endpointSlice("inside", [remote]),
  service("headless", "None"),
  endpointSlice("headless", [podA]),
]

let clusterConfiguration = ProxyConfiguration(
  nodeName: "n1", families: [.v4], podNetworks: [IPPrefix("10.42.0.0/24")!],
  clusterNetworks: [IPPrefix("10.42.0.0/16")!], nodePortAddresses: [IPAddress("192.168.50.1")!])

let nodeAddresses: Set<IPAddress> = [
  IPAddress("192.168.50.1")!, IPAddress("10.42.0.1")!, IPAddress("127.0.0.1")!,
]

/// What a connection attempt comes to: the pods that may answer, or how it fails.
enum Fate: Hashable { case answered(Set<String>), refused, silent }

/// All fates of a first packet under a plan, over every slot that may be drawn.
func fate(
  _ tables: [Table], _ source: String, _ destination: String, _ port: UInt16,
  _ transport: TransportProtocol = .tcp
) -> (Fate, isMasqueraded: Bool) {
  let ruleset = Ruleset(tables)
  var targets: Set<String> = []
  var outcomes: Set<Evaluation.Outcome> = []
  var isMasqueraded = false
  for slot in UInt32(0)..<8 {
    let context = EvaluationContext(localAddresses: nodeAddresses) { slot % $0 }
    let packet = Packet(
      IPAddress(source)!, IPAddress(destination)!, transport: transport.number, destinationPort: port)
    let isHost = nodeAddresses.contains(packet.source)
    let walk =
      isHost ? ruleset.evaluateLeaving(packet, context) : ruleset.evaluateArriving(packet, context)
    outcomes.insert(walk.outcome)
    isMasqueraded = isMasqueraded || walk.isMasqueraded
    // What is delivered to the node itself finds nobody listening there.
    if walk.outcome == .accept, !nodeAddresses.contains(walk.packet.destination) {
      targets.insert(walk.packet.destination.description)
    }
  }
  if outcomes == [.drop] { return (.silent, isMasqueraded) }
  return (targets.isEmpty ? .refused : .answered(targets), isMasqueraded)
}

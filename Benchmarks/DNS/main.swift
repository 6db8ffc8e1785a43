// Serves a cluster of N Services with three endpoints each on 127.0.0.1, for dnsperf (see run.sh). Prints how long
// planning took and how much memory the process holds. Guards: 150,000 queries a CPU second, 40 MB at 10,000 Services.

import Addresses
import ClusterObjects
import ClusterView
import DNS
import Glibc

func megabytesResident() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 200)
  guard fgets(&line, 200, file) != nil else { return 0 }
  let words = String(decoding: line.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(separator: " ")
  return words.count > 1 ? (Int(words[1]) ?? 0) * 4096 / 1_000_000 : 0
}

func say(_ text: String) { _ = (text + "\n").withCString { write(1, $0, strlen($0)) } }

let arguments = CommandLine.arguments
let port = arguments.count > 1 ? UInt16(arguments[1]) ?? 5300 : 5300
let services = arguments.count > 2 ? Int(arguments[2]) ?? 10_000 : 10_000
var view = ClusterView()
for number in 0..<services {
  let namespace = JSON("ns-\(number % 10)")
  let name = "svc-\(number)"
  let ports: JSON = [["name": "http", "port": 80, "protocol": "TCP"]]
  view.apply([
    "kind": "Service", "metadata": ["name": JSON(name), "namespace": namespace],
    "spec": ["clusterIP": JSON("10.43.\(number / 250 % 250).\(number % 250 + 1)"), "ports": ports],
  ])
  let endpoints = (0..<3).map { index -> JSON in
    [
      "addresses": [JSON("10.\(100 + index).\(number / 250 % 250).\(number % 250 + 1)")],
      "conditions": ["ready": true],
    ]
  }
  view.apply([
    "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": [
      "name": JSON(name), "namespace": namespace, "labels": ["kubernetes.io/service-name": JSON(name)],
    ],
    "ports": ports, "endpoints": .array(endpoints),
  ])
}
let clock = ContinuousClock()
var planner = ZonePlanner(settings: ZoneSettings())
say("view of \(services) services: \(megabytesResident()) MB")
var zone: Zone?
say("plan of everything: \(clock.measure { zone = planner.plan(view) })")
say("with the zone: \(megabytesResident()) MB")
let changed = ObjectKey("ns-1", "svc-1")
let spec: JSON = ["clusterIP": "10.43.0.2", "ports": [["name": "http", "port": 81]]]
view.apply(["kind": "Service", "metadata": ["name": "svc-1", "namespace": "ns-1"], "spec": spec])
say("plan of one named change: \(clock.measure { zone = planner.plan(view, changed: [changed]) })")
view.remove(kind: "Service", changed)
say("plan of one unnamed change: \(clock.measure { zone = planner.plan(view) })")
if let zone {
  let server = DNSServer(settings: DNSServerSettings(), zone: zone)
  try server.start(listen: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port)])
  say("serving on \(server.endpoints) as process \(getpid())")
  while true { pause() }
}

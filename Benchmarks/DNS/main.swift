// Serves a cluster of N Services with three endpoints each on 127.0.0.1, for dnsperf (see run.sh).
// DNSBenchmark PORT SERVICES [plan] [fresh] [forward]: `plan` prints what planning costs and serves nothing, `fresh` measures from
// a change to its answer and ends, `forward` asks a second server of its own for names under other.test.

import Addresses
import CLinux
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
weft_heap_keep_small()
// As `weft dns` has it: objects come one by one, and what names are made of is kept.
var book = NameBook()
@MainActor func apply(_ kind: String, _ object: JSON) { book.apply(kind, object.key, object) }
@MainActor func planChanges(_ planner: inout ZonePlanner) -> Zone {
  while let changes = book.nextChanges() { planner.stage(changes) }
  return planner.plan(ViewChanges())
}
for number in 0..<services {
  let namespace = JSON("ns-\(number % 10)")
  let name = "svc-\(number)"
  let ports: JSON = [["name": "http", "port": 80, "protocol": "TCP"]]
  apply(
    "Service",
    [
      "kind": "Service", "metadata": ["name": JSON(name), "namespace": namespace],
      "spec": ["clusterIP": JSON("10.43.\(number / 250 % 250).\(number % 250 + 1)"), "ports": ports],
    ])
  let endpoints = (0..<3).map { index -> JSON in
    [
      "addresses": [JSON("10.\(100 + index).\(number / 250 % 250).\(number % 250 + 1)")],
      "conditions": ["ready": true],
    ]
  }
  apply(
    "EndpointSlice",
    [
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": JSON(name), "namespace": namespace, "labels": ["kubernetes.io/service-name": JSON(name)],
      ],
      "ports": ports, "endpoints": .array(endpoints),
    ])
}
let clock = ContinuousClock()
var planner = ZonePlanner(settings: ZoneSettings())
let zone = planChanges(&planner)
weft_heap_trim()
weft_text_release()
if arguments.contains("plan") {
  say("book and zone of \(services) services: \(megabytesResident()) MB")
  var another = ZonePlanner(settings: ZoneSettings())
  say(
    "plan of everything: \(clock.measure { book.everything { another.stage($0) }; _ = another.plan(ViewChanges()) })"
  )
  let spec: JSON = ["clusterIP": "10.43.0.2", "ports": [["name": "http", "port": 81]]]
  let change = clock.measure {
    apply("Service", ["kind": "Service", "metadata": ["name": "svc-1", "namespace": "ns-1"], "spec": spec])
    _ = planChanges(&planner)
  }
  say("one change: \(change)")
  exit(0)
}

/// Asks for a name over UDP until it is answered with an address; nanoseconds.
func nanosecondsUntilAnswered(_ socket: Int32, _ query: [UInt8], from start: ContinuousClock.Instant) -> Int64
{
  var reply = [UInt8](repeating: 0, count: 1500)
  while true {
    _ = send(socket, query, query.count, 0)
    let count = recv(socket, &reply, reply.count, 0)
    if count > 8, reply[7] > 0 { return (clock.now - start).components.attoseconds / 1_000_000_000 }
  }
}

/// From a change of the view to the first right answer, for Services that did not exist: their names were denied before.
@MainActor func measureFreshness(_ server: DNSServer, _ port: UInt16) {
  let socket = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = inet_addr("127.0.0.1")
  _ = withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  var times: [Int64] = []
  for number in 0..<1000 {
    let name = "fresh-\(number)"
    let query = Message(query: DomainName("\(name).ns-1.svc.cluster.local") ?? .root, .a, id: 1).encoded
    let start = clock.now
    apply(
      "Service",
      [
        "kind": "Service", "metadata": ["name": JSON(name), "namespace": "ns-1"],
        "spec": ["clusterIP": "10.43.255.1", "ports": [["name": "http", "port": 80]]],
      ])
    server.swapZone(planChanges(&planner))
    times.append(nanosecondsUntilAnswered(socket, query, from: start))
  }
  close(socket)
  times.sort()
  say(
    "from a change to its answer: p50 \(times[500] / 1000) us, p99 \(times[990] / 1000) us, most \(times[999] / 1000) us"
  )
}

/// A server of other names, for names that are forwarded and kept.
@MainActor func startUpstream(_ port: UInt16) throws {
  var settings = ZoneSettings()
  settings.zone = DomainName("other.test") ?? .root
  var other = ZonePlanner(settings: settings)
  book.everything { other.stage($0) }
  let server = DNSServer(settings: DNSServerSettings(), zone: other.plan(ViewChanges()))
  try server.start(listen: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port)])
  upstreams.append(server)
}

var upstreams: [DNSServer] = []
var settings = DNSServerSettings()
if arguments.contains("forward") {
  try startUpstream(port + 50)
  settings.routes = [ForwardRoute(upstreams: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port + 50)])]
}
let server = DNSServer(settings: settings, zone: zone)
try server.start(listen: [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port)])
if arguments.contains("fresh") {
  measureFreshness(server, port)
  server.stop()
  exit(0)
}
say("serving on \(server.endpoints) as process \(getpid())")
while true { pause() }

// The data plane with one route, for measuring.

import Addresses
import Diagnostics
import Glibc
import Ingress
import Reactor

func say(_ text: String) {
  _ = Array((text + "\n").utf8).withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
}

let arguments = CommandLine.arguments
guard arguments.count >= 3, let listen = SocketEndpoint(arguments[1]),
  let target = SocketEndpoint(arguments[2])
else {
  say("usage: IngressBenchmark LISTEN ENDPOINT [WORKERS]")
  exit(2)
}
do {
  let (feeder, child) = try IngressFeeder.pair()
  let table = RouteTable(
    backends: [
      RouteBackend(
        namespace: "bench", ingress: "bench", service: "bench", servicePort: "80", endpoints: [target])
    ], hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
  try feeder.send(table)
  let listener = try Sockets.listenTCP(listen).release()
  let workers = arguments.count > 3 ? Int(arguments[3]) ?? 1 : 1
  try runIngressDataPlane(
    IngressDataPlaneConfiguration(listeners: [listener], snapshots: child, workers: workers))
  feeder.close()
} catch {
  say("\(error)")
  exit(3)
}

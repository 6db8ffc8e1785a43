// The data plane with one route, for measuring.

import Addresses
import Diagnostics
import Glibc
import Ingress
import Reactor

let arguments = CommandLine.arguments
guard arguments.count >= 3, let listen = SocketEndpoint(arguments[1]), let target = SocketEndpoint(arguments[2])
else {
  fputs("usage: ingress-bench LISTEN ENDPOINT [WORKERS]\n", stderr)
  exit(2)
}
do {
  let (feeder, child) = try IngressFeeder.pair()
  let table = RouteTable(
    backends: [
      RouteBackend(namespace: "bench", ingress: "bench", service: "bench", servicePort: "80", endpoints: [target])
    ], hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
  try feeder.send(table)
  let listener = try Sockets.listenTCP(listen).release()
  let workers = arguments.count > 3 ? Int(arguments[3]) ?? 1 : 1
  try runIngressDataPlane(
    IngressDataPlaneConfiguration(listeners: [listener], snapshots: child, workers: workers))
  feeder.close()
} catch {
  fputs("\(error)\n", stderr)
  exit(3)
}

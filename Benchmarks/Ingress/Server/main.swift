// The data plane with one route, for measuring.

import Addresses
import Diagnostics
import Glibc
import Ingress
import Reactor

func file(_ path: String) -> [UInt8] {
  let descriptor = open(path, O_RDONLY)
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: 1 << 20)
  let count = read(descriptor, &bytes, bytes.count)
  return Array(bytes.prefix(max(0, count)))
}

func say(_ text: String) {
  _ = Array((text + "\n").utf8).withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
}

let arguments = CommandLine.arguments
guard arguments.count >= 3, let listen = SocketEndpoint(arguments[1]),
  let target = SocketEndpoint(arguments[2])
else {
  say("usage: IngressBenchmark LISTEN ENDPOINT [WORKERS [TLS_LISTEN CHAIN KEY]]")
  exit(2)
}
do {
  let (feeder, child) = try IngressFeeder.pair()
  let table = RouteTable(
    backends: [
      RouteBackend(
        namespace: "bench", ingress: "bench", service: "bench", servicePort: "80", endpoints: [target])
    ], hosts: [RouteHost(name: "", paths: [RoutePath(path: "/", isExact: false, backend: 0)])])
  var configuration = IngressDataPlaneConfiguration(listeners: [], snapshots: child)
  if arguments.count > 6, let secure = SocketEndpoint(arguments[4]) {
    let certificate = TLSCertificate(chain: file(arguments[5]), key: file(arguments[6]))
    try feeder.send(TLSTable(certificates: [certificate], defaultCertificate: 0))
    configuration.secureListeners = [try Sockets.listenTCP(secure).release()]
  }
  try feeder.send(table)
  configuration.listeners = [try Sockets.listenTCP(listen).release()]
  configuration.workers = arguments.count > 3 ? Int(arguments[3]) ?? 1 : 1
  try runIngressDataPlane(configuration)
  feeder.close()
} catch {
  say("\(error)")
  exit(3)
}

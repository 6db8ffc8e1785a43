// Ten thousand routes: how long a table takes to be rebuilt and read, what it weighs, and what a match costs beside one among ten. The
// promise: 50 ms from a changed object to the table that serves, 40 MB, and the cost flat.

import Addresses
import ClusterObjects
import ClusterView
import GatewayAPI
import Glibc
import Ingress

enum RouteBenchmark {
  private static func table(_ count: Int) -> RouteTable {
    let backends = (0..<max(1, count / 10)).map {
      RouteBackend(
        namespace: "tenant-\($0)", ingress: "web", service: "web-\($0)", servicePort: "80",
        endpoints: [SocketEndpoint(.v4(IPv4Address(10, 42, UInt8($0 >> 8 & 255), UInt8($0 & 255))), 8080)])
    }
    let paths = (0..<count).map {
      RoutePath(
        path: "/tenant-\($0 / 10)/service-\($0)/v1", isExact: $0 % 4 == 0, backend: $0 / 10 % backends.count)
    }
    return RouteTable(backends: backends, hosts: [RouteHost(name: "api.example", paths: paths)])
  }

  private static func milliseconds(_ body: () -> Void) -> Double {
    let taken = ContinuousClock().measure(body)
    return Double(taken.components.seconds) * 1e3 + Double(taken.components.attoseconds) * 1e-15
  }

  private static func residentKiB() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var (total, resident) = (0, 0)
    withUnsafeMutablePointer(to: &total) { total in
      withUnsafeMutablePointer(to: &resident) { resident in
        _ = withVaList([total, resident]) { vfscanf(file, "%ld %ld", $0) }
      }
    }
    return resident * 4
  }

  /// Says whether a figure holds. - Returns: whether it does.
  private static func judge(_ name: String, _ figure: Double, _ bar: Double, _ unit: String) -> Bool {
    let holds = figure <= bar
    say("\(holds ? "pass" : "FAIL")  \(name): \(shown(figure)) \(unit) (at most \(shown(bar)))")
    return holds
  }

  private static func shown(_ figure: Double) -> String {
    "\(Int(figure)).\(Int(figure * 10) % 10)"
  }

  /// What `weft up` keeps from one plan for the next.
  private struct Memory {
    var gateways = GatewayPlanning()
    var routes = GatewayRouteMemory()
  }

  /// What `weft up` plans for a change of the cluster.
  private static func plan(_ view: ClusterView, _ memory: inout Memory) -> RouteTable {
    _ = planSecretReferences(view: view)
    _ = planCredentialReferences(view: view)
    _ = planHeaderReferences(view: view)
    let table = planRoutesExplained(view: view).table
    let gateways = memory.gateways.plan(view: view, settings: GatewaySettings(addresses: ["192.0.2.1"]))
    if gateways.servedSockets.isEmpty { return table }
    return gateways.routeTable(
      view: view, input: GatewayInput(), beside: table, shared: [80], near: nil, memory: &memory.routes)
  }

  /// One object of 1,000 changes, after a first plan: planned, written, read by the other side. The middle of eleven.
  private static func edit(
    _ shape: ManyIngresses.Shape
  ) -> (plan: Double, write: Double, read: Double, bytes: Int) {
    var view = ManyIngresses.view(shape)
    var (plans, writes, reads): ([Double], [Double], [Double]) = ([], [], [])
    var bytes = 0
    var memory = Memory()
    _ = plan(view, &memory)
    for number in 1...11 {
      var table = RouteTable(backends: [], hosts: [])
      plans.append(
        milliseconds {
          view.apply(ManyIngresses.route(number * 17, shape, edit: number))
          table = plan(view, &memory)
        })
      var encoded: [UInt8] = []
      writes.append(milliseconds { encoded = table.encoded() })
      reads.append(milliseconds { _ = try? RouteTable(encoded: encoded) })
      bytes = encoded.count
      precondition(bytes > 100_000, "the table has not got the cluster's routes")
    }
    return (plans.sorted()[5], writes.sorted()[5], reads.sorted()[5], bytes)
  }

  /// Measures and says all. - Returns: whether every promise holds.
  static func run() -> Bool {
    var holds = true
    let before = residentKiB()
    var tables: [RouteTable] = []
    let build = (0..<5).map { _ in
      milliseconds {
        tables = []
        tables.append(table(10_000))
      }
    }
    guard let many = tables.first else { return false }
    let grown = residentKiB() - before
    holds = judge("memory of a table of 10,000 routes", Double(grown) / 1024, 40, "MB") && holds
    for shape in ManyIngresses.Shape.allCases {
      let took = edit(shape)
      say(
        "\(shape.rawValue), changes: planned in \(shown(took.plan)) ms, written in \(shown(took.write)) ms, read in "
          + "\(shown(took.read)) ms, \(took.bytes) bytes")
      let whole = took.plan + took.write + took.read
      holds = judge("from the changed object to the table that serves", whole, 50, "ms") && holds
    }
    let bytes = many.encoded()
    let write = (0..<5).map { _ in milliseconds { _ = many.encoded() } }
    let read = (0..<5).map { _ in milliseconds { _ = try? RouteTable(encoded: bytes) } }
    say(
      "10,000 routes: built in \(shown(build.min() ?? 0)) ms, written in \(shown(write.min() ?? 0)) ms, read in \(shown(read.min() ?? 0)) ms"
    )
    say("resident: \(grown) KiB more; encoded: \(bytes.count) bytes")
    var costs: [Double] = []
    for (name, table, path) in [
      ("10", table(10), "/tenant-0/service-9/v1/x"), ("10,000", many, "/tenant-999/service-9999/v1/x"),
    ] {
      let probe = RouteProbe(table: table, host: "api.example", path: path)
      let rounds = 200_000
      let best = (0..<5).map { _ in milliseconds { probe.match(rounds) } }.min() ?? 0
      costs.append(best * 1e6 / Double(rounds))
      say("a match among \(name): \(shown(costs.last ?? 0)) ns")
    }
    return judge("a match among 10,000 beside one among 10", costs[1] / costs[0] * 100, 150, "%") && holds
  }
}

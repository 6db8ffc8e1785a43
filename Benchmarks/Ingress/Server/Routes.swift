// Ten thousand routes of one host: how long a table takes to be rebuilt and read, what it weighs, and what a match costs beside one
// among ten. The promise: 50 ms and 40 MB, and the cost flat.

import Addresses
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

  static func run() {
    let before = residentKiB()
    var tables: [RouteTable] = []
    let build = (0..<5).map { _ in
      milliseconds {
        tables = []
        tables.append(table(10_000))
      }
    }
    guard let many = tables.first else { return }
    let grown = residentKiB() - before
    let bytes = many.encoded()
    let write = (0..<5).map { _ in milliseconds { _ = many.encoded() } }
    let read = (0..<5).map { _ in milliseconds { _ = try? RouteTable(encoded: bytes) } }
    say(
      "10,000 routes: built in \(build.min() ?? 0) ms, written in \(write.min() ?? 0) ms, read in \(read.min() ?? 0) ms"
    )
    say("resident: \(grown) KiB more; encoded: \(bytes.count) bytes")
    for (name, table, path) in [
      ("10", table(10), "/tenant-0/service-9/v1/x"), ("10,000", many, "/tenant-999/service-9999/v1/x"),
    ] {
      let probe = RouteProbe(table: table, host: "api.example", path: path)
      let rounds = 200_000
      let best = (0..<5).map { _ in milliseconds { probe.match(rounds) } }.min() ?? 0
      say("a match among \(name): \(best * 1e6 / Double(rounds)) ns")
    }
  }
}

// A plan at work: a data plane in this process on sockets of the loopback, Services with endpoints that answer, and clients.

import Addresses
import CLinux
import ClusterObjects
import ClusterView
import Diagnostics
import Foundation
import GatewayAPI
import Ingress
import NamespaceLab
import Reactor
import Synchronization
import Testing

struct TrafficFailed: Error { var text: String }

/// What a client was told.
struct Answer: CustomStringConvertible {
  var status = 0
  var head = ""
  var body = ""
  /// Who of the backends answered; empty: none of them.
  var backend: String { String(body.prefix { $0 != "\n" }) }
  /// A field's values, in lower case names.
  func field(_ name: String) -> [String] {
    head.split(separator: "\r\n").filter { $0.lowercased().hasPrefix("\(name): ") }.map {
      String($0.dropFirst(name.count + 2))
    }
  }
  /// The values of a field as the backend saw it.
  func seen(_ name: String) -> [String] {
    body.split(separator: "\r\n").filter { $0.lowercased().hasPrefix("\(name): ") }.map {
      String($0.dropFirst(name.count + 2))
    }
  }
  /// The request's first line as the backend saw it.
  var line: String {
    String(body.split(separator: "\r\n").first?.drop { $0 != "\n" }.dropFirst() ?? "")
  }
  var description: String { "\(status)\n\(head)\n\(body)" }
}

/// The Services `one`, `two` and `far` of `base`, with one endpoint each, and a data plane.
final class Traffic {
  let backends: [String: EchoBackend]
  /// Ports to be named in Gateways; a plan opens what it needs of them.
  let ports: [UInt16]
  var lab: Lab
  /// The same for UDP: two.
  let datagramPorts: [UInt16]
  var datagramPort: UInt16 { datagramPorts[0] }
  /// Where sockets are; the first is for listeners of no address.
  private let addresses: [IPAddress]
  private var sockets: [IngressListener.Place: Int32] = [:]
  private var open: Set<IngressListener> = []
  private let feeder: IngressFeeder
  private let isOver = Over()

  private final class Over: Sendable { let text = Mutex<String?>(nil) }

  /// - Parameter addresses: of this machine, each with all the ports.
  init(ports count: Int = 3, at addresses: String...) throws {
    self.addresses = addresses.isEmpty ? [IPAddress("127.0.0.1")!] : addresses.compactMap { IPAddress($0) }
    var backends: [String: EchoBackend] = [:]
    for name in ["one", "two", "far"] { backends[name] = try EchoBackend(name) }
    self.backends = backends
    var bound: [IngressListener.Place: Int32] = [:]
    let all = self.addresses
    ports = try (0..<count).map { _ in try Self.bind(.tcp, all, &bound) }
    datagramPorts = try (0..<2).map { _ in try Self.bind(.udp, all, &bound) }
    sockets = bound
    lab = try Lab()
    let (feeder, child) = try IngressFeeder.pair()
    self.feeder = feeder
    var configuration = IngressDataPlaneConfiguration(listeners: [], snapshots: child, workers: 1)
    configuration.dropsPrivileges = false
    configuration.drain = .milliseconds(100)
    let ready = configuration
    let isOver = isOver
    Thread {
      do {
        try runIngressDataPlane(ready)
        isOver.text.withLock { $0 = "ended" }
      } catch { isOver.text.withLock { $0 = "\(error)" } }
    }.start()
    for (name, backend) in backends { try point(name, to: backend.port) }
  }

  /// A port that is free at all addresses, and its sockets.
  private static func bind(
    _ transport: TransportProtocol, _ addresses: [IPAddress], _ bound: inout [IngressListener.Place: Int32]
  ) throws -> UInt16 {
    func open(_ address: IPAddress, _ port: UInt16) throws -> Descriptor {
      let endpoint = SocketEndpoint(address, port)
      return transport == .udp
        ? try Sockets.bindUDP(endpoint, reusePort: false) : try Sockets.listenTCP(endpoint, reusePort: false)
    }
    for _ in 0..<1000 {
      let first = try open(addresses[0], 0)
      let port = Sockets.localEndpoint(first)?.port ?? 0
      var made: [IPAddress: Int32] = [addresses[0]: first.release()]
      for address in addresses.dropFirst() { made[address] = (try? open(address, port))?.release() }
      if made.count == addresses.count {
        for (address, raw) in made {
          let listener = IngressListener(
            SocketEndpoint(address, port), transport: transport, serves: .streams)
          bound[listener.place] = raw
        }
        return port
      }
      for raw in made.values { close(raw) }
    }
    throw TrafficFailed(text: "no port is free at \(addresses)")
  }

  /// Gives a Service another endpoint.
  func point(_ service: String, to port: UInt16) throws {
    try add(
      """
      apiVersion: discovery.k8s.io/v1
      kind: EndpointSlice
      metadata: {name: \(service), namespace: \(service == "far" ? "web" : "infra"), labels: {kubernetes.io/service-name: \(service)}}
      addressType: IPv4
      ports: [{name: http, port: \(port)}, {name: https, port: \(port)}]
      endpoints: [{addresses: [127.0.0.1]}]
      """)
  }

  func stop() {
    feeder.close()
    for _ in 0..<20_000 where isOver.text.withLock({ $0 }) == nil { usleep(1000) }
    #expect(isOver.text.withLock { $0 } == "ended")
    for socket in sockets.values { close(socket) }
    for backend in backends.values { backend.stop() }
  }

  func add(_ manifests: String) throws { try lab.add(manifests) }

  /// Plans what is there, has the data plane work by it, and answers the plan.
  @discardableResult func serve(_ manifests: String...) throws -> GatewayPlan {
    for text in manifests { try add(text) }
    let plan = lab.plan()
    let wanted = Set(plan.sockets(at: addresses[0]).keys)
    for gone in open.subtracting(wanted) { try feeder.close(gone) }
    try feeder.send(plan.certificateTable(input: lab.input))
    try feeder.send(plan.streamTable(view: lab.view, input: lab.input))
    try feeder.send(plan.routeTable(view: lab.view, input: lab.input))
    for new in wanted.subtracting(open) {
      guard let socket = sockets[new.place] else {
        throw TrafficFailed(text: "\(new) is no port of this test")
      }
      try feeder.open(new, descriptor: socket)
    }
    open = wanted
    let sent = feeder.sentCount
    for _ in 0..<20_000 {
      if feeder.isInForce(sent) { return plan }
      usleep(1000)
    }
    throw TrafficFailed(text: "not in force: \(isOver.text.withLock { $0 } ?? "")")
  }

  /// Whether the data plane has the `index`th port, as far as it was told.
  func isOpen(_ index: Int) -> Bool { open.contains { $0.endpoint.port == ports[index] } }

  /// A connection to the `index`th port.
  func connect(_ index: Int = 0, at address: String = "127.0.0.1") -> BlockingStream {
    let raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    _ = SocketAddress(SocketEndpoint(IPAddress(address)!, ports[index])).withSockaddr {
      Glibc.connect(raw, $0, $1)
    }
    return BlockingStream(raw)
  }

  /// One request on a connection of its own.
  func ask(
    _ path: String = "/", host: String = "a.org", method: String = "GET", _ fields: [(String, String)] = [],
    on index: Int = 0, at address: String = "127.0.0.1"
  ) -> Answer {
    let stream = connect(index, at: address)
    let lines = fields.map { "\($0.0): \($0.1)\r\n" }.joined()
    stream.send("\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\(lines)\r\n")
    guard let head = stream.head() else { return Answer() }
    return Answer(status: Int(head.dropFirst(9).prefix(3)) ?? 0, head: head, body: stream.rest())
  }

  /// Asks until an answer is as wanted, at most so many times, and answers the last.
  func ask(_ path: String, times: Int, until isWanted: (Answer) -> Bool) -> Answer {
    var last = Answer()
    for _ in 0..<times {
      last = ask(path)
      if isWanted(last) { break }
    }
    return last
  }

  /// `curl` with a name for the connection, which may be another than the request's.
  func curl(
    _ name: String, on index: Int, authority: String, _ more: String = "", path: String = "/",
    at address: String = "127.0.0.1"
  ) -> (status: Int32, output: String) {
    run(
      "curl -sS -m 20 --cacert \(authority) --resolve \(name):\(ports[index]):\(address) \(more) https://\(name):\(ports[index])\(path) 2>&1"
    )
  }
}

// `weft ingress` without a node of ours: against manifests and against an API server, with a data plane that has no rights, an access log
// that is rotated, and a program that is replaced while clients connect.
import Foundation
import Testing

@Suite(.serialized) struct IngressAloneTests {
  private static func folder(_ node: TestNode) throws -> String {
    let folder = node.dataFolder + "-ingress"
    try FileManager.default.createDirectory(atPath: folder + "/manifests", withIntermediateDirectories: true)
    try "from the backend".write(toFile: folder + "/page", atomically: true, encoding: .utf8)
    return folder
  }

  private static func backend(_ node: TestNode, _ folder: String) throws -> Process {
    try node.background(Project.files(folder, at: node.address, "9000"))
  }

  static func objects(_ node: TestNode, class name: String) -> String {
    template.replacing("ADDRESS", with: node.address).replacing("CLASS", with: name)
  }

  /// A control plane that knows of no ingress, and an endpoint that answers.
  private final class Foreign {
    let node: TestNode
    private let folder: String
    private let page: Process
    private let server: Process

    init() throws {
      node = try TestNode()
      folder = try IngressAloneTests.folder(node)
      page = try IngressAloneTests.backend(node, folder)
      server = try node.background([
        Project.weft, "server", "--listen", "127.0.0.1:6443", "--data-dir", node.dataFolder,
      ])
    }

    /// As soon as the kinds are there.
    func apply(_ manifests: String) throws {
      let file = folder + "/objects.yaml"
      try manifests.write(toFile: file, atomically: true, encoding: .utf8)
      let applied = eventually(within: 60) { node.kubectl("apply", "-f", file).status == 0 }
      try #require(applied != nil, "\(node.kubectl("apply", "-f", file))")
    }

    func stop() {
      server.terminate()
      kill(page.processIdentifier, SIGKILL)
      try? FileManager.default.removeItem(atPath: folder)
      node.remove()
    }
  }

  private func page(_ node: TestNode, _ host: String = "shop.test") -> Output {
    node.exec("curl", "-s", "-m", "5", "-H", "Host: \(host)", "http://127.0.0.1:8080/page")
  }

  @Test(.timeLimit(.minutes(3)))
  func
    `manifests are served by a process without rights, whose log is rotated and whose program is replaced`()
    throws
  {
    let node = try TestNode()
    defer { node.remove() }
    let folder = try Self.folder(node)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let server = try Self.backend(node, folder)
    defer { kill(server.processIdentifier, SIGKILL) }
    try Self.objects(node, class: "weft").write(
      toFile: folder + "/manifests/objects.yaml", atomically: true, encoding: .utf8)
    let log = folder + "/access.log"
    // A program of its own, which is replaced by others.
    let program = folder + "/weft"
    try FileManager.default.copyItem(atPath: Project.weft, toPath: program)
    let ingress = try node.background([
      program, "ingress", "--manifests", folder + "/manifests", "--http", "127.0.0.1:8080", "--https",
      "none", "--metrics", "127.0.0.1:10254", "--access-log", log,
    ])
    defer { kill(ingress.processIdentifier, SIGKILL) }
    let parent = ingress.processIdentifier
    try #require(
      eventually(within: 60) { page(node).standardOutput == "from the backend" } != nil, "\(page(node))")

    // Nothing to steal: no environment, no arguments but its own, no file but the log, no right.
    let first = try #require(children(of: parent).first)
    #expect(FileManager.default.contents(atPath: "/proc/\(first)/environ")?.isEmpty == true)
    let words = FileManager.default.contents(atPath: "/proc/\(first)/cmdline").map {
      String(decoding: $0, as: UTF8.self)
    }
    #expect(words?.contains("manifests") == false)
    let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(first)/fd").compactMap {
      try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(first)/fd/\($0)")
    }
    #expect(!open.isEmpty)
    for target in open {
      let isKnown =
        ["socket:", "anon_inode:", "pipe:"].contains { target.hasPrefix($0) } || target == "/dev/null"
        || target == log
      #expect(isKnown, "\(target)")
    }
    let rights = try String(contentsOfFile: "/proc/\(first)/status", encoding: .utf8)
    for set in ["CapPrm", "CapEff", "CapBnd"] { #expect(rights.contains("\(set):\t0000000000000000")) }

    // What it counts is on the parent's page.
    func metrics() -> String { node.exec("curl", "-s", "http://127.0.0.1:10254/metrics").standardOutput }
    let series = #"nginx_ingress_controller_requests{ingress="shop",namespace="default",service="shop""#
    #expect(eventually(within: 60) { metrics().contains(series) } != nil, "\(metrics().prefix(2000))")
    #expect(metrics().contains("nginx_ingress_controller_response_duration_seconds_bucket{"))

    try FileManager.default.moveItem(atPath: log, toPath: log + ".1")
    kill(parent, SIGUSR1)
    #expect(eventually(within: 60) { FileManager.default.fileExists(atPath: log) } != nil)
    #expect(page(node).status == 0)
    let line = eventually(within: 60) {
      (try? String(contentsOfFile: log, encoding: .utf8))?.contains("GET /page HTTP/1.1\" 200") == true
    }
    #expect(line != nil)

    // Replaced three times while somebody connects without a pause: the same process, another program, another data plane.
    let client = try ConnectLoop(node, folder, port: 8080, host: "shop.test", page: "from the backend")
    func isRunning(_ file: String) -> Bool {
      let (own, other) = (Self.inode("/proc/\(parent)/exe"), Self.inode(file))
      return own != nil && own == other
    }
    var known: Set<Int32> = [first]
    for round in 0..<3 {
      try FileManager.default.copyItem(atPath: Project.weft, toPath: program + ".new")
      try FileManager.default.removeItem(atPath: program)
      try FileManager.default.moveItem(atPath: program + ".new", toPath: program)
      #expect(!isRunning(program))
      kill(parent, SIGUSR2)
      let next = eventually(within: 60) {
        isRunning(program) && children(of: parent).contains { !known.contains($0) }
          && metrics().contains("replacements_total \(round + 1)")
      }
      #expect(next != nil, "\(children(of: parent)) \(known) \(metrics().prefix(300))")
      known.formUnion(children(of: parent))
    }
    // One that does not start, or knows nothing of this command line, takes nothing over.
    let before = children(of: parent)
    for script in ["#!/bin/sh\nexit 1\n", "no program"] {
      try FileManager.default.removeItem(atPath: program)
      try script.write(toFile: program, atomically: true, encoding: .utf8)
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program)
      kill(parent, SIGUSR2)
      usleep(500_000)
      #expect(page(node).standardOutput == "from the backend")
    }
    #expect(
      eventually(within: 60) { Set(children(of: parent)).isSubset(of: before) } != nil,
      "\(children(of: parent)) \(before)")
    try FileManager.default.removeItem(atPath: program)
    try FileManager.default.copyItem(atPath: Project.weft, toPath: program)
    let (count, failed) = try client.stop()
    #expect(count > 20 && failed == 0, "\(count) \(failed)")
    // Those that were replaced have nobody left.
    #expect(eventually(within: 60) { children(of: parent).count == 1 } != nil, "\(children(of: parent))")

    // One that dies is started anew on the same port.
    if let last = children(of: parent).first { kill(last, SIGKILL) }
    // The connection waits until the next one serves, and is not refused.
    #expect(page(node).standardOutput == "from the backend")
    kill(parent, SIGTERM)
    ingress.waitUntilExit()
    #expect(ingress.terminationStatus == 0)
  }

  @Test(.timeLimit(.minutes(3)))
  func `a foreign cluster's Ingresses are served by class and namespace, and told where`() throws {
    let cluster = try Foreign()
    defer { cluster.stop() }
    let node = cluster.node
    try cluster.apply(Self.objects(node, class: "nginx") + Self.others)
    let ingress = try node.background([
      Project.weft, "ingress", "--kubeconfig", node.kubeconfig, "--http", "127.0.0.1:8080", "--https", "none",
      "--metrics", "none", "--ingress-class", "nginx", "--controller-class", "k8s.io/ingress-nginx",
      "--watch-namespace", "default", "--publish-service", "other/front",
    ])
    defer { kill(ingress.processIdentifier, SIGKILL) }
    #expect(
      eventually(within: 60) { self.page(node).standardOutput == "from the backend" } != nil,
      "\(self.page(node))")
    #expect(self.page(node, "weft.test").standardOutput.contains("404"))
    #expect(self.page(node, "other.test").standardOutput.contains("404"))
    func status(_ namespace: String, _ name: String) -> String {
      node.kubectl("get", "ingress", name, "-n", namespace, "-o", "jsonpath={.status.loadBalancer.ingress}")
        .standardOutput
    }
    #expect(
      eventually(within: 60) { status("default", "shop") == #"[{"ip":"192.0.2.7"}]"# } != nil,
      "\(status("default", "shop"))")
    // Somebody else's, and another namespace's.
    #expect(status("default", "weft").isEmpty && status("other", "other").isEmpty)
    // What becomes another's is told so, and so is everything when the ingress ends.
    func give(_ name: String) {
      #expect(
        node.kubectl("annotate", "ingress", "shop", "--overwrite", "kubernetes.io/ingress.class=\(name)")
          .status
          == 0)
    }
    give("weft")
    #expect(
      eventually(within: 60) { status("default", "shop").isEmpty } != nil, "\(status("default", "shop"))")
    give("nginx")
    #expect(eventually(within: 60) { status("default", "shop") == #"[{"ip":"192.0.2.7"}]"# } != nil)
    kill(ingress.processIdentifier, SIGTERM)
    ingress.waitUntilExit()
    #expect(ingress.terminationStatus == 0)
    #expect(status("default", "shop").isEmpty)
  }

  @Test(.timeLimit(.minutes(3)))
  func `a foreign cluster's Gateways are served and told, and ports of a ConfigMap lead to Services`() throws
  {
    let cluster = try Foreign()
    defer { cluster.stop() }
    let node = cluster.node
    try cluster.apply(Self.objects(node, class: "weft") + Self.alone + Self.gateway("HTTP", port: 8081))
    let ingress = try node.background([
      Project.weft, "ingress", "--kubeconfig", node.kubeconfig, "--http", "127.0.0.1:8080", "--https", "none",
      "--metrics", "none", "--publish-status-address", "192.0.2.7", "--tcp-services-configmap",
      "default/ports",
    ])
    defer { kill(ingress.processIdentifier, SIGKILL) }
    func get(_ port: Int, _ host: String = "gateway.test") -> String {
      node.exec("curl", "-s", "-m", "5", "-H", "Host: \(host)", "http://127.0.0.1:\(port)/page")
        .standardOutput
    }
    #expect(eventually(within: 60) { get(8081) == "from the backend" } != nil, "\(get(8081))")
    #expect(eventually(within: 60) { get(8080, "shop.test") == "from the backend" } != nil)
    #expect(eventually(within: 60) { get(9001) == "from the backend" } != nil, "by the ConfigMap")
    func said(_ path: String) -> String {
      node.kubectl("get", "gateway", "web", "-o", "jsonpath={\(path)}").standardOutput
    }
    let programmed = #".status.conditions[?(@.type=="Programmed")].status"#
    #expect(eventually(within: 60) { said(programmed) == "True" } != nil, "\(said(".status"))")
    #expect(said(".status.addresses[0].value") == "192.0.2.7")
    #expect(said(".status.listeners[0].attachedRoutes") == "1")
    // Another port in the ConfigMap, and none in place of the one there was.
    #expect(
      node.kubectl("patch", "configmap", "ports", "-p", #"{"data":{"9001":null,"9002":"default/shop:80"}}"#)
        .status == 0)
    #expect(eventually(within: 60) { get(9002) == "from the backend" } != nil)
    #expect(eventually(within: 60) { get(9001).isEmpty } != nil)
    #expect(get(8081) == "from the backend")
    // A Gateway of nothing but TCP, in place of the one for HTTP.
    try cluster.apply(Self.gateway("TCP", port: 8083))
    #expect(eventually(within: 60) { get(8083) == "from the backend" } != nil, "\(said(".status"))")
    #expect(eventually(within: 60) { get(8081).isEmpty } != nil)
    kill(ingress.processIdentifier, SIGTERM)
    ingress.waitUntilExit()
    #expect(ingress.terminationStatus == 0)
  }

  /// A Gateway of one port and a route of its kind, HTTP's or TCP's, to the Service.
  static func gateway(_ kind: String, port: Int) -> String {
    """
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata: {name: web, namespace: default}
    spec:
      gatewayClassName: alone
      listeners: [{name: \(kind.lowercased()), port: \(port), protocol: \(kind)}]
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: \(kind)Route
    metadata: {name: shop, namespace: default}
    spec:
      parentRefs: [{name: web}]
      rules: [{backendRefs: [{name: shop, port: 80}]}]

    """
  }

  /// The class of these Gateways, and a port that a ConfigMap asks for.
  static let alone = """
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: GatewayClass
    metadata: {name: alone}
    spec: {controllerName: weft.dev/gateway}
    ---
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: ports, namespace: default}
    data: {"9001": "default/shop:80"}

    """

  private static func inode(_ path: String) -> UInt64? {
    let target = URL(filePath: path).resolvingSymlinksInPath().path()
    let attributes = try? FileManager.default.attributesOfItem(atPath: target)
    return (attributes?[.systemFileNumber] as? NSNumber)?.uint64Value
  }

  @Test(.timeLimit(.minutes(3)))
  func `behind HAProxy the client is who HAProxy says, and who sends no PROXY protocol is refused`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let folder = try Self.folder(node)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let server = try Self.backend(node, folder)
    defer { kill(server.processIdentifier, SIGKILL) }
    try Self.objects(node, class: "weft").write(
      toFile: folder + "/manifests/objects.yaml", atomically: true, encoding: .utf8)
    let fronts = [("send-proxy", 8088), ("send-proxy-v2", 8089)].map { word, port in
      """
      listen front-\(port)
        bind 127.0.0.1:\(port)
        server weft 127.0.0.1:8080 \(word)
      """
    }
    try """
    defaults
      mode tcp
      timeout connect 5s
      timeout client 20s
      timeout server 20s
    \(fronts.joined(separator: "\n"))

    """.write(toFile: folder + "/haproxy.cfg", atomically: true, encoding: .utf8)
    let log = folder + "/access.log"
    let ingress = try node.background([
      Project.weft, "ingress", "--manifests", folder + "/manifests", "--http", "127.0.0.1:8080", "--https",
      "none", "--metrics", "none", "--access-log", log, "--use-proxy-protocol",
    ])
    defer { kill(ingress.processIdentifier, SIGKILL) }
    let haproxy = try node.background(["haproxy", "-db", "-f", folder + "/haproxy.cfg"])
    defer { kill(haproxy.processIdentifier, SIGKILL) }
    func ask(_ port: Int, from client: String, _ more: String...) -> Output {
      node.exec(
        ["curl", "-s", "-m", "5", "--interface", client, "-H", "Host: shop.test"] + more
          + ["http://127.0.0.1:\(port)/page"])
    }
    for (port, client) in [(8088, "127.0.0.77"), (8089, "127.0.0.78")] {
      let answer = eventually(within: 30) {
        ask(port, from: client).standardOutput == "from the backend"
      }
      try #require(answer != nil, "\(ask(port, from: client))")
      let line = eventually(within: 20) {
        (try? String(contentsOfFile: log, encoding: .utf8))?.split(separator: "\n").contains {
          $0.hasPrefix(client + " ") && $0.contains("GET /page HTTP/1.1\" 200")
        } == true
      }
      #expect(line != nil, "\((try? String(contentsOfFile: log, encoding: .utf8)) ?? "no log")")
    }
    // curl speaks it too, for itself; without it nothing is answered.
    #expect(ask(8080, from: "127.0.0.79", "--haproxy-protocol").standardOutput == "from the backend")
    #expect(ask(8080, from: "127.0.0.79").status != 0)
  }

  private static let template = """
    apiVersion: v1
    kind: Service
    metadata: {name: shop, namespace: default}
    spec: {ports: [{port: 80, targetPort: 9000}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: shop-1, namespace: default, labels: {kubernetes.io/service-name: shop}}
    addressType: IPv4
    ports: [{port: 9000, protocol: TCP}]
    endpoints: [{addresses: [ADDRESS]}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: IngressClass
    metadata: {name: weft}
    spec: {controller: weft.dev/ingress}
    ---
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {name: shop, namespace: default, annotations: {kubernetes.io/ingress.class: CLASS}}
    spec:
      rules:
      - host: shop.test
        http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}

    """

  private static let others = """
    ---
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {name: weft, namespace: default}
    spec:
      ingressClassName: weft
      rules:
      - host: weft.test
        http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
    ---
    apiVersion: v1
    kind: Namespace
    metadata: {name: other}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: front, namespace: other}
    spec: {externalIPs: [192.0.2.7], ports: [{port: 80}]}
    ---
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {name: other, namespace: other, annotations: {kubernetes.io/ingress.class: nginx}}
    spec:
      rules:
      - host: other.test
        http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
    """
}

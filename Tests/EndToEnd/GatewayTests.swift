// Gateway API as users meet it: kubectl makes a Gateway and routes, curl asks from outside, routes and listeners are edited.
import Foundation
import Testing

@Suite(.serialized) struct GatewayTests {
  @Test(.timeLimit(.minutes(3)))
  func `a Gateway is served on its own ports, follows its routes, and says what it cannot have`() throws {
    let node = try TestNode()
    defer { node.remove() }
    try node.start()
    let folder = node.dataFolder + "-gateway"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var servers: [Process] = []
    defer { for server in servers { kill(server.processIdentifier, SIGKILL) } }
    for (name, port) in [("one", "9001"), ("two", "9002")] {
      try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: true)
      try "from \(name)".write(toFile: "\(folder)/\(name)/page", atomically: true, encoding: .utf8)
      let server = Process()
      server.executableURL = URL(filePath: "/usr/bin/nsenter")
      server.arguments = [
        "--net=/run/netns/\(node.name)", "--", "python3", "-m", "http.server", port, "--bind", node.address,
        "--directory", "\(folder)/\(name)",
      ]
      server.standardOutput = FileHandle.nullDevice
      server.standardError = FileHandle.nullDevice
      try server.run()
      servers.append(server)
    }
    func apply(_ manifests: String) throws {
      let path = "\(folder)/objects.yaml"
      try manifests.replacingOccurrences(of: "ADDRESS", with: node.address)
        .write(toFile: path, atomically: true, encoding: .utf8)
      // The definitions come a moment after the API server.
      let applied = eventually(within: 30) { node.kubectl("apply", "-f", path).status == 0 }
      try #require(applied != nil, "\(node.kubectl("apply", "-f", path))")
    }
    func ask(_ port: Int, _ more: String...) -> String {
      run(
        ["nsenter", "--net=/run/netns/\(node.outside)", "--", "curl", "-s", "-m", "5"] + more
          + ["http://\(node.address):\(port)/page"]
      ).standardOutput
    }
    func condition(_ kind: String, _ name: String, _ path: String, _ type: String) -> String {
      node.kubectl(
        "get", kind, name, "-o",
        "jsonpath={\(path)[?(@.type==\"\(type)\")].status} {\(path)[?(@.type==\"\(type)\")].reason}"
      ).trimmed
    }
    try #require(eventually(within: 60) { node.kubectl("get", "namespace", "default").status == 0 } != nil)
    try apply(services + "\n---\n" + gateway(ports: [80, 8080]) + "\n---\n" + route("one"))

    #expect(
      eventually(within: 30) { ask(8080) == "from one" } != nil, "\(ask(8080)) \(node.log.suffix(3000))")
    #expect(ask(80) == "from one", "beside Ingresses on their port")
    #expect(
      eventually(within: 20) {
        condition("gateway", "web", ".status.conditions", "Programmed") == "True Programmed"
      } != nil, "\(node.kubectl("get", "gateway", "web", "-o", "yaml"))")
    #expect(
      node.kubectl("get", "gateway", "web", "-o", "jsonpath={.status.addresses[*].value}").trimmed
        == node.address)
    #expect(condition("httproute", "page", ".status.parents[0].conditions", "Accepted") == "True Accepted")

    // An edit of the route, and one of the listeners.
    try apply(route("two"))
    #expect(eventually(within: 20) { ask(8080) == "from two" } != nil)
    try apply(gateway(ports: [80, 8081]))
    #expect(eventually(within: 20) { ask(8081) == "from two" } != nil)
    #expect(eventually(within: 20) { ask(8080, "-o", "/dev/null", "-w", "%{http_code}") == "000" } != nil)

    // An Ingress on the port that both have: its own names there, and nothing of it on ports of Gateways alone.
    try apply(ingress)
    #expect(eventually(within: 20) { ask(80, "-H", "Host: ingress.test") == "from one" } != nil)
    #expect(ask(80) == "from two")
    #expect(ask(8081, "-H", "Host: ingress.test") == "from two")

    // After a restart all is as it was, and nothing was said in between.
    func since() -> String {
      node.kubectl(
        "get", "gateway", "web", "-o",
        "jsonpath={.status.conditions[?(@.type==\"Programmed\")].lastTransitionTime}"
      ).trimmed
    }
    let before = since()
    #expect(node.stop() == 0, "\(node.log.suffix(3000))")
    try node.start()
    #expect(eventually(within: 60) { ask(8081) == "from two" } != nil, "\(node.log.suffix(3000))")
    #expect(condition("gateway", "web", ".status.conditions", "Programmed") == "True Programmed")
    #expect(since() == before && !before.isEmpty)

    // A port that another program has is told, and the others stay.
    try apply(gateway(ports: [80, 8081, 9001]))
    #expect(
      eventually(within: 20) {
        condition("gateway", "web", ".status.listeners[2].conditions", "Accepted") == "False PortUnavailable"
      } != nil, "\(node.kubectl("get", "gateway", "web", "-o", "yaml"))")
    #expect(ask(8081) == "from two")

    // It comes back with a new data plane.
    let child = node.exec(
      "pgrep", "-P", "\(node.processIdentifier)", "-f", "ingress-data-plane"
    ).trimmed
    kill(try #require(pid_t(child), "\(child)"), SIGKILL)
    #expect(eventually(within: 20) { ask(8081) == "from two" } != nil)

    // A backend of another namespace: open as long as its grant is there.
    try apply(far)
    func status() -> String { ask(8081, "-H", "Host: far.test", "-o", "/dev/null", "-w", "%{http_code}") }
    #expect(eventually(within: 20) { status() == "200" } != nil, "\(status())")
    #expect(node.kubectl("delete", "referencegrant", "far", "-n", "far").status == 0)
    let revoked = eventually(within: 20) { status() == "500" }
    #expect(revoked != nil, "\(status())")

    // All of the program is replaced in its own process. Who connects to a port of the Gateway sees nothing of it.
    let client = try ConnectLoop(node, folder, port: 8081, host: "any.test", page: "from two")
    let process = node.processIdentifier
    let planes = node.exec("pgrep", "-P", "\(process)", "-f", "ingress-data-plane").trimmed
    kill(process, SIGUSR2)
    func metrics() -> String { node.exec("curl", "-s", "http://127.0.0.1:10249/metrics").standardOutput }
    #expect(
      eventually(within: 60) { metrics().contains("weft_ingress_replacements_total 1") } != nil,
      "\(node.log.suffix(3000))")
    #expect(eventually(within: 30) { node.kubectl("get", "gateway", "web").status == 0 } != nil)
    let (count, failed) = try client.stop()
    #expect(count > 20 && failed == 0, "\(count) \(failed)")
    #expect(node.exec("pgrep", "-P", "\(process)", "-f", "ingress-data-plane").trimmed != planes)
    try apply(route("one"))
    #expect(eventually(within: 30) { ask(8081) == "from one" } != nil, "\(node.log.suffix(3000))")
    #expect(node.kubectl("delete", "gateway", "web").status == 0)
    #expect(eventually(within: 20) { ask(8081, "-o", "/dev/null", "-w", "%{http_code}") == "000" } != nil)
    #expect(eventually(within: 20) { ask(80, "-o", "/dev/null", "-w", "%{http_code}") == "404" } != nil)
    #expect(node.stop() == 0, "\(node.log.suffix(3000))")
  }

  private func gateway(ports: [Int]) -> String {
    """
    apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata: {name: web, namespace: default}
    spec:
      gatewayClassName: weft
      listeners: [\(ports.map { "{name: http-\($0), port: \($0), protocol: HTTP}" }.joined(separator: ", "))]
    """
  }

  private let ingress = """
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {name: own, namespace: default}
    spec:
      ingressClassName: weft
      rules:
        - host: ingress.test
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}]}
    """

  private let far = """
    apiVersion: v1
    kind: Namespace
    metadata: {name: far}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: far, namespace: far}
    spec: {ports: [{port: 80, targetPort: 9001}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: far-1, namespace: far, labels: {kubernetes.io/service-name: far}}
    addressType: IPv4
    ports: [{port: 9001, protocol: TCP}]
    endpoints: [{addresses: [ADDRESS]}]
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: ReferenceGrant
    metadata: {name: far, namespace: far}
    spec:
      from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
      to: [{group: "", kind: Service, name: far}]
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: far, namespace: default}
    spec:
      parentRefs: [{name: web}]
      hostnames: [far.test]
      rules: [{backendRefs: [{name: far, namespace: far, port: 80}]}]
    """

  private func route(_ service: String) -> String {
    """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: page, namespace: default}
    spec:
      parentRefs: [{name: web}]
      rules: [{matches: [{path: {type: PathPrefix, value: /page}}], backendRefs: [{name: \(service), port: 80}]}]
    """
  }

  private var services: String {
    [("one", 9001), ("two", 9002)].map { name, port in
      """
      apiVersion: v1
      kind: Service
      metadata: {name: \(name)}
      spec: {ports: [{port: 80, targetPort: \(port)}]}
      ---
      apiVersion: discovery.k8s.io/v1
      kind: EndpointSlice
      metadata: {name: \(name)-1, labels: {kubernetes.io/service-name: \(name)}}
      addressType: IPv4
      ports: [{port: \(port), protocol: TCP}]
      endpoints: [{addresses: [ADDRESS]}]
      """
    }.joined(separator: "\n---\n")
  }
}

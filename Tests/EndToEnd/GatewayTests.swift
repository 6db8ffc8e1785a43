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

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
      servers.append(try node.background(Project.files("\(folder)/\(name)", at: node.address, port)))
    }
    func apply(_ manifests: String) throws {
      let path = "\(folder)/objects.yaml"
      try manifests.replacingOccurrences(of: "ADDRESS", with: node.address)
        .write(toFile: path, atomically: true, encoding: .utf8)
      // The definitions come a moment after the API server.
      let applied = eventually(within: 60) { node.kubectl("apply", "-f", path).status == 0 }
      try #require(applied != nil, "\(node.kubectl("apply", "-f", path))")
    }
    func ask(_ port: Int, _ more: String...) -> String {
      run(
        ["nsenter", "--net=/run/netns/\(node.outside)", "--", "curl", "-s", "-m", "20"] + more
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
      eventually(within: 60) { ask(8080) == "from one" } != nil, "\(ask(8080)) \(node.log.suffix(3000))")
    #expect(ask(80) == "from one", "beside Ingresses on their port")
    #expect(
      eventually(within: 60) {
        condition("gateway", "web", ".status.conditions", "Programmed") == "True Programmed"
      } != nil, "\(node.kubectl("get", "gateway", "web", "-o", "yaml"))")
    #expect(
      node.kubectl("get", "gateway", "web", "-o", "jsonpath={.status.addresses[*].value}").trimmed
        == node.address)
    #expect(condition("httproute", "page", ".status.parents[0].conditions", "Accepted") == "True Accepted")

    // An edit of the route, and one of the listeners.
    try apply(route("two"))
    #expect(eventually(within: 60) { ask(8080) == "from two" } != nil)
    try apply(gateway(ports: [80, 8081]))
    #expect(eventually(within: 60) { ask(8081) == "from two" } != nil)
    #expect(eventually(within: 60) { ask(8080, "-o", "/dev/null", "-w", "%{http_code}") == "000" } != nil)

    // An Ingress on the port that both have: its own names there, and nothing of it on ports of Gateways alone.
    try apply(ingress)
    #expect(eventually(within: 60) { ask(80, "-H", "Host: ingress.test") == "from one" } != nil)
    #expect(ask(80) == "from two")
    #expect(ask(8081, "-H", "Host: ingress.test") == "from two")

    try requestsAreExplained(node, folder, apply)

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
      eventually(within: 60) {
        condition("gateway", "web", ".status.listeners[2].conditions", "Accepted") == "False PortUnavailable"
      } != nil, "\(node.kubectl("get", "gateway", "web", "-o", "yaml"))")
    #expect(ask(8081) == "from two")

    // It comes back with a new data plane.
    let child = node.exec(
      "pgrep", "-P", "\(node.processIdentifier)", "-f", "ingress-data-plane"
    ).trimmed
    kill(try #require(pid_t(child), "\(child)"), SIGKILL)
    #expect(eventually(within: 60) { ask(8081) == "from two" } != nil)

    // A backend of another namespace: open as long as its grant is there.
    try apply(far)
    func status() -> String { ask(8081, "-H", "Host: far.test", "-o", "/dev/null", "-w", "%{http_code}") }
    #expect(eventually(within: 60) { status() == "200" } != nil, "\(status())")
    #expect(node.kubectl("delete", "referencegrant", "far", "-n", "far").status == 0)
    let revoked = eventually(within: 60) { status() == "500" }
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
    #expect(eventually(within: 60) { node.kubectl("get", "gateway", "web").status == 0 } != nil)
    let (count, failed) = try client.stop()
    #expect(count > 20 && failed == 0, "\(count) \(failed)")
    #expect(node.exec("pgrep", "-P", "\(process)", "-f", "ingress-data-plane").trimmed != planes)
    try apply(route("one"))
    #expect(eventually(within: 60) { ask(8081) == "from one" } != nil, "\(node.log.suffix(3000))")
    #expect(node.kubectl("delete", "gateway", "web").status == 0)
    #expect(eventually(within: 60) { ask(8081, "-o", "/dev/null", "-w", "%{http_code}") == "000" } != nil)
    #expect(eventually(within: 60) { ask(80, "-o", "/dev/null", "-w", "%{http_code}") == "404" } != nil)
    #expect(node.stop() == 0, "\(node.log.suffix(3000))")
  }

  /// Over HTTP and HTTPS: listener, route, certificate, endpoints; and the certificate is a line of `weft check`.
  private func requestsAreExplained(_ node: TestNode, _ folder: String, _ apply: (String) throws -> Void)
    throws
  {
    let made = run([
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
      "9", "-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test", "-keyout",
      "\(folder)/shop.key", "-out", "\(folder)/shop.pem",
    ])
    try #require(made.status == 0, "\(made)")
    let secret = node.kubectl(
      "create", "secret", "tls", "shop", "--cert", "\(folder)/shop.pem", "--key", "\(folder)/shop.key")
    try #require(secret.status == 0, "\(secret)")
    try apply(secured)
    let served = eventually(within: 60) {
      run([
        "nsenter", "--net=/run/netns/\(node.outside)", "--", "curl", "-s", "-m", "20", "--cacert",
        "\(folder)/shop.pem", "--resolve", "shop.test:8443:\(node.address)", "https://shop.test:8443/page",
      ]).standardOutput == "from two"
    }
    #expect(served != nil, "\(node.kubectl("get", "gateway", "web", "-o", "yaml"))\n\(node.log.suffix(2000))")
    func explain(_ url: String) -> Output {
      node.weft("explain", node.outsideAddress, url, "--kubeconfig", node.kubeconfig)
    }
    let plain = explain("http://\(node.address):8081/page")
    #expect(
      plain.status == 0 && plain.standardOutput.contains("Gateway default/web: listener http-8081"),
      "\(plain)")
    let secure = explain("https://shop.test:8443/page")
    #expect(
      secure.status == 0 && secure.standardOutput.contains("Gateway default/web: listener https"), "\(secure)"
    )
    #expect(
      secure.lines.contains {
        $0.hasPrefix("‼ certificate")
          && $0.contains("CLI0145 Secret default/shop: the certificate of shop.test")
      }, "\(secure)")
    #expect(secure.standardOutput.contains("HTTPRoute default/page rule 0 (PathPrefix /page)"), "\(secure)")
    let lost = explain("https://shop.test:8443/other")
    #expect(lost.status == 1 && lost.standardOutput.contains("answered with 404"), "\(lost)")
    let check = node.weft("check", "--kubeconfig", node.kubeconfig, seconds: 60)
    let lines = check.lines.filter { $0.contains("certificate of shop.test") || $0.contains("cluster ca ") }
    #expect(lines.count == 2, "\(check)")
    #expect(
      lines.contains { $0.hasPrefix("‼ Secret default/shop") && $0.contains("CLI0145") }
        && lines.contains { $0.hasPrefix("√ cluster ca") && $0.contains("the authority is good for") },
      "\(lines)")
  }

  private let secured = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata: {name: web, namespace: default}
    spec:
      gatewayClassName: weft
      listeners:
      - {name: http-80, port: 80, protocol: HTTP}
      - {name: http-8081, port: 8081, protocol: HTTP}
      - {name: https, port: 8443, protocol: HTTPS, hostname: shop.test, tls: {certificateRefs: [{name: shop}]}}
    """

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

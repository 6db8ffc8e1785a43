// HTTPS as users meet it: kubectl makes a Secret and an Ingress, curl asks from outside, the certificate changes, breaks and
// is told about.
import Foundation
import Testing

@Suite(.serialized) struct IngressTLSTests {
  @Test(.timeLimit(.minutes(3)))
  func `an Ingress with a Secret is served over HTTPS and HTTP 2, follows it, and says what is wrong`() throws
  {
    let node = try TestNode()
    defer { node.remove() }
    try node.start()
    let folder = node.dataFolder + "-tls"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try "from the backend".write(toFile: folder + "/page", atomically: true, encoding: .utf8)
    let backend = try node.background(Project.files(folder, at: node.address, "9000"))
    defer { kill(backend.processIdentifier, SIGKILL) }

    try #require(eventually(within: 60) { node.kubectl("get", "namespace", "default").status == 0 } != nil)
    try objects.replacingOccurrences(of: "ADDRESS", with: node.address)
      .write(toFile: folder + "/objects.yaml", atomically: true, encoding: .utf8)
    let applied = eventually(within: 60) { node.kubectl("apply", "-f", folder + "/objects.yaml").status == 0 }
    try #require(applied != nil, "\(node.kubectl("apply", "-f", folder + "/objects.yaml"))")

    // The Secret does not exist yet: its Ingress is told so, and served over HTTP.
    func events() -> String {
      node.kubectl("get", "events", "--field-selector", "type=Warning").standardOutput
    }
    #expect(
      eventually(within: 60) { events().contains("tls: secret default/shop does not exist") } != nil,
      "\(events())")
    func plain() -> Output {
      node.execOutside("curl", "-s", "-m", "20", "-H", "Host: shop.test", "http://\(node.address)/page")
    }
    // The backend may still be starting.
    #expect(eventually(within: 60) { plain().standardOutput == "from the backend" } != nil, "\(plain())")
    // Its status says where it is reached.
    func reached() -> String {
      node.kubectl("get", "ingress", "shop", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
        .standardOutput
    }
    #expect(eventually(within: 60) { reached() == node.address } != nil, "\(reached())")

    func trusts(_ certificate: String, _ more: String...) -> Output {
      run(
        [
          "nsenter", "--net=/run/netns/\(node.outside)", "--", "curl", "-sS", "-m", "20", "--cacert",
          certificate, "--resolve", "shop.test:443:\(node.address)",
        ] + more
          + ["https://shop.test/page"])
    }
    let first = try secret(node, folder, "first", days: 90)
    #expect(
      eventually(within: 60) { trusts(first).standardOutput == "from the backend" } != nil, "\(trusts(first))"
    )
    let version = trusts(first, "--http2", "-o", "/dev/null", "-w", "%{http_version}")
    #expect(version.standardOutput == "2", "\(version)")
    let redirect = node.execOutside(
      "curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-H",
      "Host: shop.test",
      "http://\(node.address)/page")
    #expect(redirect.standardOutput == "308 https://shop.test/page", "\(redirect)")

    // Another certificate, one that ends soon: in force without a restart, and warned of.
    let second = try secret(node, folder, "second", days: 10)
    #expect(eventually(within: 60) { trusts(second).status == 0 } != nil, "\(trusts(second))")
    #expect(trusts(first).status == 60)
    #expect(eventually(within: 60) { events().contains("CertificateExpiring") } != nil, "\(events())")
    let metrics = node.exec("curl", "-s", "http://127.0.0.1:10249/metrics").standardOutput
    #expect(
      metrics.contains(
        "nginx_ingress_controller_ssl_expire_time_seconds{host=\"shop.test\",namespace=\"default\",secret_name=\"shop\"}"
      ))
    try annotations(node, folder, second, trusts)
    #expect(node.stop() == 0, "\(node.log.suffix(3000))")
  }

  /// A ConfigMap and an authority that annotations name are followed, and `weft ingress migrate` tells what becomes of them.
  private func annotations(
    _ node: TestNode, _ folder: String, _ certificate: String, _ ask: (String, String...) -> Output
  ) throws {
    let prefix = "nginx.ingress.kubernetes.io/"
    for command in [
      ["create", "configmap", "fields", "--from-literal=X-Shop=open"],
      ["create", "secret", "generic", "ca", "--from-file=ca.crt=\(certificate)"],
      [
        "annotate", "ingress", "shop", "\(prefix)custom-headers=default/fields",
        "\(prefix)auth-tls-secret=default/ca",
      ],
    ] {
      let done = node.kubectl(command)
      try #require(done.status == 0, "\(done)")
    }
    func refused() -> Output { ask(certificate, "-o", "/dev/null", "-w", "%{http_code}") }
    #expect(eventually(within: 60) { refused().standardOutput == "400" } != nil, "\(refused())")
    func admitted() -> Output {
      ask(certificate, "-i", "--cert", certificate, "--key", "\(folder)/second.key")
    }
    let seen = eventually(within: 60) {
      admitted().standardOutput.lowercased().contains("\r\nx-shop: open\r\n")
    }
    #expect(seen != nil, "\(admitted())")
    let migration = node.exec(
      Project.weft, "ingress", "migrate", "--live", "--kubeconfig", node.kubeconfig, "-o", "json")
    #expect(
      migration.status == 1 && migration.standardOutput.contains("\"code\":\"MIG0011\""), "\(migration)")
    #expect(migration.standardOutput.contains("{\"name\":\"X-Shop\",\"value\":\"open\"}"), "\(migration)")
  }

  /// Makes a certificate and puts it into the Secret. Answers the certificate's path.
  private func secret(_ node: TestNode, _ folder: String, _ name: String, days: Int) throws -> String {
    let (certificate, key) = ("\(folder)/\(name).pem", "\(folder)/\(name).key")
    let made = run([
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
      "\(days)",
      "-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test", "-keyout", key, "-out",
      certificate,
    ])
    try #require(made.status == 0, "\(made)")
    let text = node.kubectl(
      "create", "secret", "tls", "shop", "--cert", certificate, "--key", key, "--dry-run=client", "-o", "yaml"
    )
    try text.standardOutput.write(toFile: "\(folder)/secret.yaml", atomically: true, encoding: .utf8)
    let applied = node.kubectl("apply", "-f", "\(folder)/secret.yaml")
    try #require(applied.status == 0, "\(applied)")
    return certificate
  }

  private let objects = """
    apiVersion: v1
    kind: Service
    metadata: {name: shop}
    spec: {ports: [{port: 80, targetPort: 9000}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
    addressType: IPv4
    ports: [{port: 9000, protocol: TCP}]
    endpoints: [{addresses: [ADDRESS]}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {name: shop}
    spec:
      ingressClassName: weft
      tls: [{hosts: [shop.test], secretName: shop}]
      rules:
        - host: shop.test
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
    """
}

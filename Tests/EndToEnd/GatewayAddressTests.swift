// Gateways of one port and different addresses as users meet them: manifests in a folder, curl to each address, a Gateway that asks for no
// address and goes again.
import Foundation
import Testing

@Suite(.serialized) struct GatewayAddressTests {
  private let addresses = ["198.51.100.2", "198.51.100.3", "198.51.100.4"]

  @Test(.timeLimit(.minutes(4)))
  func `Gateways of one port serve at their own addresses, also while one for all addresses comes and goes`()
    throws
  {
    let node = try TestNode()
    defer { node.remove() }
    for address in addresses {
      #expect(node.exec("ip", "addr", "add", address + "/32", "dev", "lo").status == 0)
    }
    let folder = node.dataFolder + "-addresses"
    try FileManager.default.createDirectory(atPath: folder + "/manifests", withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for page in ["a", "b", "c"] {
      try "page \(page)".write(toFile: "\(folder)/\(page)", atomically: true, encoding: .utf8)
    }
    let server = try node.background(Project.files(folder, at: node.address, "9000"))
    defer { kill(server.processIdentifier, SIGKILL) }
    try
      (base.replacing("ADDRESS", with: node.address) + gateway("a", at: addresses[0])
      + gateway("b", at: addresses[1])).write(
        toFile: folder + "/manifests/objects.yaml", atomically: true, encoding: .utf8)
    let ingress = try node.background([
      Project.weft, "ingress", "--manifests", folder + "/manifests", "--http", "0.0.0.0:80", "--https",
      "none",
      "--gateway-api", "true", "--metrics", "none",
    ])
    defer { kill(ingress.processIdentifier, SIGKILL) }

    /// What each address says to each path.
    func answers(_ port: Int) -> [String] {
      addresses.map { address in
        ["a", "b", "c"].map { page in
          node.exec(
            "curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}",
            "http://\(address):\(port)/\(page)"
          ).standardOutput
        }.joined(separator: " ")
      }
    }
    let apart = ["200 404 404", "404 200 404", "000 000 000"]
    #expect(eventually(within: 60) { answers(8080) == apart } != nil, "\(answers(8080))")
    #expect(
      answers(80) == ["200 404 404", "404 200 404", "404 404 404"], "beside Ingresses, on their socket")
    // One for all addresses takes the port's one socket, and gives it back.
    let other = folder + "/manifests/other.yaml"
    try gateway("c", at: nil).write(toFile: other, atomically: true, encoding: .utf8)
    let together = ["200 404 404", "404 200 404", "404 404 200"]
    #expect(eventually(within: 60) { answers(8080) == together } != nil, "\(answers(8080))")
    try FileManager.default.removeItem(atPath: other)
    #expect(eventually(within: 60) { answers(8080) == apart } != nil, "\(answers(8080))")
  }

  private let base = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: GatewayClass
    metadata: {name: weft}
    spec: {controllerName: weft.dev/gateway}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: pages, namespace: default}
    spec: {ports: [{port: 80, targetPort: 9000}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: pages-1, namespace: default, labels: {kubernetes.io/service-name: pages}}
    addressType: IPv4
    ports: [{port: 9000, protocol: TCP}]
    endpoints: [{addresses: [ADDRESS]}]

    """

  /// A Gateway with a route for the page of its name.
  private func gateway(_ name: String, at address: String?) -> String {
    let asked = address.map { "addresses: [{type: IPAddress, value: \($0)}], " } ?? ""
    let shared = address == nil ? "" : ", {name: shared, port: 80, protocol: HTTP}"
    return """
      ---
      apiVersion: gateway.networking.k8s.io/v1
      kind: Gateway
      metadata: {name: \(name), namespace: default}
      spec: {gatewayClassName: weft, \(asked)listeners: [{name: http, port: 8080, protocol: HTTP}\(shared)]}
      ---
      apiVersion: gateway.networking.k8s.io/v1
      kind: HTTPRoute
      metadata: {name: \(name), namespace: default}
      spec:
        parentRefs: [{name: \(name)}]
        rules: [{matches: [{path: {value: /\(name)}}], backendRefs: [{name: pages, port: 80}]}]

      """
  }
}

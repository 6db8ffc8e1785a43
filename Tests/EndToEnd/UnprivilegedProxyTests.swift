// `weft proxy --mode userspace` without a single capability: it starts, serves what it may, and says what it may not, by code.
import Foundation
import Testing

@Suite(.serialized) struct UnprivilegedProxyTests {
  private static let manifests = """
    apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: demo}
    spec: {type: NodePort, clusterIP: 10.43.0.10, ports: [{name: http, port: 8000, nodePort: 30080}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: web-1, namespace: demo, labels: {kubernetes.io/service-name: web}}
    addressType: IPv4
    ports: [{name: http, port: 8080, protocol: TCP}]
    endpoints: [{addresses: [172.31.99.1], conditions: {ready: true}}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: local, namespace: demo}
    spec: {clusterIP: 10.43.0.11, ports: [{name: http, port: 8000}, {name: low, port: 80}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: local-1, namespace: demo, labels: {kubernetes.io/service-name: local}}
    addressType: IPv4
    ports: [{name: http, port: 8080, protocol: TCP}, {name: low, port: 8080, protocol: TCP}]
    endpoints: [{addresses: [172.31.99.1], conditions: {ready: true}}]
    """

  @Test(.timeLimit(.minutes(2)))
  func `without capabilities the mode of rules ends with an error that says so`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let folder = "\(node.dataFolder)-manifests"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Self.manifests.write(toFile: "\(folder)/services.yaml", atomically: true, encoding: .utf8)
    let output = node.exec(
      "setpriv", "--bounding-set=-all", "--inh-caps=-all", Project.weft, "proxy", "--manifests", folder,
      "--metrics",
      "none", "--healthz", "none")
    #expect(output.status == 2 && output.standardError.contains("NET0010"), "\(output)")
    #expect(output.standardError.contains("Operation not permitted"), "\(output)")
    #expect(node.exec("nft", "list", "tables").standardOutput == "")
  }

  @Test(.timeLimit(.minutes(2)))
  func `without capabilities node ports and local addresses are served, and the rest is named`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let folder = "\(node.dataFolder)-manifests"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Self.manifests.write(toFile: "\(folder)/services.yaml", atomically: true, encoding: .utf8)
    // What an administrator may do beforehand.
    node.exec("ip", "route", "add", "local", "10.43.0.11", "dev", "lo")
    node.exec("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=1024")
    let server = try node.background(Project.files(folder, at: node.address, "8080"))
    // Children of a test's thread inherit its blocked signals; this one nothing blocks.
    defer { kill(server.processIdentifier, SIGKILL) }
    let command =
      "exec setpriv --bounding-set=-all --inh-caps=-all \(Project.weft) proxy --mode userspace --transparent-source "
      + "--manifests \(folder) --metrics 127.0.0.1:10249 --healthz none > \(node.logPath) 2>&1"
    let proxy = try node.background(["sh", "-c", command])
    defer { proxy.terminate() }
    func get(_ host: String, from outside: Bool = false, seconds: Int = 20) -> Output {
      let words = [
        "curl", "-s", "-o", "/dev/null", "-m", "\(seconds)", "-w", "%{http_code}",
        "http://\(host)/services.yaml",
      ]
      let place = outside ? node.outside : node.name
      return run(["nsenter", "--net=/run/netns/\(place)", "--"] + words)
    }
    let served = eventually(within: 60) {
      get("\(node.address):30080", from: true).standardOutput == "200"
    }
    try #require(served != nil, "\(node.log.suffix(3000))")
    #expect(get("10.43.0.11:8000").standardOutput == "200", "\(node.log.suffix(3000))")
    #expect(get("10.43.0.10:8000", seconds: 2).standardOutput == "000", "nobody made this address local")
    #expect(get("10.43.0.11:80", seconds: 2).standardOutput == "000")
    for code in ["PRX0021", "PRX0022", "PRX0023"] {
      #expect(node.log.components(separatedBy: code).count == 2, "\(code) once:\n\(node.log.suffix(3000))")
    }
    #expect(node.log.contains("CAP_NET_ADMIN") && node.log.contains("CAP_NET_BIND_SERVICE"))
    kill(proxy.processIdentifier, SIGTERM)
    #expect(eventually(within: 60) { !proxy.isRunning } != nil)
    #expect(proxy.terminationStatus == 0, "\(node.log.suffix(3000))")
    #expect(
      node.exec("ip", "route", "show", "table", "local").standardOutput.contains("10.43.0.11"),
      "what is not ours stays")
  }
}

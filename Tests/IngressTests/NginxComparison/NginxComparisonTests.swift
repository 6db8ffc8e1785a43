// The same requests to nginx, configured as ingress-nginx's documentation says, and to our data plane with the annotations: status, fields
// of the answer, and what the endpoint got. Where the two differ the table says why, and a difference that is gone is a failure too.

import Addresses
import ClusterObjects
import ClusterView
import Foundation
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct NginxComparisonTests {
  /// Both of them in front of the same endpoints.
  private final class Lab {
    let backends: [Backend]
    let ingress: TestIngress
    let nginx: NginxPeer
    let plan: RoutePlan

    init(_ cases: [ComparedCase]) throws {
      backends = try ["echo", "echo-other", "echo-third", "auth"].map(Backend.init)
      let names = ["echo", "other", "third", "auth"]
      let endpoints = Dictionary(uniqueKeysWithValues: zip(names, backends.map(\.endpoint)))
      let view = Self.view(endpoints, cases.flatMap(\.ingresses))
      let users = CredentialSecret(secret: ["data": ["auth": JSON(Base64.encode(Array(Self.users.utf8)))]])
      plan = planRoutesExplained(
        view: view, credentials: [ObjectKey("demo", "users"): users],
        headers: [ObjectKey("demo", "fields"): ["X-Custom": "a b"]])
      ingress = try TestIngress(try RouteTable(encoded: plan.table.encoded()))
      let other = "server { listen 127.0.0.1:PORT default_server; return 404; }"
      nginx = try NginxPeer(
        http: other + cases.map(\.nginx).joined(separator: "\n"), upstreams: endpoints,
        files: ["users": Array(Self.users.utf8)])
    }

    static let users = "u:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"

    func stop() {
      nginx.stop()
      ingress.stop()
      for backend in backends { backend.kill() }
    }

    static func view(_ endpoints: [String: SocketEndpoint], _ ingresses: [JSON]) -> ClusterView {
      var objects: [JSON] = [
        ["kind": "IngressClass", "metadata": ["name": "nginx"], "spec": ["controller": "weft.dev/ingress"]]
      ]
      for (name, endpoint) in endpoints {
        objects.append([
          "kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"],
          "spec": ["clusterIP": "10.43.0.9", "ports": [["name": "http", "port": 80]]],
        ])
        objects.append([
          "kind": "EndpointSlice", "addressType": "IPv4",
          "metadata": [
            "name": JSON("\(name)-1"), "namespace": "demo",
            "labels": ["kubernetes.io/service-name": JSON(name)],
          ],
          "ports": [["name": "http", "port": .integer(Int64(endpoint.port)), "protocol": "TCP"]],
          "endpoints": [["addresses": ["127.0.0.1"], "conditions": ["ready": true]]],
        ])
      }
      return ClusterView(objects: objects + ingresses)
    }
  }

  /// What became of a request, as far as it has to be the same.
  private struct Outcome: Equatable, CustomStringConvertible {
    var status: Int
    /// Fields of the answer that annotations are about, sorted.
    var fields: [String]
    /// The endpoint's name, then what it got: the request's line and fields, sorted.
    var forwarded: [String]
    var description: String { "\(status) \(fields) \(forwarded)" }
  }

  private static let answerFields = ["location", "www-authenticate", "vary", "set-cookie", "x-custom"]

  private func ask(_ request: ComparedRequest, _ endpoint: SocketEndpoint) -> Outcome? {
    let client = Client(endpoint)
    client.send(request.text)
    guard let answer = client.response(toHead: request.line.hasPrefix("HEAD")) else { return nil }
    func neutral(_ line: String) -> String {
      // Each has ports and names for requests of its own.
      let plain = line.replacing(":\(endpoint.port)", with: ":PORT")
      if plain.hasPrefix("x-request-id: ") { return "x-request-id: …" }
      if plain.hasPrefix("x-forwarded-port: ") { return "x-forwarded-port: PORT" }
      return plain
    }
    func fields(_ head: Substring) -> [String] {
      head.split(separator: "\r\n").map { line in
        let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !line.contains(" HTTP/1.1") else { return String(line) }
        return neutral("\(parts[0].lowercased()):\(parts[1])")
      }
    }
    let kept = fields(answer.head[...]).filter { line in
      Self.answerFields.contains { line.hasPrefix($0 + ":") } || line.hasPrefix("access-control-")
    }
    let body = text(answer.body)
    let isTold = answer.status == 200 && body.hasPrefix("echo")
    let parts = body.split(separator: "\n", maxSplits: 1).map(String.init)
    let forwarded = isTold ? [parts[0]] + fields(parts[1][...]).sorted() : []
    return Outcome(status: answer.status, fields: kept.sorted(), forwarded: forwarded)
  }

  @Test func `annotations mean what nginx makes of them, but for differences with a name`() throws {
    let lab = try Lab(comparedCases)
    defer { lab.stop() }
    #expect(lab.plan.problems.isEmpty, "\(lab.plan.problems)")
    var compared = 0
    for test in comparedCases {
      for request in test.requests {
        let theirs = ask(request, lab.nginx.endpoint)
        let ours = ask(request, lab.ingress.endpoint)
        #expect(theirs != nil && ours != nil, "\(test.name): \(request.line)")
        let place =
          "\(test.name): \(request.line) to \(request.host) \(request.fields)\nnginx: \(theirs as Any)\nours:  \(ours as Any)"
        if request.differs == nil {
          #expect(ours == theirs, "\(place)")
        } else {
          #expect(ours != theirs, "\(place)")
        }
        compared += 1
      }
    }
    #expect(compared > 80)
  }

  /// How many of a burst are let through, and how many at once.
  @Test func `limits let through as many as nginx does`() throws {
    let limits = ComparedCase(
      name: "limits",
      ingresses: [
        nginxIngress(
          "rate", ["limit-rpm": "2", "limit-burst-multiplier": "3"], host: "rate.test", service: "echo"),
        nginxIngress("once", ["limit-connections": "2"], host: "once.test", service: "echo"),
      ],
      nginx: """
        limit_req_zone $binary_remote_addr zone=rate:1m rate=2r/m; limit_conn_zone $binary_remote_addr zone=once:1m;
        server { listen 127.0.0.1:PORT; server_name rate.test;
          location / { limit_req zone=rate burst=6 nodelay; \(NginxPeer.pass("echo")) } }
        server { listen 127.0.0.1:PORT; server_name once.test;
          location / { limit_conn once 2; \(NginxPeer.pass("echo")) } }
        """, requests: [])
    let lab = try Lab([limits])
    defer { lab.stop() }
    for endpoint in [lab.nginx.endpoint, lab.ingress.endpoint] {
      let burst = (0..<12).map { _ in ask(ComparedRequest("GET /", "rate.test"), endpoint)?.status ?? 0 }
      #expect(burst == Array(repeating: 200, count: 7) + Array(repeating: 503, count: 5), "\(endpoint)")
      let before = lab.backends[0].served.load(ordering: .relaxed)
      let waiting = (0..<2).map { _ in Client(endpoint) }
      for client in waiting { client.send("GET /never HTTP/1.1\r\nHost: once.test\r\n\r\n") }
      #expect(eventually { lab.backends[0].served.load(ordering: .relaxed) == before + 2 })
      #expect(ask(ComparedRequest("GET /", "once.test"), endpoint)?.status == 503, "\(endpoint)")
      #expect(waiting.count == 2)
    }
  }
}

// The kinds of Gateway API as the server has them once their definitions are installed: what it takes, what it refuses, what it fills in.

import ClusterClient
import ClusterObjects
import ClusterServer
import Foundation
import SoakLab
import Testing

@Suite struct GatewayKindsTests {
  private static func resource(_ plural: String, _ version: String = "v1") -> GroupVersionResource {
    GroupVersionResource("gateway.networking.k8s.io", version, plural)
  }

  private func object(_ kind: String, _ spec: String, version: String = "v1", name: String = "a") throws
    -> JSON
  {
    var tree: JSON = [
      "apiVersion": JSON("gateway.networking.k8s.io/\(version)"), "kind": JSON(kind),
      "metadata": ["name": JSON(name)],
    ]
    if kind != "GatewayClass" { tree.set("default", at: "metadata", "namespace") }
    tree["spec"] = try YAML.parse(spec)
    return tree
  }

  private func withKinds(_ body: (ClusterServer, any ClusterAPI) async throws -> Void) async throws {
    try await withServer { server, _ in
      try await server.installGatewayAPI()
      try await body(server, server.client(user: "weft-admin", groups: ["system:masters"]))
    }
  }

  private static let kinds: [(kind: String, plural: String, versions: [String])] = [
    ("GatewayClass", "gatewayclasses", ["v1", "v1beta1"]), ("Gateway", "gateways", ["v1", "v1beta1"]),
    ("ListenerSet", "listenersets", ["v1"]), ("HTTPRoute", "httproutes", ["v1", "v1beta1"]),
    ("GRPCRoute", "grpcroutes", ["v1"]), ("TLSRoute", "tlsroutes", ["v1"]), ("TCPRoute", "tcproutes", ["v1"]),
    ("UDPRoute", "udproutes", ["v1"]), ("ReferenceGrant", "referencegrants", ["v1", "v1beta1"]),
    ("BackendTLSPolicy", "backendtlspolicies", ["v1"]),
  ]

  private static let listener = "name: http, port: 80, protocol: HTTP"
  private static let good: [(kind: String, spec: String)] = [
    ("GatewayClass", "{controllerName: weft.dev/gateway}"),
    ("Gateway", "{gatewayClassName: weft, listeners: [{\(listener)}], addresses: [{value: 192.0.2.1}]}"),
    ("ListenerSet", "{parentRef: {name: gw}, listeners: [{\(listener)}]}"),
    (
      "HTTPRoute",
      """
      parentRefs: [{name: gw, sectionName: http}]
      hostnames: ['*.example.org', a.example.org]
      rules:
      - matches:
        - {path: {type: Exact, value: /a}, headers: [{name: X-A, value: b}], queryParams: [{name: q, value: v}], method: GET}
        filters:
        - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}}
        - {type: RequestMirror, requestMirror: {backendRef: {name: two, port: 80}, percent: 5}}
        - {type: CORS, cors: {allowOrigins: ['https://*.example.org'], allowMethods: ['*'], maxAge: 9}}
        - {type: URLRewrite, urlRewrite: {hostname: b.example.org, path: {type: ReplaceFullPath, replaceFullPath: /b}}}
        backendRefs:
        - {name: one, port: 80, weight: 3, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x]}}]}
        timeouts: {request: 10s, backendRequest: 1s500ms}
      """
    ),
    (
      "GRPCRoute",
      "{parentRefs: [{name: gw}], rules: [{matches: [{method: {service: a.B, method: Go}}], backendRefs: [{name: one, port: 80}]}]}"
    ),
    (
      "TLSRoute",
      "{parentRefs: [{name: gw}], hostnames: [a.example.org], rules: [{backendRefs: [{name: one, port: 80}]}]}"
    ),
    ("TCPRoute", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: one, port: 80}]}]}"),
    ("UDPRoute", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: one, port: 80}]}]}"),
    (
      "ReferenceGrant",
      "{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}], to: [{group: '', kind: Service}]}"
    ),
    (
      "BackendTLSPolicy",
      "{targetRefs: [{group: '', kind: Service, name: one}], validation: {hostname: a.b, wellKnownCACertificates: System}}"
    ),
  ]

  @Test func `every kind is served in its versions, and takes what the API has without losing a field`()
    async throws
  {
    try await withKinds { server, api in
      for (_, plural, versions) in Self.kinds {
        for version in versions {
          #expect(server.serves(Self.resource(plural, version)), "\(plural) \(version)")
        }
      }
      for (entry, kind) in zip(Self.good, Self.kinds) {
        let sent = try object(entry.kind, entry.spec)
        let made = try await api.create(Self.resource(kind.plural), sent, options: WriteOptions())
        #expect(
          Self.isWithin(sent["spec"] ?? .null, made["spec"] ?? .null),
          "\(entry.kind): \(made.spec.prettyText)")
        for version in kind.versions {
          let read = try await api.get(
            Self.resource(kind.plural, version), namespace: entry.kind == "GatewayClass" ? "" : "default",
            name: "a")
          #expect(read.apiVersion == "gateway.networking.k8s.io/\(version)" && read.spec == made.spec)
        }
      }
      let definition = try await api.get(
        CustomResourceDefinition.resource, namespace: "", name: "gateways.gateway.networking.k8s.io")
      #expect(
        definition.annotations["gateway.networking.k8s.io/bundle-version"] == GatewayDefinitions.bundleVersion
      )
      #expect(definition.annotations["gateway.networking.k8s.io/channel"] == "standard")
    }
  }

  /// Whether everything of `a` is in `b`.
  private static func isWithin(_ a: JSON, _ b: JSON) -> Bool {
    switch (a, b) {
    case (.object(let a), .object(let b)):
      a.allSatisfy { key, value in b[key].map { isWithin(value, $0) } ?? false }
    case (.array(let a), .array(let b)): a.count == b.count && zip(a, b).allSatisfy(isWithin)
    default: a == b
    }
  }

  @Test func `what is not said is filled in as the API has it`() async throws {
    try await withKinds { _, api in
      let gateway = try await api.create(
        Self.resource("gateways"),
        try object(
          "Gateway",
          "{gatewayClassName: weft, listeners: [{name: s, port: 1, protocol: HTTPS, tls: {certificateRefs: [{name: x}]}}]}"
        ),
        options: WriteOptions())
      let listener = gateway.at("spec", "listeners")?.elements.first
      #expect(listener?.at("allowedRoutes", "namespaces", "from") == "Same")
      #expect(listener?.at("tls", "mode") == "Terminate")
      #expect(
        listener?.at("tls", "certificateRefs")?.elements == [["group": "", "kind": "Secret", "name": "x"]])
      let read = try await api.get(Self.resource("gateways"), namespace: "default", name: "a")
      let conditions = read.at("status", "conditions")?.elements ?? []
      #expect(conditions.map { $0["type"] } == ["Accepted", "Programmed"])
      #expect(conditions.allSatisfy { $0["status"] == "Unknown" && $0["reason"] == "Pending" })
      let route = try await api.create(
        Self.resource("httproutes"),
        try object(
          "HTTPRoute", "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: one, port: 80}]}]}"),
        options: WriteOptions())
      #expect(route.at("spec", "parentRefs")?.elements.first?["kind"] == "Gateway")
      let rule = route.at("spec", "rules")?.elements.first
      #expect(rule?.at("matches") == [["path": ["type": "PathPrefix", "value": "/"]]])
      #expect(rule?.at("backendRefs")?.elements.first?["weight"] == 1)
    }
  }

  private static let rule = "backendRefs: [{name: one, port: 80}]"
  private static let wrong: [(what: String, kind: String, spec: String)] = [
    ("no slash", "GatewayClass", "{controllerName: weft}"),
    ("no listener", "Gateway", "{gatewayClassName: weft, listeners: []}"),
    ("port 0", "Gateway", "{gatewayClassName: weft, listeners: [{name: a, port: 0, protocol: HTTP}]}"),
    ("name twice", "Gateway", "{gatewayClassName: weft, listeners: [{\(listener)}, {\(listener)}]}"),
    ("host with capitals", "Gateway", "{gatewayClassName: weft, listeners: [{\(listener), hostname: A.b}]}"),
    (
      "TLS of HTTP", "Gateway",
      "{gatewayClassName: weft, listeners: [{\(listener), tls: {certificateRefs: [{name: x}]}}]}"
    ),
    (
      "host of TCP", "Gateway",
      "{gatewayClassName: weft, listeners: [{name: a, port: 1, protocol: TCP, hostname: a.b}]}"
    ),
    (
      "TLS without tls", "Gateway", "{gatewayClassName: weft, listeners: [{name: a, port: 1, protocol: TLS}]}"
    ),
    (
      "HTTPS handed on", "Gateway",
      "{gatewayClassName: weft, listeners: [{name: a, port: 1, protocol: HTTPS, tls: {mode: Passthrough}}]}"
    ),
    (
      "no certificate", "Gateway",
      "{gatewayClassName: weft, listeners: [{name: a, port: 1, protocol: HTTPS, tls: {}}]}"
    ),
    (
      "no address", "Gateway",
      "{gatewayClassName: weft, listeners: [{\(listener)}], addresses: [{value: name}]}"
    ),
    (
      "bad name", "Gateway",
      "{gatewayClassName: weft, listeners: [{\(listener)}], addresses: [{type: Hostname, value: a_b}]}"
    ),
    ("two filters in one", "HTTPRoute", "{rules: [{filters: [{type: CORS, cors: {}, urlRewrite: {}}]}]}"),
    ("another filter's field", "HTTPRoute", "{rules: [{filters: [{type: CORS, urlRewrite: {}}]}]}"),
    ("unknown filter", "HTTPRoute", "{rules: [{filters: [{type: Odd}]}]}"),
    (
      "redirect with backends", "HTTPRoute",
      "{rules: [{\(rule), filters: [{type: RequestRedirect, requestRedirect: {}}]}]}"
    ),
    (
      "redirect and rewrite", "HTTPRoute",
      "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]}]}"
    ),
    (
      "status of a redirect", "HTTPRoute",
      "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 300}}]}]}"
    ),
    ("Service without port", "HTTPRoute", "{rules: [{backendRefs: [{name: one}]}]}"),
    ("weight", "HTTPRoute", "{rules: [{backendRefs: [{name: one, port: 80, weight: 1000001}]}]}"),
    ("path without slash", "HTTPRoute", "{rules: [{matches: [{path: {value: a}}]}]}"),
    ("path with //", "HTTPRoute", "{rules: [{matches: [{path: {value: /a//b}}]}]}"),
    ("path with /../", "HTTPRoute", "{rules: [{matches: [{path: {value: /a/../b}}]}]}"),
    ("path with %2f", "HTTPRoute", "{rules: [{matches: [{path: {value: /a%2fb}}]}]}"),
    ("path with a blank", "HTTPRoute", "{rules: [{matches: [{path: {value: '/a b'}}]}]}"),
    (
      "percent and fraction", "HTTPRoute",
      "{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 1, fraction: {numerator: 1}}}]}]}"
    ),
    (
      "all and one origin", "HTTPRoute",
      "{rules: [{filters: [{type: CORS, cors: {allowMethods: ['*', GET]}}]}]}"
    ),
    ("time", "HTTPRoute", "{rules: [{timeouts: {request: 10}}]}"),
    (
      "full path without one", "HTTPRoute",
      "{rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /}}}]}]}"
    ),
    ("method of nothing", "GRPCRoute", "{rules: [{matches: [{method: {}}]}]}"),
    ("service with a slash", "GRPCRoute", "{rules: [{matches: [{method: {service: a/b}}]}]}"),
    ("no names", "TLSRoute", "{hostnames: [], rules: [{\(rule)}]}"),
    ("an address", "TLSRoute", "{hostnames: [192.0.2.1], rules: [{\(rule)}]}"),
    ("two rules", "TCPRoute", "{rules: [{\(rule)}, {\(rule)}]}"),
    ("no backend", "UDPRoute", "{rules: [{backendRefs: []}]}"),
    ("nobody", "ReferenceGrant", "{from: [], to: [{group: '', kind: Service}]}"),
    (
      "no authority", "BackendTLSPolicy",
      "{targetRefs: [{group: '', kind: Service, name: one}], validation: {hostname: a.b}}"
    ),
    (
      "two authorities", "BackendTLSPolicy",
      "{targetRefs: [{group: '', kind: Service, name: one}], validation: {hostname: a.b, wellKnownCACertificates: System, caCertificateRefs: [{group: '', kind: ConfigMap, name: c}]}}"
    ),
    (
      "a name that is none", "BackendTLSPolicy",
      "{targetRefs: [{group: '', kind: Service, name: one}], validation: {hostname: a.b, wellKnownCACertificates: System, subjectAltNames: [{type: URI, hostname: a.b}]}}"
    ),
  ]

  @Test func `what the API refuses is refused, what it says by CEL too as far as alternatives can say it`()
    async throws
  {
    try await withKinds { _, api in
      for (what, kind, spec) in Self.wrong {
        let plural = Self.kinds.first { $0.kind == kind }?.plural ?? ""
        let refused = await #expect(throws: APIStatusError.self, "\(kind): \(what)") {
          _ = try await api.create(
            Self.resource(plural), try object(kind, spec, name: "bad"), options: WriteOptions())
        }
        #expect(refused?.reason == "Invalid", "\(kind): \(what): \(String(describing: refused))")
      }
    }
  }

  @Test func `definitions that somebody else brought are left to them`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "weft-admin", groups: ["system:masters"])
      var own = try #require(GatewayDefinitions.trees.first)
      own.set("experimental", at: "metadata", "annotations", "gateway.networking.k8s.io/channel")
      _ = try await api.create(CustomResourceDefinition.resource, own, options: WriteOptions())
      try await server.installGatewayAPI()
      try await server.installGatewayAPI()
      let kept = try await api.get(CustomResourceDefinition.resource, namespace: "", name: own.name)
      #expect(kept.annotations["gateway.networking.k8s.io/channel"] == "experimental")
      #expect(server.serves(Self.resource("udproutes")))
    }
  }

  @Test func `kubectl prints the API's columns`() async throws {
    try await withServer { server, folder in
      try await server.installGatewayAPI()
      let api = server.client(user: "weft-admin", groups: ["system:masters"])
      _ = try await api.create(
        Self.resource("gateways"),
        try object("Gateway", "{gatewayClassName: weft, listeners: [{\(Self.listener)}]}"),
        options: WriteOptions())
      let output = try await kubectl(server, folder, "get", "gtw", "a")
      let lines = output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
      #expect(lines.first == ["NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"])
      #expect(lines.last.map { Array($0.prefix(3)) } == ["a", "weft", "Unknown"])
      let all = try await kubectl(server, folder, "get", "gateway-api", "-o", "name")
      #expect(all.contains("gateway.gateway.networking.k8s.io/a"))
    }
  }
}

/// Starts a server, gives it to `body` with a folder of its own, stops it and removes what it left.
func withServer(_ body: (ClusterServer, String) async throws -> Void) async throws {
  let folder = try ScratchFolder.make("gateway")
  defer { ScratchFolder.remove(folder) }
  var settings = ServerSettings(dataFolder: folder + "/data")
  settings.port = 0
  let server = try await ClusterServer.start(settings)
  do {
    try await body(server, folder)
  } catch {
    await server.shutdown()
    throw error
  }
  await server.shutdown()
}

private struct KubectlFailed: Error { var text: String }

/// What kubectl prints. On a thread of its own: the server needs those of the pool.
private func kubectl(_ server: ClusterServer, _ folder: String, _ words: String...) async throws -> String {
  let paths = [".tools/bin/kubectl", ".tools/kubectl", "/usr/local/bin/kubectl", "/usr/bin/kubectl"]
  guard let path = paths.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else {
    throw KubectlFailed(text: "no kubectl; make setup installs it")
  }
  let process = Process()
  process.executableURL = URL(fileURLWithPath: path)
  process.arguments = ["--kubeconfig", server.kubeconfigPath, "--cache-dir", folder] + words
  let (output, errors) = ("\(folder)/output", "\(folder)/errors")
  for file in [output, errors] { _ = FileManager.default.createFile(atPath: file, contents: nil) }
  process.standardOutput = FileHandle(forWritingAtPath: output)
  process.standardError = FileHandle(forWritingAtPath: errors)
  try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
    process.terminationHandler = { _ in done.resume() }
    do { try process.run() } catch {
      process.terminationHandler = nil
      done.resume(throwing: error)
    }
  }
  func text(_ file: String) -> String {
    String(decoding: FileManager.default.contents(atPath: file) ?? Data(), as: UTF8.self)
  }
  guard process.terminationStatus == 0 else { throw KubectlFailed(text: text(errors)) }
  return text(output)
}

// `weft ingress migrate` as a value: quirks per Ingress, snippets, what is lost, and the manifests, to the letter.

import ClusterObjects
import ClusterView
import FuzzLab
import Testing

@testable import Ingress

@Suite struct MigrationTests {
  private func migrate(
    _ ingresses: JSON..., services: [JSON] = [], headers: [ObjectKey: [String: String]] = [:]
  ) throws
    -> Migration
  {
    var known: [ObjectKey: Service] = [:]
    for service in services { known[service.key] = try Service(service) }
    return planMigration(
      MigrationInput(ingresses: try ingresses.map { try Ingress($0) }, services: known, headers: headers))
  }

  private func codes(_ migration: Migration, _ name: String) -> [String] {
    migration.reports.first { $0.ingress.name == name }?.findings.map(\.code.rawValue) ?? []
  }

  private func secured(_ ingress: JSON, _ hosts: [String], _ secret: String) -> JSON {
    var ingress = ingress
    ingress.set(
      [["hosts": .array(hosts.map { JSON($0) }), "secretName": JSON(secret)]], at: "spec", "tls")
    return ingress
  }

  // MARK: - Quirks

  @Test func `a plain Ingress depends on nothing`() throws {
    let migration = try migrate(nginxIngress("a"))
    #expect(codes(migration, "a").isEmpty && !migration.hasLosses)
    #expect(migration.text.contains("ingress demo/a: nothing to note"))
  }

  @Test func `each of the five quirks is told of the Ingresses that it is about, and of no others`() throws {
    let migration = try migrate(
      nginxIngress("regex", ["use-regex": "true"], host: "h", path: "/a/.*", kind: "ImplementationSpecific"),
      nginxIngress("neighbour", host: "h", path: "/b", kind: "Exact"),
      nginxIngress("rewrites", ["rewrite-target": "/x"], host: "g", path: "/c", kind: "Prefix"),
      nginxIngress("beside", host: "g", path: "/d"),
      nginxIngress("slash", host: "s", path: "/e/", kind: "Exact"),
      nginxIngress("apart", host: "p", path: "/"))
    #expect(codes(migration, "regex") == ["MIG0001", "MIG0002", "MIG0005"])
    #expect(codes(migration, "neighbour") == ["MIG0001", "MIG0002", "MIG0005"])
    #expect(codes(migration, "rewrites") == ["MIG0001", "MIG0003", "MIG0003", "MIG0005"])
    #expect(codes(migration, "beside") == ["MIG0001", "MIG0003", "MIG0005"])
    #expect(codes(migration, "slash") == ["MIG0004", "MIG0005"])
    #expect(codes(migration, "apart").isEmpty)
    let neighbour = migration.reports.first { $0.ingress.name == "neighbour" }?.findings ?? []
    #expect(neighbour[1].reason.contains("ingress demo/regex shares the host and has use-regex"))
    let beside = migration.reports.first { $0.ingress.name == "beside" }?.findings ?? []
    #expect(beside[1].reason.contains("ingress demo/rewrites shares the host and has rewrite-target"))
  }

  @Test func `snippets are told with what to use instead, and never come through`() throws {
    let migration = try migrate(
      nginxIngress(
        "a", ["configuration-snippet": "more_set_headers \"A: b\";", "server-snippet": "return 418;"]))
    #expect(codes(migration, "a") == ["MIG0010", "MIG0010"] && migration.hasLosses)
    #expect(!migration.yaml.contains("more_set_headers") && !migration.yaml.contains("418"))
    #expect(migration.reports[0].findings.allSatisfy { $0.next.hasPrefix("use ") })
  }

  @Test func `what has no place in Gateway API is told, annotation by annotation`() throws {
    for name in MigrationPlanner.inexpressible.flatMap(\.names) + ["no-such-annotation"] {
      let migration = try migrate(nginxIngress("a", [name: "x"]))
      #expect(codes(migration, "a").contains("MIG0011"), "\(name)")
    }
    // Every annotation that weft serves is either translated or told.
    for name in AnnotationCatalogue.honoured.sorted() {
      let value = name == "rewrite-target" ? "/$1" : "x"
      let migration = try migrate(nginxIngress("a", [name: value], path: "/(.*)"))
      let findings = migration.reports[0].findings
      #expect(!findings.contains { $0.reason == "is not known here" }, "\(name)")
    }
  }

  // MARK: - Manifests

  @Test func `a shop moves as a whole`() throws {
    let migration = try migrate(
      secured(
        nginxIngress(
          "shop", ["proxy-read-timeout": "30", "enable-cors": "true", "cors-allow-origin": "https://a.test"],
          host: "shop.test", path: "/cart"), ["shop.test"], "shop-tls"),
      nginxIngress(
        "shop-canary", ["canary": "true", "canary-weight": "20", "canary-by-header": "X-Canary"],
        host: "shop.test",
        path: "/cart", service: "new"))
    #expect(migration.yaml == Self.shop, "\(migration.yaml)")
    #expect(codes(migration, "shop") == ["MIG0005", "MIG0012"])
  }

  private static let shop = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata:
      name: ingress
      namespace: demo
    spec:
      gatewayClassName: weft
      listeners:
      - name: http
        port: 80
        protocol: HTTP
      - name: https-shop-test
        port: 443
        protocol: HTTPS
        hostname: shop.test
        tls:
          mode: Terminate
          certificateRefs:
          - kind: Secret
            name: shop-tls
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata:
      name: shop-shop-test-https
      namespace: demo
    spec:
      parentRefs:
      - name: ingress
        sectionName: http
      hostnames:
      - shop.test
      rules:
      - matches:
        - path:
            type: PathPrefix
            value: "/"
        filters:
        - type: RequestRedirect
          requestRedirect:
            scheme: https
            statusCode: 308
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata:
      name: shop-shop-test
      namespace: demo
    spec:
      parentRefs:
      - name: ingress
        sectionName: https-shop-test
      hostnames:
      - shop.test
      rules:
      - matches:
        - path:
            type: PathPrefix
            value: "/cart"
          headers:
          - name: X-Canary
            value: always
        filters:
        - type: CORS
          cors:
            allowOrigins:
            - "https://a.test"
            allowMethods:
            - GET
            - PUT
            - POST
            - DELETE
            - PATCH
            - OPTIONS
            allowHeaders:
            - DNT
            - Keep-Alive
            - User-Agent
            - X-Requested-With
            - If-Modified-Since
            - Cache-Control
            - Content-Type
            - Range
            - Authorization
            allowCredentials: true
            maxAge: 1728000
        backendRefs:
        - name: new
          port: 80
        timeouts:
          backendRequest: "30s"
      - matches:
        - path:
            type: PathPrefix
            value: "/cart"
          headers:
          - name: X-Canary
            value: never
        filters:
        - type: CORS
          cors:
            allowOrigins:
            - "https://a.test"
            allowMethods:
            - GET
            - PUT
            - POST
            - DELETE
            - PATCH
            - OPTIONS
            allowHeaders:
            - DNT
            - Keep-Alive
            - User-Agent
            - X-Requested-With
            - If-Modified-Since
            - Cache-Control
            - Content-Type
            - Range
            - Authorization
            allowCredentials: true
            maxAge: 1728000
        backendRefs:
        - name: web
          port: 80
        timeouts:
          backendRequest: "30s"
      - matches:
        - path:
            type: PathPrefix
            value: "/cart"
        filters:
        - type: CORS
          cors:
            allowOrigins:
            - "https://a.test"
            allowMethods:
            - GET
            - PUT
            - POST
            - DELETE
            - PATCH
            - OPTIONS
            allowHeaders:
            - DNT
            - Keep-Alive
            - User-Agent
            - X-Requested-With
            - If-Modified-Since
            - Cache-Control
            - Content-Type
            - Range
            - Authorization
            allowCredentials: true
            maxAge: 1728000
        backendRefs:
        - name: web
          port: 80
          weight: 80
        - name: new
          port: 80
          weight: 20
        timeouts:
          backendRequest: "30s"

    """

  @Test func `expressions, redirects and rewrites become matches and filters`() throws {
    func spec(_ migration: Migration, _ kind: String = "HTTPRoute", _ at: Int = 0) -> String {
      migration.manifests.filter { $0.kind == kind }[at]["spec"]?.text ?? ""
    }
    let regex = try migrate(
      nginxIngress("a", ["use-regex": "true"], path: "/v[0-9]+", kind: "ImplementationSpecific"))
    #expect(spec(regex).contains(#""type":"RegularExpression","value":"(?i)/v[0-9]+.*""#))
    let moved = try migrate(nginxIngress("a", ["permanent-redirect": "https://new.test:8443/x"]))
    #expect(
      spec(moved).contains(
        #""requestRedirect":{"scheme":"https","hostname":"new.test","statusCode":301,"port":8443"#))
    #expect(spec(moved).contains(#""replaceFullPath":"/x""#) && !spec(moved).contains("backendRefs"))
    let kept = try migrate(nginxIngress("a", ["temporal-redirect": "http://new.test$request_uri"]))
    #expect(spec(kept).contains(#""statusCode":302"#) && !spec(kept).contains("replaceFullPath"))
    let odd = try migrate(nginxIngress("a", ["permanent-redirect": "https://$host.new.test"]))
    #expect(codes(odd, "a") == ["MIG0011"])
    let cut = try migrate(
      nginxIngress("a", ["rewrite-target": "/$2"], path: "/api(/|$)(.*)", kind: "ImplementationSpecific"))
    #expect(
      cut.reports[0].findings.contains {
        $0.code == .inexpressible
          && $0.next == "match PathPrefix /api and add a URLRewrite filter with ReplacePrefixMatch /"
      })
    let whole = try migrate(
      nginxIngress("a", ["rewrite-target": "/x", "upstream-vhost": "in.test"], path: "/y"))
    #expect(
      spec(whole).contains(
        #""urlRewrite":{"hostname":"in.test","path":{"type":"ReplaceFullPath","replaceFullPath":"/x"}}"#))
    let root = try migrate(nginxIngress("a", ["app-root": "/app", "server-alias": "b.test"]))
    #expect(
      spec(root).contains(#""hostnames":["h","b.test"]"#) && spec(root).contains(#""replaceFullPath":"/app""#)
    )
  }

  @Test func `calls become GRPCRoutes where all that is asked for has a place there`() throws {
    let grpc = ["backend-protocol": "GRPC"]
    let moved = try migrate(
      nginxIngress("calls", grpc, host: "calls.test"),
      nginxIngress("one", grpc, host: "one.test", path: "/shop.Cart"),
      nginxIngress("exact", grpc, host: "exact.test", path: "/shop.Cart/Add", kind: "Exact"),
      nginxIngress("mixed", grpc, host: "mixed.test"),
      nginxIngress("other", host: "mixed.test", path: "/page"),
      nginxIngress(
        "late", grpc.merging(["proxy-read-timeout": "9"]) { $1 }, host: "late.test"),
      nginxIngress("deep", grpc, host: "deep.test", path: "/a/b/c"))
    func rules(_ name: String) -> String {
      moved.manifests.first { $0.name.hasPrefix("\(name)-") && $0.kind == "GRPCRoute" }?
        .at("spec", "rules")?.text ?? ""
    }
    let backend = #""backendRefs":[{"name":"web","port":80}]"#
    #expect(rules("calls") == "[{\(backend)}]")
    #expect(rules("one") == #"[{"matches":[{"method":{"service":"shop.Cart"}}],\#(backend)}]"#)
    #expect(
      rules("exact") == #"[{"matches":[{"method":{"service":"shop.Cart","method":"Add"}}],\#(backend)}]"#)
    for name in ["mixed", "late", "deep"] {
      #expect(rules(name).isEmpty)
      #expect(codes(moved, name).contains("MIG0012") && codes(moved, name).contains("MIG0013"), "\(name)")
    }
    for name in ["calls", "one", "exact"] { #expect(!codes(moved, name).contains("MIG0013"), "\(name)") }
  }

  @Test func `endpoints with TLS get a policy, ports with names need their Service`() throws {
    var named = nginxIngress(
      "a",
      [
        "backend-protocol": "HTTPS", "proxy-ssl-verify": "on", "proxy-ssl-secret": "demo/ca",
        "proxy-ssl-name": "in.test",
      ])
    named.set(
      [
        [
          "host": "h",
          "http": [
            "paths": [
              [
                "path": "/", "pathType": "Prefix",
                "backend": ["service": ["name": "web", "port": ["name": "http"]]],
              ]
            ]
          ],
        ]
      ],
      at: "spec", "rules")
    let without = try migrate(named)
    #expect(codes(without, "a").contains("MIG0013"))
    let service: JSON = [
      "kind": "Service", "metadata": ["name": "web", "namespace": "demo"],
      "spec": ["clusterIP": "10.43.0.9", "ports": [["name": "http", "port": 8443]]],
    ]
    let migration = try migrate(named, services: [service])
    let route = migration.manifests.first { $0.kind == "HTTPRoute" }?.text ?? ""
    #expect(route.contains(#""backendRefs":[{"name":"web","port":8443}]"#), "\(route)")
    let policy = migration.manifests.first { $0.kind == "BackendTLSPolicy" }?["spec"]?.text ?? ""
    #expect(
      policy.contains(
        #""validation":{"hostname":"in.test","caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"ca"}]}"#
      ))
    let passed = try migrate(nginxIngress("a", ["ssl-passthrough": "true"], host: "p.test"))
    #expect(passed.manifests.map(\.kind) == ["Gateway", "TLSRoute"])
  }

  @Test func `programs get the same fields in the same order, every time`() throws {
    let ingresses = ["c", "a", "b"].map {
      nginxIngress($0, ["use-regex": "true"], host: "\($0).test", path: "/x")
    }
    let one = try migrate(ingresses[0], ingresses[1], ingresses[2]).json
    let other = try migrate(ingresses[2], ingresses[0], ingresses[1]).json
    #expect(one == other)
    #expect(one["ingresses"]?.elements.map { $0["name"]?.string } == ["a", "b", "c"])
    #expect(one["complete"]?.bool == true)
    let finding = one["ingresses"]?.elements.first?["findings"]?.elements.first
    #expect(finding?.object?.map(\.key) == ["code", "kind", "subject", "reason", "next"])
  }

  /// Values that nobody meant: a report comes out, and manifests that can be written and read.
  @Test func `annotations of any text are reported`() throws {
    let names = AnnotationCatalogue.honoured.sorted()
    var numbers = SeededNumbers(11)
    let words = ["\r\n", "$", "(", "\u{0}", "é", "\"", "\\", "https://", "$request_uri", "/$2", "|$)(.*)"]
    for bytes in mutants(
      of: .init(texts: ["https://$host/x", "/a(/|$)(.*)", "5"]), words: words, count: 400, seed: 3)
    {
      let text = String(decoding: bytes, as: UTF8.self)
      var annotations: [String: String] = [:]
      for _ in 0..<4 { annotations[names.randomElement(using: &numbers) ?? ""] = text }
      let migration = try migrate(nginxIngress("a", annotations, path: "/" + text))
      #expect(migration.reports.count == 1 && !migration.json.text.isEmpty)
    }
  }
}

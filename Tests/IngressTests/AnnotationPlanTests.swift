// ingress-nginx's annotations, from the object to the table: what each means, what is told, what is closed.

import Addresses
import ClusterObjects
import ClusterView
import FuzzLab
import Testing

@testable import Ingress

/// Objects of a cluster with Services `web`, `new` and `auth`, one endpoint each.
func nginxView(_ ingresses: [JSON]) -> ClusterView {
  var objects: [JSON] = [
    ["kind": "IngressClass", "metadata": ["name": "nginx"], "spec": ["controller": "weft.dev/ingress"]]
  ]
  for (index, name) in ["web", "new", "auth"].enumerated() {
    objects.append([
      "kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"],
      "spec": ["clusterIP": "10.43.0.9", "ports": [["name": "http", "port": 80]]],
    ])
    objects.append([
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": JSON("\(name)-1"), "namespace": "demo", "labels": ["kubernetes.io/service-name": JSON(name)],
      ],
      "ports": [["name": "http", "port": 8080, "protocol": "TCP"]],
      "endpoints": [["addresses": [JSON("10.42.0.\(index + 1)")], "conditions": ["ready": true]]],
    ])
  }
  return ClusterView(objects: objects + ingresses)
}

func nginxIngress(
  _ name: String, _ annotations: [String: String] = [:], host: String = "h", path: String = "/",
  kind: String = "Prefix", service: String = "web", created: String = "2026-01-01T00:00:00Z"
) -> JSON {
  var values: JSON = [:]
  for (key, value) in annotations { values["nginx.ingress.kubernetes.io/\(key)"] = JSON(value) }
  return [
    "kind": "Ingress",
    "metadata": [
      "name": JSON(name), "namespace": "demo", "annotations": values, "creationTimestamp": JSON(created),
    ],
    "spec": [
      "ingressClassName": "nginx",
      "rules": [
        [
          "host": JSON(host),
          "http": [
            "paths": [
              [
                "path": JSON(path), "pathType": JSON(kind),
                "backend": ["service": ["name": JSON(service), "port": ["number": 80]]],
              ]
            ]
          ],
        ]
      ],
    ],
  ]
}

@Suite struct AnnotationPlanTests {
  private func plan(_ ingresses: JSON..., secrets: [ObjectKey: CredentialSecret] = [:]) -> RoutePlan {
    planRoutesExplained(view: nginxView(ingresses), credentials: secrets)
  }

  private func action(_ annotations: [String: String]) -> RouteAction {
    let table = plan(nginxIngress("a", annotations)).table
    let number = table.match(host: "h", path: "/x")?.action ?? -1
    return number < 0 ? RouteAction() : table.actions[number]
  }

  private func service(
    _ plan: RoutePlan, _ path: String, host: String = "h", fields: [(String, String)] = []
  ) -> String? {
    plan.table.match(host: host, path: path, fields: fields).map { plan.table.backends[$0.backend].service }
  }

  @Test func `an Ingress without annotations has no action and its backends no policy`() {
    let plan = plan(nginxIngress("a"))
    #expect(plan.table.actions.isEmpty && plan.problems.isEmpty)
    #expect(plan.table.match(host: "h", path: "/x")?.action == -1)
    #expect(plan.table.backends.allSatisfy { $0.policy.isPlain })
  }

  @Test func `rewrite-target makes every path of the host an expression, without case, from the beginning`() {
    let plan = plan(
      nginxIngress(
        "a", ["rewrite-target": "/$2"], path: "/something(/|$)(.*)", kind: "ImplementationSpecific"),
      nginxIngress("b", path: "/other", kind: "Exact", service: "new"))
    #expect(service(plan, "/something/x") == "web")
    #expect(service(plan, "/Something") == "web")
    #expect(service(plan, "/somethings") == nil)
    #expect(service(plan, "/OTHER/and/more") == "new")
    let match = plan.table.match(host: "h", path: "/something/x")
    #expect(match.map { plan.table.actions[$0.action].rewrite?.path != nil } == true)
    #expect(plan.table.match(host: "h", path: "/other")?.action == -1)
    // Another host is not touched.
    let apart = self.plan(
      nginxIngress("a", ["use-regex": "true"], host: "g"), nginxIngress("b", path: "/other", kind: "Exact"))
    #expect(service(apart, "/other/x") == nil && service(apart, "/other") == "web")
  }

  @Test func `an expression that is none harms its own path`() {
    let plan = plan(
      nginxIngress("a", ["use-regex": "true"], path: "/(?!x)", kind: "ImplementationSpecific"),
      nginxIngress("b", path: "/good"))
    #expect(service(plan, "/good") == "web" && service(plan, "/y") == nil)
    #expect(plan.problems.contains { $0.ingress.name == "a" && $0.reason.contains("ING0004") })
  }

  @Test func `redirects, the application's root and other names`() {
    #expect(
      action(["permanent-redirect": "https://new.example/x"]).redirect
        == RouteRedirect(status: 301, place: .location(RouteTemplate("https://new.example/x")!)))
    #expect(
      action(["temporal-redirect": "/y", "temporal-redirect-code": "307"]).redirect?.status == 307)
    #expect(action(["permanent-redirect": "/y", "permanent-redirect-code": "200"]).redirect?.status == 301)
    let plan = plan(
      nginxIngress(
        "a", ["app-root": "/app", "server-alias": "other.example, g", "from-to-www-redirect": "true"],
        host: "site.example"),
      nginxIngress("b", host: "g", service: "new"))
    func redirect(_ host: String, _ path: String) -> RouteRedirect? {
      plan.table.match(host: host, path: path).flatMap {
        $0.action < 0 ? nil : plan.table.actions[$0.action].redirect
      }
    }
    #expect(redirect("site.example", "/")?.status == 302)
    #expect(redirect("site.example", "/x") == nil)
    #expect(service(plan, "/x", host: "other.example") == "web")
    // Somebody's own host is not taken from him by an alias.
    #expect(service(plan, "/x", host: "g") == "new")
    #expect(plan.problems.contains { $0.reason.contains("server-alias g is already served") })
    #expect(
      redirect("www.site.example", "/z")
        == RouteRedirect(
          status: 308, place: .parts(scheme: nil, host: "site.example", port: 0, path: nil)))
  }

  @Test func `a host in two rules of one Ingress gets its root and its other names once`() {
    var ingress = nginxIngress("a", ["app-root": "/app", "server-alias": "other.example"], path: "/a")
    let rules = [ingress, nginxIngress("a", path: "/b")].flatMap { $0.at("spec", "rules")?.elements ?? [] }
    ingress["spec"]?["rules"] = .array(rules)
    let plan = plan(ingress)
    #expect(plan.problems.isEmpty)
    #expect(plan.table.hosts.map(\.name) == ["h", "other.example"])
    for host in plan.table.hosts {
      #expect(host.paths.count { $0.isExact } == 1 && host.paths.count == 3)
    }
  }

  @Test func `a canary takes its share by header, then cookie, then weight`() {
    let plan = plan(
      nginxIngress("main"),
      nginxIngress(
        "canary",
        [
          "canary": "true", "canary-by-header": "X-Canary", "canary-by-cookie": "canary",
          "canary-weight": "30",
        ], service: "new"))
    #expect(service(plan, "/", fields: [("x-canary", "always")]) == "new")
    #expect(service(plan, "/", fields: [("x-canary", "never"), ("cookie", "canary=always")]) == "web")
    #expect(service(plan, "/", fields: [("x-canary", "maybe"), ("cookie", "canary=always")]) == "new")
    let rest = plan.table.match(host: "h", path: "/", fields: [("cookie", "canary=never")])
    #expect(rest.map { plan.table.backends[$0.backend].service } == "web" && rest?.action == -1)
    let split = plan.table.match(host: "h", path: "/").map { plan.table.actions[$0.action].targets }
    #expect(split?.map { plan.table.backends[$0.backend].service } == ["web", "new"])
    #expect(split?.map(\.weight) == [70, 30])
    #expect(plan.table.backends.filter(\.isCanary).map(\.service) == ["new"])
    #expect(plan.problems.isEmpty)
  }

  @Test func `a canary by value or expression, beside nothing, and beside another`() {
    let byValue = plan(
      nginxIngress("main"),
      nginxIngress(
        "c", ["canary": "true", "canary-by-header": "user", "canary-by-header-value": "me"], service: "new"))
    #expect(service(byValue, "/", fields: [("user", "me")]) == "new")
    #expect(service(byValue, "/", fields: [("user", "always")]) == "web")
    let byPattern = plan(
      nginxIngress("main"),
      nginxIngress(
        "c", ["canary": "true", "canary-by-header": "user", "canary-by-header-pattern": "^(m|n)e$"],
        service: "new"))
    #expect(service(byPattern, "/", fields: [("user", "ne")]) == "new")
    let alone = plan(nginxIngress("c", ["canary": "true", "canary-weight": "100"]))
    #expect(service(alone, "/") == nil)
    #expect(alone.problems.contains { $0.reason.contains("nothing to stand beside") })
    let two = plan(
      nginxIngress("main"), nginxIngress("c", ["canary": "true", "canary-weight": "10"], service: "new"),
      nginxIngress("d", ["canary": "true", "canary-weight": "10"], service: "auth"))
    #expect(two.problems.contains { $0.ingress.name == "d" && $0.reason.contains("has one already") })
  }

  @Test func `lists of addresses, limits, bodies and fields`() throws {
    let listed = action([
      "whitelist-source-range": "10.0.0.0/8, 192.168.1.1", "denylist-source-range": "10.1.0.0/16",
    ])
    let sources = try #require(listed.sources)
    #expect(sources.admits(IPAddress("10.2.0.1")!) && sources.admits(IPAddress("192.168.1.1")!))
    #expect(!sources.admits(IPAddress("10.1.0.1")!) && !sources.admits(IPAddress("192.168.1.2")!))
    let limited = action([
      "limit-rps": "5", "limit-connections": "3", "limit-burst-multiplier": "2",
      "limit-whitelist": "10.0.0.0/8",
    ])
    #expect(limited.limits.map(\.perMinute) == [300, 0] && limited.limits.map(\.atOnce) == [0, 3])
    #expect(limited.limits[0].burst == 10 && limited.limits[0].exempt.count == 1)
    for (text, bytes) in [("8m", 8 << 20), ("1K", 1024), ("0", 0), ("77", 77)] as [(String, UInt64)] {
      #expect(action(["proxy-body-size": text]).bodyBytesMax == bytes)
    }
    #expect(action(["proxy-body-size": "much"]).bodyBytesMax == nil)
    #expect(action(["x-forwarded-prefix": "/api"]).request.set.map(\.value) == ["/api"])
    #expect(action(["upstream-vhost": "in.example"]).rewrite?.host == RouteTemplate("in.example"))
  }

  @Test func `what is set for endpoints becomes their policy`() {
    func policy(_ annotations: [String: String]) -> BackendPolicy {
      plan(nginxIngress("a", annotations)).table.backends[0].policy
    }
    #expect(policy(["backend-protocol": "GRPC"]).speech == .http2)
    #expect(policy(["backend-protocol": "grpcs"]).tls != nil)
    #expect(policy(["backend-protocol": "HTTPS"]).tls != nil)
    #expect(policy(["backend-protocol": "FCGI"]).isPlain)
    let timed = policy([
      "proxy-connect-timeout": "3", "proxy-read-timeout": "70", "proxy-send-timeout": "60",
      "proxy-next-upstream": "error timeout http_502 http_503", "proxy-next-upstream-tries": "2",
    ])
    #expect(timed.timeouts.connect == 3000 && timed.timeouts.idle == 70_000)
    #expect(timed.retry.statuses == [502, 503] && timed.retry.tries == 2)
    #expect(policy(["load-balance": "round_robin"]).balancing == .roundRobin)
    #expect(policy(["upstream-hash-by": "$http_x_user"]).balancing == .consistentHash(.header("x-user")))
    #expect(policy(["upstream-hash-by": "$remote_addr"]).balancing == .consistentHash(.source))
    #expect(policy(["affinity": "cookie"]).balancing == .consistentHash(.cookie("INGRESSCOOKIE")))
    #expect(
      policy(["affinity": "cookie", "affinity-mode": "persistent"]).balancing
        == .consistentHash(.endpoint(cookie: "INGRESSCOOKIE")))
    #expect(
      action([
        "affinity": "cookie", "session-cookie-name": "s", "session-cookie-max-age": "60",
        "session-cookie-samesite": "Lax", "session-cookie-path": "/a",
      ]).cookie?.attributes == "; Path=/a; Max-Age=60; SameSite=Lax; HttpOnly")
  }

  @Test func `whom auth-url means is found in the cluster: a Service, a path that we serve, an address`() {
    for (url, service, host, port) in [
      (
        "http://auth.demo.svc.cluster.local/check?a=$request_uri", "auth", "auth.demo.svc.cluster.local", "80"
      ),
      ("http://auth.demo/", "auth", "auth.demo", "80"), ("https://$host/oauth2/auth", "auth", "h", "80"),
      ("http://10.1.2.3:9091/", "10.1.2.3", "10.1.2.3", "9091"),
    ] {
      let plan = plan(
        nginxIngress(
          "a",
          [
            "auth-url": url, "auth-signin": "https://$host/oauth2/start?rd=$escaped_request_uri",
            "auth-response-headers": "X-User, X-Mail",
          ]), nginxIngress("o", path: "/oauth2", service: "auth"))
      let number = plan.table.match(host: "h", path: "/x")?.action ?? -1
      let authorization = number < 0 ? nil : plan.table.actions[number].authorization
      let backend = authorization.map { plan.table.backends[$0.backend] }
      #expect(backend?.service == service && backend?.servicePort == port, "\(url)")
      #expect(backend?.endpoints.count == 1)
      #expect(authorization?.host == host && authorization?.forwarded == ["x-user", "x-mail"])
      #expect(plan.problems.isEmpty, "\(plan.problems)")
    }
    let mirrored = plan(nginxIngress("a", ["mirror-target": "http://new.demo.svc$request_uri"]))
    let mirrors = mirrored.table.match(host: "h", path: "/").map {
      mirrored.table.backends[$0.backend].policy.mirrors.map { mirrored.table.backends[$0.backend].service }
    }
    #expect(mirrors == ["new"])
  }

  @Test func `names and passwords come from a Secret of the same namespace, else nobody is let in`() {
    let key = ObjectKey("demo", "users")
    let secret = CredentialSecret(secret: ["data": ["auth": "YTp7U0hBfXg6Y29tbWVudApiOiRhcHIxJHg="]])
    let annotations = ["auth-type": "basic", "auth-secret": "users", "auth-realm": "Shop"]
    let good = plan(nginxIngress("a", annotations), secrets: [key: secret])
    #expect(good.table.actions.first?.credentials?.users == ["a": "{SHA}x", "b": "$apr1$x"])
    #expect(good.table.actions.first?.answer == 0)
    let view = nginxView([nginxIngress("a", annotations)])
    #expect(planCredentialReferences(view: view) == [key])
    for (annotations, secrets) in [
      (annotations, [:]), (["auth-type": "digest", "auth-secret": "users"], [key: secret]),
      (["auth-type": "basic", "auth-secret": "other/users"], [key: secret]),
      (["auth-type": "basic"], [key: secret]),
    ] {
      let plan = plan(nginxIngress("a", annotations), secrets: secrets)
      #expect(plan.table.actions.first?.answer == 403)
      #expect(plan.problems.contains { $0.reason.contains("ING0005") && $0.topic == .annotation })
    }
  }

  // MARK: - Certificates, errors, fields

  @Test func `a host's clients are asked by the oldest Ingress, on all of its paths and names`() throws {
    let authority = try Authority()
    let secrets = [
      ObjectKey("demo", "ca"): CredentialSecret(secret: [
        "data": ["ca.crt": JSON(Base64.encode(try authority.rootBytes()))]
      ])
    ]
    let view = nginxView([
      nginxIngress(
        "a", ["auth-tls-secret": "demo/ca", "auth-tls-verify-depth": "2", "server-alias": "alias.test"]),
      nginxIngress(
        "b", ["auth-tls-secret": "ca", "auth-tls-verify-client": "optional"], path: "/b",
        created: "2026-01-02T00:00:00Z"),
      nginxIngress("c", path: "/c"), nginxIngress("d", host: "open.test"),
      nginxIngress("e", ["auth-tls-secret": "ca", "auth-tls-verify-client": "off"], host: "off.test"),
    ])
    let plan = planRoutesExplained(view: view, tls: TLSInput(), credentials: secrets)
    let asked = try #require(plan.tls.authorities.first)
    #expect(plan.tls.authorities.count == 1 && asked.depth == 2)
    #expect(plan.tls.asks == [TLSAsk("alias.test", 0), TLSAsk("h", 0)])
    for (host, path) in [("h", "/x"), ("h", "/b"), ("h", "/c"), ("alias.test", "/")] {
      let action = plan.table.match(host: host, path: path)?.action ?? -1
      #expect(
        action >= 0
          && plan.table.actions[action].clientCertificate == RouteClientCertificate(authority: asked.id))
    }
    for host in ["open.test", "off.test"] { #expect(plan.table.match(host: host, path: "/")?.action == -1) }
    #expect(plan.problems.map(\.ingress.name) == ["b"])
    #expect(planCredentialReferences(view: view) == [ObjectKey("demo", "ca")])
    // A list of revoked certificates that cannot be read lets nobody in; nor does another namespace's Secret.
    var listed = secrets
    listed[ObjectKey("demo", "ca")]?.data["ca.crl"] = [1]
    let closed = planRoutesExplained(view: view, tls: TLSInput(), credentials: listed)
    let action = closed.table.match(host: "h", path: "/x")?.action ?? -1
    #expect(action >= 0 && closed.table.actions[action].answer == 403)
    #expect(self.action(["auth-tls-secret": "other/ca"]).answer == 403)
  }

  @Test func `errors go to the default backend, and so does everything while there is no endpoint`() {
    let plan = plan(
      nginxIngress("a", ["custom-http-errors": "404, 503", "default-backend": "new"]),
      nginxIngress("b", ["default-backend": "new"], path: "/b", service: "gone"),
      nginxIngress("c", ["custom-http-errors": "99", "default-backend": "nobody"], path: "/c"))
    let match = plan.table.match(host: "h", path: "/x")
    let errors = match.flatMap { plan.table.actions[$0.action].errors }
    #expect(errors?.statuses == [404, 503])
    #expect(errors.map { plan.table.backends[$0.backend].service } == "new" && service(plan, "/x") == "web")
    #expect(service(plan, "/b") == "new" && service(plan, "/c") == "web")
    #expect(plan.problems.contains { $0.ingress.name == "c" && $0.reason.contains("ING0004") })
  }

  @Test func `fields come from the ConfigMap that is named, and no field that frames`() {
    let view = nginxView([nginxIngress("a", ["custom-headers": "demo/fields"])])
    #expect(planHeaderReferences(view: view) == [ObjectKey("demo", "fields")])
    let plan = planRoutesExplained(
      view: view,
      headers: [ObjectKey("demo", "fields"): ["X-One": "1", "Content-Length": "5", "X-Two": "a\r\nb"]])
    #expect(plan.table.actions.map(\.response.set) == [[HeaderField("X-One", "1")].compactMap(\.self)])
    #expect(plan.problems.count == 2)
    #expect(planRoutesExplained(view: view).problems.count == 1)
  }

  @Test func `TLS towards endpoints is what proxy-ssl says, and cannot be had without its Secret`() throws {
    let authority = try Authority()
    let certificate = try authority.issue("weft")
    let data: JSON = [
      "ca.crt": JSON(Base64.encode(try authority.rootBytes())),
      "tls.crt": JSON(Base64.encode(certificate.chain)),
      "tls.key": JSON(Base64.encode(certificate.key)),
    ]
    let secrets = [ObjectKey("demo", "out"): CredentialSecret(secret: ["data": data])]
    let annotations = [
      "backend-protocol": "HTTPS", "proxy-ssl-secret": "demo/out", "proxy-ssl-verify": "on",
      "proxy-ssl-verify-depth": "2",
      "proxy-ssl-name": "in.test", "proxy-ssl-server-name": "on", "proxy-ssl-protocols": "TLSv1.3",
    ]
    let tls = plan(nginxIngress("a", annotations), secrets: secrets).table.backends.first?.policy.tls
    #expect(tls?.serverName == "in.test" && tls?.hidesName == false && tls?.depth == 2 && tls?.oldest == 13)
    let root = try authority.rootBytes()
    #expect(tls?.certificate == certificate.chain && tls?.authorities == root)
    #expect(action(annotations).answer == 403)
    #expect(action(["backend-protocol": "HTTPS", "proxy-ssl-verify": "on"]).answer == 403)
    #expect(action(["backend-protocol": "HTTPS"]).answer == 0)
  }

  @Test(arguments: [
    ("configuration-snippet", "more_set_headers \"A: b\";", 0), ("server-snippet", "location / {}", 0),
    ("auth-tls-secret", "demo/ca", 403), ("auth-url", "http://auth.example/", 403),
    ("auth-url", "ftp://auth.demo.svc/", 403), ("mirror-target", "https://elsewhere.example$request_uri", 0),
    ("enable-modsecurity", "true", 403), ("custom-http-errors", "404", 0),
    ("whitelist-source-range", "10.0.0.0/8, nonsense", 403),
    ("permanent-redirect", "https://x\r\nSet-Cookie: a=b", 0), ("rewrite-target", "/$unknown", 0),
    ("x-forwarded-prefix", "/a\r\nX: y", 0), ("upstream-vhost", "a b", 0),
    ("session-cookie-path", "/", 0),
  ])
  func `what cannot be had is told; what protects is closed; nothing is spliced in`(
    name: String, value: String, status: UInt16
  ) {
    let plan = plan(nginxIngress("a", [name: value]), nginxIngress("b", path: "/b"))
    if name != "session-cookie-path" {
      #expect(plan.problems.contains { $0.ingress.name == "a" && $0.topic == .annotation }, "\(name)")
    }
    let number = plan.table.match(host: "h", path: "/x")?.action ?? -1
    #expect((number < 0 ? 0 : plan.table.actions[number].answer) == status)
    let bytes = String(decoding: plan.table.encoded(), as: UTF8.self)
    #expect(!bytes.contains("\r\n"))
    // The neighbour is served as if nothing was.
    #expect(service(plan, "/b") == "web")
    #expect(plan.table.match(host: "h", path: "/b").map { $0.action < 0 } == true)
  }

  /// Every annotation with values that nobody meant: a plan comes out, and it can be put in force.
  @Test func `annotations of any text give a table that can be sent`() throws {
    let names = AnnotationCatalogue.honoured.sorted()
    var numbers = SeededNumbers(7)
    let corpus = [
      "true", "10.0.0.0/8,::/0", "/a/$1(.*)", "https://$host$request_uri", "100", "8m", "cookie", "basic",
      "$http_x",
    ]
    let words = ["\r\n", "$", "${host", "(", "[", "{9}", "\u{0}", "*", "é", "%0d%0a", "\"", "\\"]
    for bytes in mutants(of: .init(texts: corpus), words: words, count: 500, seed: 9) {
      let text = String(decoding: bytes, as: UTF8.self)
      var annotations = ["canary-weight": "5"]
      for _ in 0..<3 { annotations[names.randomElement(using: &numbers) ?? ""] = text }
      let plan = plan(nginxIngress("a", annotations, path: "/" + text), nginxIngress("b", path: "/b"))
      #expect(try RouteTable(encoded: plan.table.encoded()) == plan.table)
    }
  }
}

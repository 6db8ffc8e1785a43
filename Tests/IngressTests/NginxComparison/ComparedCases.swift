// The table: annotations as an owner writes them, the configuration that ingress-nginx's documentation says they become, and requests
// whose fate is compared. Every case has hosts of its own.

import ClusterObjects

/// One request; `differs` names why the two do not do the same, as docs/ingress-nginx.md has it.
struct ComparedRequest {
  var line: String
  var host: String
  var fields: [String] = []
  var body = ""
  var differs: String?

  init(_ line: String, _ host: String, _ fields: [String] = [], body: String = "", differs: String? = nil) {
    self.line = line
    self.host = host
    self.fields = fields
    self.body = body
    self.differs = differs
  }

  var text: String {
    let length = body.isEmpty ? [] : ["Content-Length: \(body.utf8.count)"]
    return (["\(line) HTTP/1.1", "Host: \(host)"] + fields + length).joined(separator: "\r\n") + "\r\n\r\n"
      + body
  }
}

struct ComparedCase {
  var name: String
  var ingresses: [JSON]
  /// In `http`: servers on `PORT`.
  var nginx: String
  var requests: [ComparedRequest]
}

private func server(_ names: String, _ text: String) -> String {
  "server { listen 127.0.0.1:PORT; server_name \(names); \(text) }"
}
private func location(_ place: String, _ text: String) -> String { "location \(place) { \(text) }" }
private let pass = NginxPeer.pass("echo")
/// Names and passwords are for the proxy, and go no further.
private let passed = NginxPeer.pass("echo", "proxy_set_header Authorization \"\";")
private let nothing = location("/", "return 404;")

let comparedCases: [ComparedCase] = [
  ComparedCase(
    name: "fields", ingresses: [nginxIngress("fields", host: "fields.test", service: "echo")],
    nginx: server("fields.test", location("/", pass)),
    requests: [
      ComparedRequest("GET /", "fields.test"), ComparedRequest("GET /a?b=c&d=%20", "fields.test:80"),
      ComparedRequest("POST /a", "fields.test", ["X-Own: 1", "Accept: */*"], body: "hello"),
      ComparedRequest(
        "GET /", "fields.test", ["X-Forwarded-For: 1.2.3.4", "X-Real-IP: 9.9.9.9", "X-Scheme: gopher"]),
      ComparedRequest(
        "GET /", "fields.test", ["Connection: X-Hop", "X-Hop: 1"], differs: "hop-by-hop fields"),
      ComparedRequest("GET /", "fields.test", ["Proxy: evil"]),
      ComparedRequest("DELETE /x%2fy", "fields.test"), ComparedRequest("OPTIONS /", "fields.test"),
    ]),
  ComparedCase(
    name: "paths",
    ingresses: [
      nginxIngress("exact", host: "paths.test", path: "/exact", kind: "Exact", service: "echo"),
      nginxIngress("prefix", host: "paths.test", path: "/pre", service: "other"),
      nginxIngress("slash", host: "paths.test", path: "/slash/", kind: "Exact", service: "echo"),
    ],
    nginx: server(
      "paths.test",
      location("= /exact", pass) + location("/pre/", NginxPeer.pass("other"))
        + location("= /pre", NginxPeer.pass("other")) + location("= /slash/", pass) + nothing),
    requests: [
      ComparedRequest("GET /exact", "paths.test"), ComparedRequest("GET /exact/", "paths.test"),
      ComparedRequest("GET /Exact", "paths.test"), ComparedRequest("GET /pre", "paths.test"),
      ComparedRequest("GET /pre/a", "paths.test"), ComparedRequest("GET /prefix", "paths.test"),
      ComparedRequest("GET /nothing", "paths.test"), ComparedRequest("GET /slash/", "paths.test"),
      ComparedRequest("GET /slash", "paths.test", differs: "slash at the end"),
      ComparedRequest("GET /x/../exact", "paths.test", differs: "normalised paths"),
      ComparedRequest("GET //exact", "paths.test", differs: "normalised paths"),
      ComparedRequest("GET /./exact", "paths.test", differs: "normalised paths"),
      ComparedRequest("GET /%65xact", "paths.test", differs: "normalised paths"),
    ]),
  ComparedCase(
    name: "rewrite",
    ingresses: [
      nginxIngress(
        "rewrite", ["rewrite-target": "/$2", "use-regex": "true"], host: "rewrite.test",
        path: "/something(/|$)(.*)", kind: "ImplementationSpecific", service: "echo")
    ],
    nginx: server(
      "rewrite.test",
      location("~* \"^/something(/|$)(.*)\"", "rewrite \"(?i)/something(/|$)(.*)\" /$2 break; \(pass)")
        + nothing),
    requests: [
      ComparedRequest("GET /something", "rewrite.test"), ComparedRequest("GET /something/", "rewrite.test"),
      ComparedRequest("GET /something/new?x=1", "rewrite.test"),
      ComparedRequest("GET /SomeThing/NEW", "rewrite.test"),
      ComparedRequest("GET /somethings", "rewrite.test"), ComparedRequest("GET /other", "rewrite.test"),
      ComparedRequest("GET /something/a%20b", "rewrite.test"),
      ComparedRequest("GET /something/a%2Fb", "rewrite.test", differs: "decoded groups"),
    ]),
  ComparedCase(
    name: "regex order",
    ingresses: [
      nginxIngress(
        "one", ["use-regex": "true"], host: "regex.test", path: "/foo/bar/bar",
        kind: "ImplementationSpecific",
        service: "echo"),
      nginxIngress(
        "two", ["use-regex": "true"], host: "regex.test", path: "/foo/bar/[A-Z0-9]{3}",
        kind: "ImplementationSpecific", service: "other"),
      nginxIngress("three", host: "regex.test", path: "/foo", service: "third"),
    ],
    nginx: server(
      "regex.test",
      location("~* \"^/foo/bar/[A-Z0-9]{3}\"", NginxPeer.pass("other"))
        + location("~* \"^/foo/bar/bar\"", pass)
        + location("~* \"^/foo\"", NginxPeer.pass("third")) + nothing),
    requests: [
      ComparedRequest("GET /foo/bar/bar", "regex.test"), ComparedRequest("GET /foo/bar/ab1/x", "regex.test"),
      ComparedRequest("GET /FOO/BAR/B", "regex.test"), ComparedRequest("GET /foobar", "regex.test"),
      ComparedRequest("GET /fo", "regex.test"), ComparedRequest("GET /x/foo", "regex.test"),
    ]),
  ComparedCase(
    name: "redirects",
    ingresses: [
      nginxIngress(
        "moved", ["permanent-redirect": "https://new.test$request_uri"], host: "moved.test", service: "echo"),
      nginxIngress(
        "moved8", ["permanent-redirect": "https://new.test/x", "permanent-redirect-code": "308"],
        host: "moved8.test",
        service: "echo"),
      nginxIngress("away", ["temporal-redirect": "https://new.test/y"], host: "away.test", service: "echo"),
      nginxIngress("root", ["app-root": "/app"], host: "root.test", service: "echo"),
      nginxIngress("www", ["from-to-www-redirect": "true"], host: "bare.test", service: "echo"),
      nginxIngress(
        "alias", ["server-alias": "b.alias.test,c.alias.test"], host: "alias.test", service: "echo"),
    ],
    nginx: server("moved.test", "return 301 https://new.test$request_uri;")
      + server("moved8.test", "return 308 https://new.test/x;")
      + server("away.test", "return 302 https://new.test/y;")
      + server("root.test", "if ($uri = /) { return 302 $scheme://$http_host/app; } \(location("/", pass))")
      + server("bare.test", location("/", pass))
      + server("www.bare.test", "return 308 $scheme://bare.test:PORT$request_uri;")
      + server("alias.test b.alias.test c.alias.test", location("/", pass)),
    requests: [
      ComparedRequest("GET /a?b=c", "moved.test"), ComparedRequest("POST /", "moved8.test", body: "x"),
      ComparedRequest("GET /", "away.test"), ComparedRequest("GET /", "root.test"),
      ComparedRequest("GET /app", "root.test"), ComparedRequest("GET /?a", "root.test"),
      ComparedRequest("GET /a?b", "www.bare.test"), ComparedRequest("GET /a?b", "bare.test"),
      ComparedRequest("GET /", "c.alias.test"),
    ]),
  ComparedCase(
    name: "cors",
    ingresses: [
      nginxIngress("cors", ["enable-cors": "true"], host: "cors.test", service: "echo"),
      nginxIngress(
        "cors2",
        [
          "enable-cors": "true", "cors-allow-origin": "https://a.test, https://*.b.test",
          "cors-allow-methods": "GET, PUT", "cors-allow-headers": "X-One", "cors-max-age": "60",
          "cors-expose-headers": "X-Two", "cors-allow-credentials": "false",
        ], host: "cors2.test", service: "echo"),
    ],
    nginx: """
      map $http_origin $cors2 { default ""; "https://a.test" $http_origin; "~^https://[^.]+\\.b\\.test$" $http_origin; }
      """
        + server(
          "cors.test",
          location(
            "/",
            """
            if ($request_method = OPTIONS) {
              add_header Access-Control-Allow-Origin * always; add_header Access-Control-Allow-Credentials true always;
              add_header Access-Control-Allow-Methods "GET, PUT, POST, DELETE, PATCH, OPTIONS" always;
              add_header Access-Control-Allow-Headers "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization" always;
              add_header Access-Control-Max-Age 1728000 always; return 204; }
            add_header Access-Control-Allow-Origin * always; add_header Access-Control-Allow-Credentials true always;
            \(pass)
            """))
        + server(
          "cors2.test",
          location(
            "/",
            """
            set $do "$request_method $cors2"; if ($cors2 = "") { set $do none; }
            if ($do ~ "^OPTIONS") {
              add_header Access-Control-Allow-Origin $cors2 always; add_header Access-Control-Allow-Methods "GET, PUT" always;
              add_header Access-Control-Allow-Headers X-One always; add_header Access-Control-Expose-Headers X-Two always;
              add_header Access-Control-Max-Age 60 always; return 204; }
            add_header Access-Control-Allow-Origin $cors2 always; set $exposed X-Two;
            if ($cors2 = "") { set $exposed ""; } add_header Access-Control-Expose-Headers $exposed always;
            \(pass)
            """)),
    requests: [
      ComparedRequest("GET /", "cors.test", differs: "CORS without Origin"),
      ComparedRequest("GET /", "cors.test", ["Origin: https://x.test"], differs: "CORS for any origin"),
      ComparedRequest("OPTIONS /", "cors.test", ["Origin: https://x.test"], differs: "CORS for any origin"),
      ComparedRequest("GET /", "cors2.test"),
      ComparedRequest("GET /", "cors2.test", ["Origin: https://evil.test"]),
      ComparedRequest("GET /", "cors2.test", ["Origin: https://a.test"], differs: "CORS on every answer"),
      ComparedRequest(
        "OPTIONS /", "cors2.test", ["Origin: https://x.b.test", "Access-Control-Request-Method: PUT"],
        differs: "Vary"),
      ComparedRequest("OPTIONS /", "cors2.test", ["Origin: https://evil.test"]),
    ]),
  ComparedCase(
    name: "canary",
    ingresses: [
      nginxIngress("base", host: "canary.test", service: "echo"),
      nginxIngress(
        "canary",
        [
          "canary": "true", "canary-by-header": "X-Canary", "canary-by-cookie": "canary",
          "canary-weight": "0",
        ],
        host: "canary.test", service: "other"),
      nginxIngress("base2", host: "canary2.test", service: "echo"),
      nginxIngress(
        "canary2",
        [
          "canary": "true", "canary-by-header": "X-Canary", "canary-by-header-value": "new",
          "canary-weight": "100",
        ],
        host: "canary2.test", service: "other"),
      nginxIngress("base3", host: "canary3.test", service: "echo"),
      nginxIngress(
        "canary3",
        ["canary": "true", "canary-by-header": "X-Canary", "canary-by-header-pattern": "^v[0-9]+$"],
        host: "canary3.test", service: "other"),
    ],
    nginx: """
      map $cookie_canary $byCookie { default echo; always other; }
      map $http_x_canary $canary { default $byCookie; always other; never echo; }
      map $http_x_canary $canary2 { default other; new other; }
      map $http_x_canary $canary3 { default echo; "~^v[0-9]+$" other; }
      """ + server("canary.test", location("/", NginxPeer.pass("$canary")))
        + server("canary2.test", location("/", NginxPeer.pass("$canary2")))
        + server("canary3.test", location("/", NginxPeer.pass("$canary3"))),
    requests: [
      ComparedRequest("GET /", "canary.test"), ComparedRequest("GET /", "canary.test", ["X-Canary: always"]),
      ComparedRequest("GET /", "canary.test", ["X-Canary: never", "Cookie: canary=always"]),
      ComparedRequest("GET /", "canary.test", ["Cookie: a=b; canary=always"]),
      ComparedRequest("GET /", "canary.test", ["X-Canary: maybe", "Cookie: canary=never"]),
      ComparedRequest("GET /", "canary2.test", ["X-Canary: new"]), ComparedRequest("GET /", "canary2.test"),
      ComparedRequest("GET /", "canary3.test", ["X-Canary: v12"]),
      ComparedRequest("GET /", "canary3.test", ["X-Canary: v12x"]), ComparedRequest("GET /", "canary3.test"),
    ]),
  ComparedCase(
    name: "who may come",
    ingresses: [
      nginxIngress(
        "basic", ["auth-type": "basic", "auth-secret": "users", "auth-realm": "Shop"], host: "basic.test",
        service: "echo"),
      nginxIngress("near", ["whitelist-source-range": "127.0.0.0/8"], host: "near.test", service: "echo"),
      nginxIngress("far", ["whitelist-source-range": "10.0.0.0/8"], host: "far.test", service: "echo"),
      nginxIngress("denied", ["denylist-source-range": "127.0.0.1"], host: "denied.test", service: "echo"),
      nginxIngress(
        "any",
        [
          "auth-type": "basic", "auth-secret": "users", "auth-realm": "Shop", "satisfy": "any",
          "whitelist-source-range": "10.0.0.0/8",
        ], host: "any.test", service: "echo"),
      nginxIngress(
        "all",
        [
          "auth-type": "basic", "auth-secret": "users", "auth-realm": "Shop",
          "whitelist-source-range": "10.0.0.0/8",
        ], host: "all.test", service: "echo"),
    ]
      + ["200", "204", "401", "403", "500"].map {
        nginxIngress(
          "asked\($0)",
          [
            "auth-url": "http://auth.demo.svc.cluster.local/verdict/\($0)", "auth-response-headers": "X-User",
          ],
          host: "asked\($0).test", service: "echo")
      } + [
        nginxIngress(
          "signin",
          [
            "auth-url": "http://auth.demo.svc.cluster.local/verdict/401",
            "auth-signin": "https://sso.test/start",
          ],
          host: "signin.test", service: "echo")
      ],
    nginx: server(
      "basic.test", location("/", "auth_basic Shop; auth_basic_user_file FOLDER/users; \(passed)"))
      + server("near.test", location("/", "allow 127.0.0.0/8; deny all; \(pass)"))
      + server("far.test", location("/", "allow 10.0.0.0/8; deny all; \(pass)"))
      + server("denied.test", location("/", "deny 127.0.0.1; \(pass)"))
      + server(
        "any.test",
        location(
          "/",
          "satisfy any; allow 10.0.0.0/8; deny all; auth_basic Shop; auth_basic_user_file FOLDER/users; \(passed)"
        ))
      + server(
        "all.test",
        location(
          "/", "allow 10.0.0.0/8; deny all; auth_basic Shop; auth_basic_user_file FOLDER/users; \(passed)"))
      + ["200", "204", "401", "403", "500"].map { asked($0) }.joined()
      + asked(
        "401", "signin.test", "error_page 401 = @signin;",
        location(
          "@signin",
          "add_header Set-Cookie $cookie; return 302 https://sso.test/start?rd=$scheme://$http_host%2Fin;")),
    requests: [
      ComparedRequest("GET /", "basic.test"),
      ComparedRequest("GET /", "basic.test", ["Authorization: Basic dTpzZWNyZXQ="]),
      ComparedRequest("GET /", "basic.test", ["Authorization: Basic dTp3cm9uZw=="]),
      ComparedRequest("GET /", "basic.test", ["Authorization: Bearer x"]),
      ComparedRequest("GET /", "near.test"), ComparedRequest("GET /", "far.test"),
      ComparedRequest("GET /", "denied.test"), ComparedRequest("GET /", "any.test"),
      ComparedRequest("GET /", "any.test", ["Authorization: Basic dTpzZWNyZXQ="]),
      ComparedRequest("GET /", "all.test", ["Authorization: Basic dTpzZWNyZXQ="]),
      ComparedRequest("GET /", "asked200.test", ["X-User: root"]), ComparedRequest("GET /", "asked204.test"),
      ComparedRequest("POST /", "asked200.test", body: "a body"), ComparedRequest("GET /", "asked401.test"),
      ComparedRequest("GET /", "asked403.test"), ComparedRequest("GET /", "asked500.test"),
      ComparedRequest("GET /in", "signin.test"),
    ]),
  ComparedCase(
    name: "what endpoints see",
    ingresses: [
      nginxIngress("vhost", ["upstream-vhost": "inner.test"], host: "vhost.test", service: "echo"),
      nginxIngress("prefixed", ["x-forwarded-prefix": "/shop"], host: "prefixed.test", service: "echo"),
      nginxIngress("headers", ["custom-headers": "demo/fields"], host: "headers.test", service: "echo"),
    ],
    nginx: server("vhost.test", location("/", NginxPeer.pass("echo", host: "inner.test")))
      + server(
        "prefixed.test", location("/", NginxPeer.pass("echo", "proxy_set_header X-Forwarded-Prefix /shop;")))
      + server("headers.test", location("/", "add_header X-Custom \"a b\" always; \(pass)")),
    requests: [
      ComparedRequest("GET /", "vhost.test"),
      ComparedRequest("GET /", "prefixed.test", ["X-Forwarded-Prefix: /evil"]),
      ComparedRequest("GET /", "headers.test"),
    ]),
  ComparedCase(
    name: "bodies and errors",
    ingresses: [
      nginxIngress("body", ["proxy-body-size": "1k"], host: "body.test", service: "echo"),
      nginxIngress("nolimit", ["proxy-body-size": "0"], host: "nolimit.test", service: "echo"),
      nginxIngress(
        "errors", ["custom-http-errors": "404,503", "default-backend": "other"], host: "errors.test",
        service: "echo"),
    ],
    nginx: server("body.test", location("/", "client_max_body_size 1k; \(pass)"))
      + server("nolimit.test", location("/", "client_max_body_size 0; \(pass)"))
      + server(
        "errors.test",
        "error_page 404 = @e404; error_page 503 = @e503;"
          + location("/", "proxy_intercept_errors on; \(pass)")
          + ["404", "503"].map { code in
            location(
              "@e\(code)",
              "rewrite (.*) / break;"
                + NginxPeer.pass(
                  "other",
                  """
                  proxy_set_header X-Code \(code); proxy_set_header X-Format $http_accept;
                  proxy_set_header X-Original-URI $request_uri; proxy_set_header X-Namespace demo;
                  proxy_set_header X-Ingress-Name errors; proxy_set_header X-Service-Name echo;
                  proxy_set_header X-Service-Port 80;
                  """))
          }.joined()),
    requests: [
      ComparedRequest("POST /", "body.test", body: String(repeating: "a", count: 1024)),
      ComparedRequest("POST /", "body.test", body: String(repeating: "a", count: 1025)),
      ComparedRequest("POST /", "nolimit.test", body: String(repeating: "a", count: 4000)),
      ComparedRequest("GET /verdict/404?a", "errors.test", ["Accept: text/x"]),
      ComparedRequest("GET /verdict/503", "errors.test", ["Accept: text/x"]),
      ComparedRequest("GET /verdict/500", "errors.test"), ComparedRequest("GET /fine", "errors.test"),
    ]),
]

private func asked(_ verdict: String, _ host: String? = nil, _ more: String = "", _ besides: String = "")
  -> String
{
  server(
    host ?? "asked\(verdict).test",
    location(
      "/",
      "auth_request /_ask; auth_request_set $user $upstream_http_x_user; auth_request_set $cookie $upstream_http_set_cookie; add_header Set-Cookie $cookie; \(more)"
        + NginxPeer.pass("echo", host == nil ? "proxy_set_header X-User $user;" : ""))
      + location(
        "= /_ask",
        "internal; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; proxy_pass http://auth/verdict/\(verdict);"
      )
      + besides)
}

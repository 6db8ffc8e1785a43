// Routes: HTTP and gRPC with their matches and filters, TLS, TCP and UDP.

import ClusterObjects

extension GatewaySchema {
  private static let parentRefs = list(
    "The Gateways, ListenerSets or listeners of them that it wants to be attached to.",
    of: parent("One of them."), to: 32)

  private static let hostnames = list(
    "Names that it is for; without any, those of the listener.", of: hostname("One name."), to: 16)

  /// A Service has ports.
  private static let hasPort = any(
    has("port"), not(both(["properties": ["group": ["enum": [""]]]], has("kind", "Service"))))

  private static func backend(_ description: String, isWeighted: Bool, filters: JSON? = nil) -> JSON {
    var backend = reference(description, group: "", kind: "Service", elsewhere: true)
    backend.set(port("The Service's port."), at: "properties", "port")
    if isWeighted {
      backend.set(
        number("Its share, of the sum of all.", from: 0, to: 1_000_000, default: 1), at: "properties",
        "weight")
    }
    if let filters { backend.set(filters, at: "properties", "filters") }
    return merge(backend, hasPort)
  }

  // MARK: Filters

  private static func headers(_ description: String) -> JSON {
    list(
      description,
      of: object(
        "One field.",
        [
          "name": text("Its name; letters are alike.", to: 256, pattern: token),
          "value": text("Its value.", to: 4096),
        ], required: ["name", "value"]), to: 16, .map("name"))
  }

  private static let headerChange = object(
    "Which fields are changed.",
    [
      "set": headers("Fields that are put in place of those of the name."),
      "add": headers("Fields that are added to those of the name."),
      "remove": list("Names of fields that are taken away.", of: ["type": "string"], to: 16, .set),
    ])

  private static let mirror = object(
    "A second backend, whose answers nobody sees.",
    [
      "backendRef": backend("The backend.", isWeighted: false),
      "percent": number("How many of a hundred requests it gets.", from: 0, to: 100),
      "fraction": object(
        "How many of the requests it gets.",
        [
          "numerator": number("This many.", from: 0),
          "denominator": number("Of this many.", from: 1, default: 100),
        ], required: ["numerator"]),
    ], required: ["backendRef"], more: not(both(has("percent"), has("fraction"))))

  private static let pathChange = object(
    "What becomes of the path.",
    [
      "type": text("What is replaced.", only: ["ReplaceFullPath", "ReplacePrefixMatch"]),
      "replaceFullPath": text("In place of all of it.", from: nil, to: 1024),
      "replacePrefixMatch": text("In place of the prefix that matched.", from: nil, to: 1024),
    ], required: ["type"],
    more: union([
      "ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch",
    ]))

  private static let redirect = object(
    "The client is sent elsewhere.",
    [
      "scheme": text("http or https; without it, as it came.", only: ["http", "https"]),
      "hostname": hostname("The name; without it, the one that was asked for.", isExact: true),
      "path": pathChange, "port": port("The port; without it, what scheme and listener make of it."),
      "statusCode": number("The answer's status.", default: 302, only: [301, 302, 303, 307, 308]),
    ])

  private static let rewrite = object(
    "The request is changed on its way.",
    ["hostname": hostname("The name that the backend sees.", isExact: true), "path": pathChange])

  private static func alone(_ description: String, of item: JSON, to most: Int) -> JSON {
    list(
      description, of: item, to: most, .set,
      more: any(["maxItems": 1], ["items": not(["enum": ["*"]])]))
  }

  private static let methods: [JSON] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
  ]

  private static let cors = object(
    "Requests of pages from other origins (Fetch, CORS).",
    [
      "allowOrigins": alone(
        "Origins that may ask; * is for all, alone.",
        of: text(
          "One origin.", to: 253,
          pattern:
            #"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"#),
        to: 64),
      "allowMethods": alone(
        "Methods that they may use; * is for all, alone.", of: text("One method.", only: methods + ["*"]),
        to: 9),
      "allowHeaders": alone(
        "Fields that they may send; * is for all, alone.", of: text("One name.", to: 256, pattern: token),
        to: 64),
      "exposeHeaders": list(
        "Fields of the answer that they may read.", of: text("One name.", to: 256, pattern: token), to: 64,
        .set),
      "allowCredentials": ["type": "boolean", "description": "Whether they may send credentials."],
      "maxAge": number("How many seconds an answer holds.", from: 1, default: 5),
    ])

  private static let sharedFilters: JSON = [
    "requestHeaderModifier": headerChange, "responseHeaderModifier": headerChange, "requestMirror": mirror,
    "extensionRef": reference("A filter of the controller's own."),
  ]

  /// Some filter of the list has this field.
  private static func someFilter(_ field: String) -> JSON { not(["items": not(has(field))]) }

  private static let httpFilters: JSON = {
    var fields = sharedFilters
    fields["requestRedirect"] = redirect
    fields["urlRewrite"] = rewrite
    fields["cors"] = cors
    fields["type"] = text(
      "Which of the other fields is there.",
      only: [
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite",
        "ExtensionRef", "CORS",
      ])
    return list(
      "What is done with a request and its answer.",
      of: object(
        "One thing that is done.", fields, required: ["type"],
        more: union([
          "RequestHeaderModifier": "requestHeaderModifier",
          "ResponseHeaderModifier": "responseHeaderModifier", "RequestMirror": "requestMirror",
          "RequestRedirect": "requestRedirect", "URLRewrite": "urlRewrite", "ExtensionRef": "extensionRef",
          "CORS": "cors",
        ])), to: 16, more: not(both(someFilter("requestRedirect"), someFilter("urlRewrite"))))
  }()

  private static let grpcFilters: JSON = {
    var fields = sharedFilters
    fields["type"] = text(
      "Which of the other fields is there.",
      only: ["ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef"])
    return list(
      "What is done with a call and its answer.",
      of: object(
        "One thing that is done.", fields, required: ["type"],
        more: union([
          "RequestHeaderModifier": "requestHeaderModifier",
          "ResponseHeaderModifier": "responseHeaderModifier", "RequestMirror": "requestMirror",
          "ExtensionRef": "extensionRef",
        ])), to: 16)
  }()

  // MARK: Matches

  private static func values(_ description: String, to most: Int) -> JSON {
    list(
      description,
      of: object(
        "One field or parameter.",
        [
          "name": text("Its name.", to: 256, pattern: token),
          "type": text(
            "How the value is compared.", default: "Exact", only: ["Exact", "RegularExpression"]),
          "value": text("The value.", to: most),
        ], required: ["name", "value"]), to: 16, .map("name"))
  }

  private static let path = object(
    "The path.",
    [
      "type": text(
        "How it is compared; PathPrefix counts whole elements.", default: "PathPrefix",
        only: ["Exact", "PathPrefix", "RegularExpression"]),
      "value": text("What it is compared with.", from: nil, to: 1024, default: "/"),
    ], default: ["type": "PathPrefix", "value": "/"],
    more: any(
      has("type", "RegularExpression"),
      [
        "properties": [
          "value": [
            "pattern": #"^/([-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})*$"#,
            "not": ["pattern": #"//|/\./|/\.\./|%2[fF]|#|/\.$|/\.\.$"#],
          ]
        ]
      ]))

  private static let method = object(
    "The service and method that are called; one of them at least.",
    [
      "type": text("How they are compared.", default: "Exact", only: ["Exact", "RegularExpression"]),
      "service": text("The service; without it, any.", from: nil, to: 1024),
      "method": text("The method; without it, any.", from: nil, to: 1024),
    ],
    more: all(
      any(has("service"), has("method")),
      any(
        has("type", "RegularExpression"),
        [
          "properties": [
            "service": ["pattern": #"^\.?[a-zA-Z_][a-zA-Z_0-9]*(\.[a-zA-Z_][a-zA-Z_0-9]*)*$"#],
            "method": ["pattern": "^[A-Za-z_][A-Za-z_0-9]*$"],
          ]
        ])))

  private static let duration = text(
    "A time such as 10s or 1h30m; 0s is for none.", pattern: "^([0-9]{1,5}(h|m|s|ms)){1,4}$")

  // MARK: Kinds

  static var httpRoute: [String: JSON] {
    let everything: JSON = [["path": ["type": "PathPrefix", "value": "/"]]]
    let rule = object(
      "Some requests and what becomes of them.",
      [
        "name": section("Its name."),
        "matches": list(
          "Requests it is for: one of these must fit.",
          of: object(
            "All that is named must fit.",
            [
              "path": path, "headers": values("Fields that must be there.", to: 4096),
              "queryParams": values("Parameters that must be there.", to: 1024),
              "method": text("The method.", only: methods),
            ]), to: 64, default: everything),
        "filters": httpFilters,
        "backendRefs": list(
          "Where they go; without any they are answered here.",
          of: backend("One backend.", isWeighted: true, filters: httpFilters), to: 16),
        "timeouts": object(
          "How long things may take.", ["request": duration, "backendRequest": duration]),
        // Of the experimental channel: it is served, so it is kept.
        "retry": object(
          "When a request is sent again.",
          [
            "attempts": number("How often it is sent again at most.", from: 1),
            "backoff": duration,
            "codes": list(
              "Answers after which it is; of the experimental channel.",
              of: number("A status.", from: 400, to: 599), to: nil, .set),
          ]),
      ],
      more: not(
        both(
          ["properties": ["backendRefs": ["minItems": 1]], "required": ["backendRefs"]],
          [
            "properties": ["filters": someFilter("requestRedirect")], "required": ["filters"],
          ])))
    return [
      "spec": object(
        "What is wanted.",
        [
          "parentRefs": parentRefs, "hostnames": hostnames,
          "rules": list(
            "The rules. The most specific that fits counts.", of: rule, from: 1, to: 16,
            default: [["matches": everything]]),
        ]), "status": routeStatus,
    ]
  }

  static var grpcRoute: [String: JSON] {
    let rule = object(
      "Some calls and what becomes of them.",
      [
        "name": section("Its name."),
        "matches": list(
          "Calls it is for: one of these must fit.",
          of: object(
            "All that is named must fit.",
            ["method": method, "headers": values("Metadata that must be there.", to: 4096)]), to: 64),
        "filters": grpcFilters,
        "backendRefs": list(
          "Where they go.", of: backend("One backend.", isWeighted: true, filters: grpcFilters), to: 16),
      ])
    return [
      "spec": object(
        "What is wanted.",
        [
          "parentRefs": parentRefs, "hostnames": hostnames,
          "rules": list("The rules. The most specific that fits counts.", of: rule, to: 16),
        ]), "status": routeStatus,
    ]
  }

  private static let streamRules = list(
    "The one rule.",
    of: object(
      "Where connections go.",
      [
        "name": section("Its name."),
        "backendRefs": list(
          "Where they go.", of: backend("One backend.", isWeighted: true), from: 1, to: 16),
      ], required: ["backendRefs"]), from: 1, to: 1)

  static var tlsRoute: [String: JSON] {
    let names = list(
      "Names that it is for, as clients ask for them (SNI).",
      of: merge(
        hostname("One name."), not(["pattern": #"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"#])), from: 1, to: 1024)
    return [
      "spec": object(
        "What is wanted.", ["parentRefs": parentRefs, "hostnames": names, "rules": streamRules],
        required: ["hostnames", "rules"]), "status": routeStatus,
    ]
  }

  /// TCPRoute and UDPRoute.
  static var streamRoute: [String: JSON] {
    [
      "spec": object(
        "What is wanted.", ["parentRefs": parentRefs, "rules": streamRules], required: ["rules"]),
      "status": routeStatus,
    ]
  }

  static var referenceGrant: [String: JSON] {
    [
      "spec": object(
        "Who may name what of this namespace.",
        [
          "from": list(
            "Who.",
            of: object(
              "Objects of one kind in one namespace.",
              [
                "group": group("Their API group."), "kind": kind("Their kind."),
                "namespace": namespace("Their namespace."),
              ], required: ["group", "kind", "namespace"]), from: 1, to: 16),
          "to": list(
            "What.",
            of: object(
              "Objects of one kind.",
              [
                "group": group("Their API group."), "kind": kind("Their kind."),
                "name": name("One of them; without it, all."),
              ], required: ["group", "kind"]), from: 1, to: 16),
        ], required: ["from", "to"])
    ]
  }

  static var backendTLSPolicy: [String: JSON] {
    var target = reference("A Service.")
    target.set(section("One port of it, by name."), at: "properties", "sectionName")
    return [
      "spec": object(
        "How backends are spoken to by TLS.",
        [
          "targetRefs": list("The backends.", of: target, from: 1, to: 16),
          "validation": object(
            "How their certificates are checked.",
            [
              "caCertificateRefs": list(
                "Authorities, each in the ca.crt of a ConfigMap.", of: reference("A ConfigMap with ca.crt."),
                to: 8),
              "wellKnownCACertificates": text(
                "System: those that the machine has.", to: 253,
                pattern: "^(System|(\(subdomain)/([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]))$"),
              "hostname": hostname(
                "The name that is asked for, and must be in the certificate.", isExact: true),
              "subjectAltNames": list(
                "Names of which one must be in the certificate, in place of the one asked for.",
                of: object(
                  "One name.",
                  [
                    "type": text("What it is.", only: ["Hostname", "URI"]), "hostname": hostname("A name."),
                    "uri": text(
                      "A URI.", to: 253,
                      pattern: #"^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\?([^#]*))?(#(.*))?"#),
                  ], required: ["type"], more: union(["Hostname": "hostname", "URI": "uri"])), to: 5),
            ], required: ["hostname"],
            more: [
              "oneOf": [
                ["properties": ["caCertificateRefs": ["minItems": 1]], "required": ["caCertificateRefs"]],
                has("wellKnownCACertificates"),
              ]
            ]), "options": options,
        ], required: ["targetRefs", "validation"]), "status": policyStatus,
    ]
  }
}

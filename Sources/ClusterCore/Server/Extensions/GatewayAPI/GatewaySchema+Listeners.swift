// GatewayClass, Gateway and ListenerSet.

import ClusterObjects

extension GatewaySchema {
  private static let listenerTLS = object(
    "How connections by TLS are taken.",
    [
      "mode": text(
        "Terminate opens them here, Passthrough hands them on unopened.", default: "Terminate",
        only: ["Terminate", "Passthrough"]),
      "certificateRefs": list(
        "Secrets with certificates and keys.", of: secret("A Secret with tls.crt and tls.key."), to: 64),
      "options": options,
    ],
    more: any(
      has("mode", "Passthrough"),
      ["properties": ["certificateRefs": ["minItems": 1]], "required": ["certificateRefs"]],
      ["properties": ["options": ["minProperties": 1]], "required": ["options"]]))

  private static func namespaces(_ description: String, from choices: [JSON], default value: JSON) -> JSON {
    object(
      description,
      [
        "from": text("Which namespaces are meant.", default: value, only: choices),
        "selector": selector("For Selector: the namespaces with these labels."),
      ], default: ["from": value])
  }

  private static let allowedRoutes = object(
    "Which routes may attach.",
    [
      "namespaces": namespaces(
        "The namespaces that they may be in.", from: ["All", "Selector", "Same"], default: "Same"),
      "kinds": list("The kinds that they may have; without any, all that fit.", of: routeKind, to: 8),
    ], default: ["namespaces": ["from": "Same"]])

  private static let listeners = list(
    "Where clients come in.",
    of: object(
      "A port, and what is spoken there.",
      [
        "name": section("Its name, of which there is one."),
        "hostname": hostname("Names that it is for; without one, all."), "port": port("Its port."),
        "protocol": text(
          "HTTP, HTTPS, TLS, TCP, UDP, or one of a controller's own.", to: 255,
          pattern: "^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|\(subdomain)\\/[A-Za-z0-9]+$"),
        "tls": listenerTLS, "allowedRoutes": allowedRoutes,
      ], required: ["name", "port", "protocol"],
      more: all(
        not(both(has("protocol", "HTTP", "TCP", "UDP"), has("tls"))),
        not(both(has("protocol", "TCP", "UDP"), has("hostname"))),
        any(not(has("protocol", "TLS")), has("tls")),
        not(
          both(
            has("protocol", "HTTPS"),
            ["properties": ["tls": has("mode", "Passthrough")], "required": ["tls"]]
          )))), from: 1, to: 64, .map("name"))

  private static let frontend = object(
    "What is asked of clients.",
    [
      "validation": object(
        "How their certificates are checked.",
        [
          "caCertificateRefs": list(
            "Authorities, each in the ca.crt of a ConfigMap.",
            of: reference("A ConfigMap with ca.crt.", elsewhere: true), from: 1, to: 16),
          "mode": text(
            "Whether a client without a valid certificate is let in all the same.", default: "AllowValidOnly",
            only: ["AllowValidOnly", "AllowInsecureFallback"]),
        ], required: ["caCertificateRefs"])
    ])

  private static let gatewayTLS = object(
    "TLS towards clients and backends.",
    [
      "backend": object(
        "As a client of backends.",
        ["clientCertificateRef": secret("The certificate that backends are shown.")]),
      "frontend": object(
        "As a server.",
        [
          "default": frontend,
          "perPort": list(
            "For some ports in place of the default.",
            of: object(
              "One port.", ["port": port("The port."), "tls": frontend], required: ["port", "tls"]),
            to: 64, .map("port")),
        ], required: ["default"]),
    ])

  static var gatewayClass: [String: JSON] {
    [
      "spec": object(
        "Who takes care of its Gateways.",
        [
          "controllerName": controllerName("The controller. It stays what it is."),
          "description": text("For people.", from: nil, to: 64),
          "parametersRef": {
            var parameters = reference("What the controller is told besides.")
            parameters.set(namespace("Its namespace, where it has one."), at: "properties", "namespace")
            return parameters
          }(),
        ], required: ["controllerName"]),
      "status": object(
        "What the controller says.",
        [
          "conditions": conditions(default: pending("Accepted")),
          "supportedFeatures": list(
            "What it can do, by the names of the conformance tests.",
            of: object("One feature.", ["name": text("Its name.")], required: ["name"]), to: 64, .map("name")),
        ], default: ["conditions": pending("Accepted")]),
    ]
  }

  static var gateway: [String: JSON] {
    [
      "spec": object(
        "What is wanted.",
        [
          "gatewayClassName": name("The class, which names the controller."), "listeners": listeners,
          "addresses": list(
            "Addresses that are wanted; without any the controller chooses.",
            of: address("One address.", isGiven: true), to: 16),
          "infrastructure": object(
            "For what is made on behalf of the Gateway.",
            [
              "labels": map(
                "Labels of it.",
                of: text(
                  "The value.", from: 0, to: 63, pattern: "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"),
                to: 8),
              "annotations": map("Annotations of it.", of: text("The value.", from: 0, to: 4096), to: 16),
              "parametersRef": reference("What the controller is told besides."),
            ]),
          "allowedListeners": object(
            "Which ListenerSets may attach.",
            [
              "namespaces": namespaces(
                "The namespaces that they may be in.", from: ["All", "Selector", "Same", "None"],
                default: "None")
            ]),
          "tls": gatewayTLS,
        ], required: ["gatewayClassName", "listeners"]),
      "status": object(
        "What became of it.",
        [
          "addresses": list(
            "Where clients reach it.", of: address("One address.", isGiven: false), to: 16),
          "attachedListenerSets": number("How many accepted ListenerSets are attached to it."),
          "conditions": conditions(default: pending("Accepted", "Programmed")), "listeners": listenerStatuses,
        ], default: ["conditions": pending("Accepted", "Programmed")]),
    ]
  }

  static var listenerSet: [String: JSON] {
    [
      "spec": object(
        "What is wanted.",
        [
          "parentRef": reference(
            "The Gateway that gets these listeners.", group: "gateway.networking.k8s.io", kind: "Gateway",
            elsewhere: true), "listeners": listeners,
        ], required: ["parentRef", "listeners"]),
      "status": object(
        "What became of it.",
        [
          "conditions": conditions(default: pending("Accepted", "Programmed")), "listeners": listenerStatuses,
        ], default: ["conditions": pending("Accepted", "Programmed")]),
    ]
  }
}

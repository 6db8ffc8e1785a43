// Conditions and statuses of Gateway API's kinds.

import ClusterObjects

extension GatewaySchema {
  static let condition = object(
    "One aspect of the state.",
    [
      "type": text(
        "What it is about.", from: nil, to: 316,
        pattern: "^(\(subdomain)/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"),
      "status": text("True, False or Unknown.", only: ["True", "False", "Unknown"]),
      "reason": text(
        "Why, in one word.", to: 1024, pattern: "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
      "message": text("Why, for people.", from: nil, to: 32_768),
      "lastTransitionTime": text("When the status changed.", format: "date-time"),
      "observedGeneration": number("The generation that it speaks of.", from: 0, format: "int64"),
    ], required: ["type", "status", "reason", "message", "lastTransitionTime"])

  static func conditions(_ least: Int? = nil, default value: JSON? = nil) -> JSON {
    list("The state, aspect by aspect.", of: condition, from: least, to: 8, .map("type"), default: value)
  }

  /// What stands there before a controller has looked.
  static func pending(_ types: String...) -> JSON {
    .array(
      types.map {
        [
          "type": JSON($0), "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
          "lastTransitionTime": "1970-01-01T00:00:00Z",
        ]
      })
  }

  static let routeKind = object(
    "A kind of routes.",
    [
      "group": group("Its API group.", default: "gateway.networking.k8s.io"), "kind": kind("Its name."),
    ], required: ["kind"])

  static let listenerStatuses = list(
    "The state of each listener.",
    of: object(
      "The state of one listener.",
      [
        "name": section("The listener's name."),
        "supportedKinds": list("Kinds of routes that it takes.", of: routeKind, to: 8),
        "attachedRoutes": number("How many accepted routes are attached to it."),
        "conditions": conditions(),
      ], required: ["name", "attachedRoutes", "conditions"]), to: 64, .map("name"))

  static func address(_ description: String, isGiven: Bool) -> JSON {
    object(
      description,
      [
        "type": text(
          "What the value is: an address, a name, or what a controller calls so.", to: 253,
          pattern: "^Hostname|IPAddress|NamedAddress|\(domainPath)$", default: "IPAddress"),
        "value": text("The value.", from: isGiven ? nil : 1, to: 253),
      ], required: isGiven ? [] : ["value"],
      more: [
        "oneOf": [
          [
            "properties": [
              "type": ["enum": ["IPAddress"]],
              "value": ["anyOf": [["format": "ipv4"], ["format": "ipv6"]]],
            ]
          ], ["properties": ["type": not(["enum": ["IPAddress"]])]],
        ],
        "anyOf": [
          ["properties": ["type": not(["enum": ["Hostname"]])]],
          ["properties": ["value": ["pattern": JSON(isGiven ? "^$|\(hostPattern)" : hostPattern)]]],
        ],
      ])
  }

  /// A Gateway, a listener of one, or something else that routes attach to.
  static func parent(_ description: String) -> JSON {
    var parent = reference(
      description, group: "gateway.networking.k8s.io", kind: "Gateway", elsewhere: true)
    parent.set(section("One listener of it."), at: "properties", "sectionName")
    parent.set(port("Its listeners on this port."), at: "properties", "port")
    return parent
  }

  static let routeStatus = object(
    "What became of it.",
    [
      "parents": list(
        "For each parent what its controller says.",
        of: object(
          "What the controller of one parent says.",
          [
            "parentRef": parent("The parent, as the route names it."),
            "controllerName": controllerName("Who wrote this."), "conditions": conditions(1),
          ], required: ["parentRef", "controllerName", "conditions"]), to: 32)
    ], required: ["parents"])

  static let policyStatus = object(
    "What became of it.",
    [
      "ancestors": list(
        "For each Gateway that it has an effect on, what its controller says.",
        of: object(
          "What the controller of one Gateway says.",
          [
            "ancestorRef": parent("The Gateway."), "controllerName": controllerName("Who wrote this."),
            "conditions": conditions(1),
          ], required: ["ancestorRef", "controllerName", "conditions"]), to: 16)
    ], required: ["ancestors"])
}

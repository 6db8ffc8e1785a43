// The definition of ClusterNetworkPolicy (policy.networking.k8s.io/v1beta1, SIG Network's Network Policy API), in our own words.
// Fields and bounds are the API's; what it says by CEL the network's reading of an object says again, by closing the rule.

import ClusterObjects

public enum ClusterNetworkPolicyDefinition {
  private static func object(
    _ text: String, _ fields: JSON, required: [String] = [], bounds: JSON = [:]
  ) -> JSON {
    var schema: JSON = ["type": "object", "description": JSON(text), "properties": fields]
    if !required.isEmpty { schema["required"] = JSON(required) }
    for key in bounds.object?.keys ?? [] { schema[key] = bounds[key] }
    return schema
  }
  private static let exactlyOne: JSON = ["minProperties": 1, "maxProperties": 1]

  private static func list(_ text: String, of item: JSON, from least: Int = 1, isSet: Bool = false) -> JSON {
    var schema: JSON = [
      "type": "array", "description": JSON(text), "items": item, "minItems": JSON(least), "maxItems": 25,
    ]
    if isSet { schema["x-kubernetes-list-type"] = "set" }
    return schema
  }

  private static func text(_ text: String, _ more: JSON = [:]) -> JSON {
    var schema: JSON = ["type": "string", "description": JSON(text)]
    for key in more.object?.keys ?? [] { schema[key] = more[key] }
    return schema
  }

  private static func selector(_ text: String) -> JSON {
    object(
      text,
      [
        "matchLabels": [
          "type": "object", "description": "Labels that all must be there.",
          "additionalProperties": ["type": "string"],
        ],
        "matchExpressions": [
          "type": "array", "description": "Requirements that all must hold.",
          "x-kubernetes-list-type": "atomic",
          "items": object(
            "One requirement on a label.",
            [
              "key": Self.text("The label."),
              "operator": Self.text("In, NotIn, Exists or DoesNotExist."),
              "values": [
                "type": "array", "description": "For In and NotIn.", "items": ["type": "string"],
                "x-kubernetes-list-type": "atomic",
              ],
            ], required: ["key", "operator"]),
        ],
      ], bounds: ["x-kubernetes-map-type": "atomic"])
  }

  private static let podFields: JSON = [
    "namespaces": selector("All pods of the namespaces with these labels."),
    "pods": object(
      "Pods with certain labels in certain namespaces.",
      [
        "namespaceSelector": selector("The namespaces; an empty selector takes all."),
        "podSelector": selector("The pods; an empty selector takes all."),
      ], required: ["podSelector"]),
  ]

  private static let port: JSON = ["type": "integer", "format": "int32", "minimum": 1, "maximum": 65535]

  private static func transport(_ name: String) -> JSON {
    object(
      "Connections by \(name).",
      [
        "destinationPort": object(
          "Where they go to.",
          [
            "number": port,
            "range": object(
              "From one port to another, both included.", ["start": port, "end": port],
              required: ["start", "end"]),
          ], bounds: exactlyOne)
      ])
  }

  private static let protocols = list(
    "Protocols and ports; without them the rule speaks of all.",
    of: object(
      "One protocol, or a port by its name.",
      [
        "tcp": transport("TCP"), "udp": transport("UDP"), "sctp": transport("SCTP"),
        "destinationNamedPort": text("The name of a container's port, of any protocol."),
      ], bounds: exactlyOne))

  private static func rules(_ direction: String, _ peersKey: String, _ peerFields: JSON) -> JSON {
    list(
      "Rules for \(direction), of which the first that matches counts.",
      of: object(
        "What becomes of some connections.",
        [
          "name": text("For people who read what was decided.", ["maxLength": 100]),
          "action": text("Accept, Deny, or Pass on to the next tier.", ["enum": ["Accept", "Deny", "Pass"]]),
          peersKey: list(
            "The other ends that the rule speaks of.",
            of: object("One kind of other end.", peerFields, bounds: exactlyOne)),
          "protocols": protocols,
        ], required: ["action", peersKey]), from: 0)
  }

  private static var egressFields: JSON {
    var fields = podFields
    fields["networks"] = list(
      "Blocks of addresses, inside of the cluster too.", of: ["type": "string", "maxLength": 43], isSet: true)
    fields["nodes"] = selector("Addresses of the nodes with these labels.")
    fields["domainNames"] = list(
      "What cluster DNS answers for these names, for Accept alone; *.NAME takes all below NAME.",
      of: [
        "type": "string",
        "pattern":
          #"^(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$"#,
      ], isSet: true)
    return fields
  }

  private static let condition = object(
    "One aspect of the policy's state.",
    [
      "type": text("What it is about."),
      "status": text("True, False or Unknown.", ["enum": ["True", "False", "Unknown"]]),
      "reason": text("Why, in one word."), "message": text("Why, for people."),
      "lastTransitionTime": text("When the status changed.", ["format": "date-time"]),
      "observedGeneration": ["type": "integer", "format": "int64", "minimum": 0],
    ], required: ["type", "status", "reason", "message", "lastTransitionTime"])

  /// The definition as it is created.
  public static var tree: JSON {
    let spec = object(
      "What is wanted.",
      [
        "tier": text(
          "Admin goes before NetworkPolicies, Baseline after them.", ["enum": ["Admin", "Baseline"]]),
        "priority": [
          "type": "integer", "format": "int32", "minimum": 0, "maximum": 1000,
          "description": "Within its tier; the lower goes first.",
        ],
        "subject": object(
          "The pods that the rules are about; never those on the node's network.", podFields,
          bounds: exactlyOne),
        "ingress": rules("connections to them", "from", podFields),
        "egress": rules("connections from them", "to", egressFields),
      ], required: ["tier", "priority", "subject"])
    let schema = object(
      "Rules of the cluster's administrator for connections of pods in any namespace.",
      [
        "apiVersion": ["type": "string"], "kind": ["type": "string"], "metadata": ["type": "object"],
        "spec": spec,
        "status": object(
          "What became of it.",
          [
            "conditions": [
              "type": "array", "items": condition, "x-kubernetes-list-type": "map",
              "x-kubernetes-list-map-keys": ["type"],
            ]
          ]),
      ], required: ["metadata", "spec"])
    return [
      "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
      "metadata": [
        "name": "clusternetworkpolicies.policy.networking.k8s.io",
        "annotations": [
          "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/network-policy-api/pull/347",
          "policy.networking.k8s.io/channel": "experimental",
        ],
      ],
      "spec": [
        "group": "policy.networking.k8s.io", "scope": "Cluster",
        "names": [
          "kind": "ClusterNetworkPolicy", "listKind": "ClusterNetworkPolicyList",
          "plural": "clusternetworkpolicies", "singular": "clusternetworkpolicy", "shortNames": ["cnp"],
        ],
        "versions": [
          [
            "name": "v1beta1", "served": true, "storage": true, "subresources": ["status": [:]],
            "schema": ["openAPIV3Schema": schema],
            "additionalPrinterColumns": [
              ["name": "Tier", "type": "string", "jsonPath": ".spec.tier"],
              ["name": "Priority", "type": "string", "jsonPath": ".spec.priority"],
              ["name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"],
            ],
          ]
        ],
      ],
    ]
  }
}

// The ten definitions of Gateway API 1.6 as `weft` creates them, in the order in which people name them.

import ClusterClient
import ClusterObjects

public enum GatewayDefinitions {
  /// The API's version, as clients look for it in annotations.
  public static let bundleVersion = "v1.6.1"
  private static let approval = "https://github.com/kubernetes-sigs/gateway-api/pull/4530"

  private struct Kind {
    var name: String
    var text: String
    var plural: String
    var shortNames: [JSON] = []
    /// Versions beside v1; the last is the one that is stored.
    var stored = "v1"
    var others: [String] = []
    var isNamespaced = true
    var schema: [String: JSON]
    var columns: [JSON] = []
  }

  /// The definitions. Made anew each time; nobody keeps them.
  public static var trees: [JSON] { kinds.map(tree) }

  /// Their names, as a client asks for them.
  public static var names: [String] { kinds.map { "\($0.plural).\(group)" } }

  static let group = "gateway.networking.k8s.io"

  private static func column(_ name: String, _ path: String, _ type: String = "string") -> JSON {
    ["name": JSON(name), "type": JSON(type), "jsonPath": JSON(path)]
  }

  private static let age = column("Age", ".metadata.creationTimestamp", "date")

  private static func state(_ type: String) -> JSON {
    column(type, #".status.conditions[?(@.type==""# + type + #"")].status"#)
  }

  private static var kinds: [Kind] {
    let hosts = column("Hostnames", ".spec.hostnames")
    return [
      Kind(
        name: "GatewayClass", text: "A kind of Gateways, and the controller that takes care of them.",
        plural: "gatewayclasses", shortNames: ["gc"], others: ["v1beta1"], isNamespaced: false,
        schema: GatewaySchema.gatewayClass,
        columns: [
          column("Controller", ".spec.controllerName"), state("Accepted"), age,
          GatewaySchema.merge(column("Description", ".spec.description"), ["priority": 1]),
        ]),
      Kind(
        name: "Gateway", text: "Ports where clients come in.", plural: "gateways", shortNames: ["gtw"],
        others: ["v1beta1"], schema: GatewaySchema.gateway,
        columns: [
          column("Class", ".spec.gatewayClassName"), column("Address", ".status.addresses[*].value"),
          state("Programmed"), age,
        ]),
      Kind(
        name: "ListenerSet", text: "More listeners for a Gateway, of somebody else.", plural: "listenersets",
        shortNames: ["lset"], schema: GatewaySchema.listenerSet,
        columns: [state("Accepted"), state("Programmed"), age]),
      Kind(
        name: "HTTPRoute", text: "HTTP requests and the backends that they go to.", plural: "httproutes",
        others: ["v1beta1"], schema: GatewaySchema.httpRoute, columns: [hosts, age]),
      Kind(
        name: "GRPCRoute", text: "gRPC calls and the backends that they go to.", plural: "grpcroutes",
        schema: GatewaySchema.grpcRoute, columns: [hosts, age]),
      Kind(
        name: "TLSRoute", text: "TLS connections by name, and the backends that they go to.",
        plural: "tlsroutes", schema: GatewaySchema.tlsRoute, columns: [age]),
      Kind(
        name: "TCPRoute", text: "TCP connections and the backends that they go to.", plural: "tcproutes",
        schema: GatewaySchema.streamRoute, columns: [age]),
      Kind(
        name: "UDPRoute", text: "UDP datagrams and the backends that they go to.", plural: "udproutes",
        schema: GatewaySchema.streamRoute, columns: [age]),
      Kind(
        name: "ReferenceGrant", text: "Lets objects of other namespaces name objects of this one.",
        plural: "referencegrants", shortNames: ["refgrant"], stored: "v1beta1", others: ["v1"],
        schema: GatewaySchema.referenceGrant, columns: [age]),
      Kind(
        name: "BackendTLSPolicy", text: "How Gateways speak to backends by TLS.",
        plural: "backendtlspolicies", shortNames: ["btlspolicy"], schema: GatewaySchema.backendTLSPolicy,
        columns: [age]),
    ]
  }

  private static func tree(_ kind: Kind) -> JSON {
    var properties: JSON = [
      "apiVersion": ["type": "string"], "kind": ["type": "string"], "metadata": ["type": "object"],
    ]
    for field in ["spec", "status"] { properties[field] = kind.schema[field] }
    let schema = GatewaySchema.object(kind.text, properties, required: ["spec"])
    var metadata: JSON = [
      "name": JSON("\(kind.plural).\(group)"),
      "annotations": [
        "api-approved.kubernetes.io": JSON(approval),
        "gateway.networking.k8s.io/bundle-version": JSON(bundleVersion),
        "gateway.networking.k8s.io/channel": "standard",
      ],
    ]
    if kind.name == "BackendTLSPolicy" {
      metadata["labels"] = ["gateway.networking.k8s.io/policy": "Direct"]
    }
    let hasStatus = kind.schema["status"] != nil
    // The newest first, as discovery prefers it.
    let names = (kind.others + [kind.stored]).sorted { $0.count < $1.count }
    return [
      "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata,
      "spec": [
        "group": JSON(group), "scope": kind.isNamespaced ? "Namespaced" : "Cluster",
        "names": [
          "kind": JSON(kind.name), "listKind": JSON("\(kind.name)List"), "plural": JSON(kind.plural),
          "singular": JSON(kind.name.lowercased()), "shortNames": .array(kind.shortNames),
          "categories": ["gateway-api"],
        ],
        "versions": .array(
          names.map { name in
            [
              "name": JSON(name), "served": true, "storage": JSON(name == kind.stored),
              "subresources": hasStatus ? ["status": [:]] : [:], "schema": ["openAPIV3Schema": schema],
              "additionalPrinterColumns": .array(kind.columns),
            ]
          }),
      ],
    ]
  }
}

extension ClusterServer {
  /// Creates Gateway API's definitions that are not there and returns when all are served. Whoever brought others, such as those of
  /// the experimental channel, keeps them. Errors as `install(crd:)`.
  public func installGatewayAPI() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for tree in GatewayDefinitions.trees {
        group.addTask { try await self.install(crd: tree, replacing: false) }
      }
      try await group.waitForAll()
    }
  }
}

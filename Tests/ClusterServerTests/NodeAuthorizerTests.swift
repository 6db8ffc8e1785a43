// What a node may read: what its pods need, and nothing of another node's.

import ClusterClient
import ClusterObjects
import ClusterStore
import Testing

@testable import ClusterServer

private let manifest: JSON = [
  "metadata": ["name": "p", "namespace": "shop"],
  "spec": [
    "nodeName": "n1", "serviceAccountName": "robot", "imagePullSecrets": [["name": "pull"]],
    "containers": [
      [
        "name": "c", "image": "x",
        "env": [
          ["name": "A", "valueFrom": ["secretKeyRef": ["name": "env", "key": "k"]]],
          ["name": "B", "valueFrom": ["configMapKeyRef": ["name": "envmap", "key": "k"]]],
        ],
        "envFrom": [["secretRef": ["name": "all"]], ["configMapRef": ["name": "allmap"]]],
      ]
    ],
    "initContainers": [
      ["name": "i", "image": "x", "envFrom": [["secretRef": ["name": "init"]]]]
    ],
    "volumes": [
      ["name": "a", "secret": ["secretName": "mounted"]],
      ["name": "b", "configMap": ["name": "mountedmap"]],
      [
        "name": "c",
        "projected": ["sources": [["secret": ["name": "part"]], ["configMap": ["name": "partmap"]]]],
      ],
      ["name": "d", "persistentVolumeClaim": ["claimName": "data"]],
      ["name": "e", "ephemeral": ["volumeClaimTemplate": [:]]],
      ["name": "f", "csi": ["driver": "x", "nodePublishSecretRef": ["name": "publish"]]],
    ],
  ],
]

private func asked(
  _ node: String, _ verb: String, _ resource: String, group: String = "", namespace: String = "shop",
  name: String = "", subresource: String = "", fields: String = ""
) -> AccessAttributes {
  var attributes = AccessAttributes(
    identity: Identity(user: "system:node:\(node)", groups: ["system:nodes", "system:authenticated"]),
    verb: verb, group: group, resource: resource, subresource: subresource, namespace: namespace, name: name)
  attributes.fieldSelector = try? FieldSelector(parsing: fields)
  return attributes
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct NodeAuthorizerTests {
  @Test func `a pod leads its node to everything it names`() {
    func reference(_ kind: NodeReference.Kind, _ name: String) -> NodeReference {
      NodeReference(kind: kind, namespace: "shop", name: name)
    }
    var graph = NodeGraph()
    graph.setPod(manifest)
    let expected =
      ["pull", "env", "all", "init", "mounted", "part", "publish"].map { reference(.secret, $0) }
      + ["envmap", "allmap", "mountedmap", "partmap"].map { reference(.configMap, $0) }
      + [
        reference(.pod, "p"), reference(.serviceAccount, "robot"), reference(.claim, "data"),
        reference(.claim, "p-e"),
      ]
    #expect(PodReferences.of(manifest) == Set(expected))
    for one in expected {
      #expect(graph.relates("n1", to: one))
      #expect(!graph.relates("n2", to: one))
    }
    graph.removePod(manifest.key)
    for one in expected { #expect(!graph.relates("n1", to: one)) }
  }

  @Test func `an object two pods need stays readable until both are gone`() {
    var second = manifest
    second.set("q", at: "metadata", "name")
    let secret = NodeReference(kind: .secret, namespace: "shop", name: "env")
    var graph = NodeGraph()
    graph.setPod(manifest)
    graph.setPod(second)
    graph.setPod(second)
    graph.removePod(manifest.key)
    #expect(graph.relates("n1", to: secret))
    // A pod moves only as a new one of the same name.
    second.set("n2", at: "spec", "nodeName")
    graph.setPod(second)
    #expect(!graph.relates("n1", to: secret))
    #expect(graph.relates("n2", to: secret))
  }

  @Test func `a claim leads to its volume and to the volume's secrets`() {
    var graph = NodeGraph()
    graph.setPod(manifest)
    let volume: JSON = [
      "metadata": ["name": "pv1"],
      "spec": [
        "claimRef": ["namespace": "shop", "name": "data"],
        "csi": ["driver": "x", "nodeStageSecretRef": ["name": "stage", "namespace": "vault"]],
      ],
    ]
    graph.setVolume(volume)
    let stage = NodeReference(kind: .secret, namespace: "vault", name: "stage")
    #expect(graph.relates("n1", toVolume: "pv1"))
    #expect(graph.relates("n1", to: stage))
    #expect(!graph.relates("n2", toVolume: "pv1"))
    #expect(!graph.relates("n2", to: stage))
    graph.removeVolume("pv1")
    #expect(!graph.relates("n1", to: stage))
  }

  @Test func `a mirror pod opens nothing`() {
    var mirror = manifest
    mirror.set("x", at: "metadata", "annotations", "kubernetes.io/config.mirror")
    #expect(PodReferences.of(mirror) == [NodeReference(kind: .pod, namespace: "shop", name: "p")])
  }

  @Test func `a node asks for its own, and is told why not for the rest`() async throws {
    try await withFolder { folder in
      let store = try SQLiteStore(settings: SQLiteStoreSettings(folder: folder))
      let caches = ObjectCaches(store: store)
      try await caches.start()
      let authorizer = NodeAuthorizer(caches: caches)
      var pod = manifest
      pod["kind"] = "Pod"
      pod["apiVersion"] = "v1"
      _ = try await store.create("/registry/pods/shop/p", pod.bytes)

      for question in [
        asked("n1", "get", "secrets", name: "env"), asked("n1", "watch", "configmaps", name: "envmap"),
        asked("n1", "get", "persistentvolumeclaims", name: "data"),
        asked("n1", "create", "serviceaccounts", name: "robot", subresource: "token"),
        asked("n1", "get", "pods", name: "p"), asked("n1", "patch", "pods", name: "p", subresource: "status"),
        asked("n1", "list", "pods", namespace: "", fields: "spec.nodeName=n1"),
        asked("n1", "watch", "nodes", namespace: "", name: "n1"),
        asked("n1", "patch", "nodes", namespace: "", name: "n1", subresource: "status"),
        asked(
          "n1", "update", "leases", group: "coordination.k8s.io", namespace: "kube-node-lease", name: "n1"),
        asked("n1", "list", "services", namespace: ""), asked("n1", "create", "events"),
        asked("n1", "get", "csinodes", group: "storage.k8s.io", namespace: "", name: "n1"),
        asked("n1", "create", "certificatesigningrequests", group: "certificates.k8s.io", namespace: ""),
      ] {
        #expect(await authorizer.decide(question) == .allow(reason: ""), "\(question)")
      }
      for (question, reason) in [
        (
          asked("n2", "get", "secrets", name: "env"),
          "no relationship found between node 'n2' and this object"
        ),
        (
          asked("n1", "get", "secrets", name: "other"),
          "no relationship found between node 'n1' and this object"
        ),
        (asked("n1", "list", "secrets"), "No Object name found"),
        (asked("n1", "list", "secrets", namespace: ""), "can only read namespaced object of this type"),
        (asked("n1", "delete", "secrets", name: "env"), "can only read resources of this type"),
        (
          asked("n2", "create", "serviceaccounts", name: "robot", subresource: "token"),
          "no relationship found between node 'n2' and this object"
        ),
        (
          asked("n1", "list", "pods", namespace: "", fields: "spec.nodeName=n2"),
          "can only list/watch pods with spec.nodeName field selector"
        ),
        (
          asked("n1", "list", "pods", namespace: "", fields: "spec.nodeName!=n1"),
          "can only list/watch pods with spec.nodeName field selector"
        ),
        (
          asked("n1", "get", "nodes", namespace: "", name: "n2"),
          "node 'n1' cannot read 'n2', only its own Node object"
        ),
        (
          asked(
            "n1", "update", "leases", group: "coordination.k8s.io", namespace: "kube-node-lease", name: "n2"),
          "can only access node lease with the same name as the requesting node"
        ),
        (
          asked("n1", "get", "leases", group: "coordination.k8s.io", namespace: "kube-system", name: "n1"),
          "can only access leases in the \"kube-node-lease\" system namespace"
        ),
        (asked("n1", "delete", "nodes", namespace: "", name: "n1"), ""),
        (asked("n1", "create", "deployments", group: "apps"), ""),
      ] {
        #expect(await authorizer.decide(question) == .noOpinion(reason: reason), "\(question)")
      }
      var stranger = asked("n1", "get", "secrets", name: "env")
      stranger.identity.groups = []
      #expect(await authorizer.decide(stranger) == .noOpinion(reason: ""))
      caches.shutdown()
      await store.shutdown()
    }
  }
}

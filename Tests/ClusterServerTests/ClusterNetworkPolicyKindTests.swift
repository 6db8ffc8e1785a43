// The kind ClusterNetworkPolicy as the server has it once its definition is installed: what it takes, what it refuses, whose it is.

import ClusterClient
import ClusterObjects
import ClusterServer
import ClusterView
import Testing

@Suite struct ClusterNetworkPolicyKindTests {
  private func policy(_ name: String, _ change: (inout JSON) -> Void = { _ in }) -> JSON {
    var policy: JSON = [
      "apiVersion": "policy.networking.k8s.io/v1beta1", "kind": "ClusterNetworkPolicy",
      "metadata": ["name": JSON(name)],
      "spec": [
        "tier": "Admin", "priority": 10, "subject": ["namespaces": [:]],
        "egress": [
          [
            "name": "out", "action": "Accept",
            "to": [["networks": ["10.0.0.0/8"]], ["domainNames": ["*.example.org"]], ["nodes": [:]]],
            "protocols": [["tcp": ["destinationPort": ["range": ["start": 1, "end": 5]]]]],
          ]
        ],
      ],
    ]
    change(&policy)
    return policy
  }

  @Test func `a definition that is installed takes what the API has, and refuses the rest`() async throws {
    try await withServer { server, _ in
      try await server.install(crd: ClusterNetworkPolicyDefinition.tree, replacing: false)
      #expect(server.serves(.clusterNetworkPolicies))
      let api = server.client(user: "weft-admin", groups: ["system:masters"])
      let made = try await api.create(.clusterNetworkPolicies, policy("good"), options: WriteOptions())
      // Nothing of it was pruned: the network reads what was written.
      let read = try ClusterNetworkPolicy(made)
      #expect(read.egress.first?.unknown == nil && read.egress.first?.ports.count == 1)
      let wrong: [(String, (inout JSON) -> Void)] = [
        ("tier", { $0.set("Middle", at: "spec", "tier") }),
        ("priority", { $0.set(1001, at: "spec", "priority") }),
        ("subject", { $0.set(["namespaces": [:], "pods": ["podSelector": [:]]], at: "spec", "subject") }),
        ("no peer", { $0.set([["action": "Deny", "to": []]], at: "spec", "egress") }),
        ("action", { $0.set([["action": "Ponder", "to": [["nodes": [:]]]]], at: "spec", "egress") }),
        (
          "many rules",
          {
            $0.set(
              .array(Array(repeating: ["action": "Deny", "to": [["nodes": [:]]]], count: 26)), at: "spec",
              "egress")
          }
        ),
      ]
      for (what, change) in wrong {
        let refused = await #expect(throws: APIStatusError.self, "\(what)") {
          _ = try await api.create(.clusterNetworkPolicies, policy("bad", change), options: WriteOptions())
        }
        #expect(refused?.reason == "Invalid", "\(what)")
      }
    }
  }

  @Test func `a definition that somebody has changed is left to them`() async throws {
    try await withServer { server, _ in
      try await server.install(crd: ClusterNetworkPolicyDefinition.tree, replacing: false)
      let api = server.client(user: "weft-admin", groups: ["system:masters"])
      let resource = CustomResourceDefinition.resource
      let name = "clusternetworkpolicies.policy.networking.k8s.io"
      _ = try await api.patch(
        resource, namespace: "", name: name,
        patch: .merge(["spec": ["names": ["shortNames": ["cnp", "admin"]]]]),
        subresource: nil, options: WriteOptions(fieldManager: "admin"))
      try await server.install(crd: ClusterNetworkPolicyDefinition.tree, replacing: false)
      let kept = try await api.get(resource, namespace: "", name: name)
      #expect(kept.at("spec", "names", "shortNames") == ["cnp", "admin"])
    }
  }
}

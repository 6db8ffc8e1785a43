// Load balancer addresses with a node's rights alone: the controller that gives them reads the pool, nodes read the Service's status.

import ClusterClient
import ClusterControllers
import ClusterObjects
import ClusterServer
import Diagnostics
import Testing

@Suite(.serialized, .timeLimit(.minutes(2))) struct LoadBalancerAddressTests {
  @Test func `a node learns from the Service alone which addresses are announced, and may not read the pool`()
    async throws
  {
    try await withServer { server, _ in
      let admin = server.client(user: "test")
      let pool: JSON = [
        "metadata": ["name": "weft-load-balancer", "namespace": "kube-system"],
        "data": ["pool": "192.0.2.10-192.0.2.12"],
      ]
      _ = try await admin.create(.configMaps, pool, options: WriteOptions())
      let informers = SharedInformers(api: admin, metrics: Metrics())
      let controllers = startControllers(
        api: admin, informers: informers, settings: ControllerSettings(), metrics: Metrics())
      func create(_ name: String, _ spec: JSON) async throws {
        let tree: JSON = ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec]
        _ = try await admin.create(.services, tree, options: WriteOptions())
      }
      let ports: JSON = [["port": 80]]
      try await create("ours", ["type": "LoadBalancer", "ports": ports])
      try await create(
        "cloud", ["type": "LoadBalancer", "ports": ports, "loadBalancerClass": "example.com/cloud"])
      // As a cloud would write it.
      var cloud = try await admin.get(.services, namespace: "default", name: "cloud")
      cloud.set([["ip": "203.0.113.9"]], at: "status", "loadBalancer", "ingress")
      _ = try await admin.update(.services, cloud, subresource: "status", options: WriteOptions())

      let node = server.client(user: "system:node:a", groups: ["system:nodes"])
      func services() async throws -> [String: JSON] {
        let list = try await node.list(.services, namespace: "", options: ListOptions()).items
        return Dictionary(list.map { ($0.name, $0) }) { $1 }
      }
      try await eventually { try await services()["ours"]?.isAnnouncedByNodes == true }
      let seen = try await services()
      #expect(seen["ours"]?.at("status", "loadBalancer", "ingress")?.elements.first?["ip"] == "192.0.2.10")
      #expect(seen["cloud"]?.isAnnouncedByNodes == false)
      #expect(seen["cloud"]?.at("status", "loadBalancer", "ingress")?.elements.first?["ip"] == "203.0.113.9")
      let refused = await refusal {
        _ = try await node.list(.configMaps, namespace: "kube-system", options: ListOptions())
      }
      #expect(refused?.code == 403)

      // Who is no load balancer any more has neither address nor condition.
      var plain = try await admin.get(.services, namespace: "default", name: "ours")
      plain.set("ClusterIP", at: "spec", "type")
      _ = try await admin.update(.services, plain, subresource: nil, options: WriteOptions())
      try await eventually {
        guard let now = try await services()["ours"] else { return false }
        return !now.isAnnouncedByNodes && now.at("status", "loadBalancer", "ingress") == nil
      }
      await controllers.stop()
      await informers.stop()
    }
  }
}

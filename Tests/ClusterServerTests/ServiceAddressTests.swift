// ServiceCIDR and IPAddress objects: one for each cluster address, more ranges to give out from, and what is mended.

import Addresses
import ClusterClient
import ClusterControllers
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterServer

private let addresses = AddressKeeper.resource
private let ranges = GroupVersionResource("networking.k8s.io", "v1", "servicecidrs")

@Suite(.timeLimit(.minutes(3))) struct ServiceAddressTests {
  private func service(_ name: String, address: String? = nil) -> JSON {
    var spec: JSON = ["ports": [["port": 80]]]
    if let address { spec["clusterIP"] = JSON(address) }
    return ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec]
  }

  private func parent(_ api: InProcessClient, _ address: String) async -> String? {
    let object = try? await api.get(addresses, namespace: "", name: address)
    return object?.at("spec", "parentRef", "name")?.string
  }

  private func events(_ api: InProcessClient, _ reason: String) async throws -> [String] {
    try await api.list(GroupVersionResource("", "v1", "events"), namespace: "", options: ListOptions()).items
      .filter { $0["reason"]?.string == reason }.compactMap { $0["message"]?.string }
  }

  @Test func `each cluster address has an object that names its Service, from the first moment`() async throws
  {
    try await withServer { server, folder in
      let api = server.client(user: "test")
      #expect(try await api.get(ranges, namespace: "", name: "kubernetes").spec["cidrs"] == ["10.43.0.0/16"])
      try await eventually { await parent(api, "10.43.0.1") == "kubernetes" }
      let made = try await api.create(.services, service("web"), options: WriteOptions())
      let address = try #require(made.at("spec", "clusterIP")?.string)
      try await eventually { await parent(api, address) == "web" }
      let object = try await api.get(addresses, namespace: "", name: address)
      #expect(object.labels["ipaddress.kubernetes.io/ip-family"] == "IPv4")
      #expect(object.labels[AddressKeeper.managedBy] == AddressKeeper.allocator)
      let kubectl = Kubectl(server: server, cache: folder)
      #expect(try await kubectl("get ipaddress").output.contains("services/default/web"))
      try await api.delete(.services, namespace: "default", name: "web", options: DeleteOptions())
      try await eventually { await parent(api, address) == nil }
      #expect(try await events(api, "IPAddressNotAllocated").isEmpty)
    }
  }

  @Test func `what somebody changed is mended and told`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      let made = try await api.create(.services, service("web"), options: WriteOptions())
      let address = try #require(made.at("spec", "clusterIP")?.string)
      try await eventually { await parent(api, address) == "web" }
      try await api.delete(addresses, namespace: "", name: address, options: DeleteOptions())
      try await eventually {
        let told = try await events(api, "ClusterIPNotAllocated")
        return await parent(api, address) == "web"
          && told == ["Cluster IP [IPv4]: \(address) is not allocated; repairing"]
      }
      // One that nobody has.
      _ = try await api.create(
        addresses,
        [
          "metadata": [
            "name": "10.43.9.9", "labels": [AddressKeeper.managedBy: JSON(AddressKeeper.allocator)],
          ],
          "spec": ["parentRef": ["resource": "services", "namespace": "default", "name": "none"]],
        ], options: WriteOptions())
      try await eventually {
        let told = try await events(api, "IPAddressNotAllocated")
        return await parent(api, "10.43.9.9") == nil
          && told == [
            "IPAddress: 10.43.9.9 for Service default/none appears to have leaked: cleaning up"
          ]
      }
    }
  }

  @Test func `what somebody else holds is not given to a Service`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      _ = try await api.create(
        addresses,
        [
          "metadata": ["name": "10.43.7.7"],
          "spec": ["parentRef": ["group": "example.com", "resource": "gateways", "name": "g"]],
        ], options: WriteOptions())
      try await eventually {
        do {
          _ = try await api.create(
            .services, service("taken", address: "10.43.7.7"), options: WriteOptions())
          try await api.delete(.services, namespace: "default", name: "taken", options: DeleteOptions())
          return false
        } catch let error as APIStatusError {
          return error.message.contains("already allocated")
        }
      }
      #expect(await parent(api, "10.43.7.7") == "g")
    }
  }

  @Test func `another range widens what Services get, and goes when no Service has of it`() async throws {
    try await withFolder { folder in
      var settings = ServerSettings(dataFolder: folder + "/data")
      settings.port = 0
      settings.store = try testStore(folder)
      // Fourteen addresses; one is the API's.
      settings.serviceBlocks = [try #require(IPPrefix("10.43.0.0/28"))]
      let server = try await ClusterServer.start(settings)
      let api = server.client(user: "test")
      let manager = server.client(user: "system:kube-controller-manager", groups: [])
      let informers = SharedInformers(api: manager, metrics: Metrics())
      let controllers = startControllers(
        api: manager, account: { server.controllerClient($0) }, informers: informers, metrics: Metrics())
      var names: [String] = []
      while names.count < 40 {
        do {
          _ = try await api.create(.services, service("s\(names.count)"), options: WriteOptions())
          names.append("s\(names.count)")
        } catch { break }
      }
      #expect((10...13).contains(names.count))
      await #expect(throws: APIStatusError.self) {
        try await api.create(.services, service("more"), options: WriteOptions())
      }
      _ = try await api.create(
        ranges, ["metadata": ["name": "more"], "spec": ["cidrs": ["10.44.0.0/24"]]], options: WriteOptions())
      try await eventually {
        _ = try await api.create(.services, service("more"), options: WriteOptions())
        return true
      }
      let more = try await api.get(.services, namespace: "default", name: "more")
      let address = try #require(more.at("spec", "clusterIP")?.string)
      #expect(address.hasPrefix("10.44.0."))
      // Servers of one store begin at random places: "more" may have any.
      let wanted = address == "10.44.0.77" ? "10.44.0.78" : "10.44.0.77"
      _ = try await api.create(.services, service("asked", address: wanted), options: WriteOptions())
      try await eventually { await parent(api, wanted) == "asked" }
      try await api.delete(ranges, namespace: "", name: "more", options: DeleteOptions())
      try await eventually {
        try await api.get(ranges, namespace: "", name: "more").condition("Ready")?["reason"] == "Terminating"
      }
      // What goes gives nothing out.
      try await eventually {
        do {
          let made = try await api.create(.services, service("late"), options: WriteOptions())
          try await api.delete(.services, namespace: "default", name: made.name, options: DeleteOptions())
          return false
        } catch is APIStatusError { return true }
      }
      await controllers.stop()
      await informers.stop()
      await server.shutdown()
    }
  }
}

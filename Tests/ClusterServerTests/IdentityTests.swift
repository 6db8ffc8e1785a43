// Parts of this process under their own names: each may do its work, and not what it need not.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

/// Whether it is refused for want of a right.
private func isForbidden(_ body: () async throws -> Void) async -> Bool {
  await refusal(body)?.code == 403
}

private let map: JSON = ["metadata": ["name": "map", "namespace": "default"], "data": ["k": "v"]]
private let secret: JSON = ["metadata": ["name": "secret", "namespace": "default"]]

@Suite(.serialized, .timeLimit(.minutes(3))) struct IdentityTests {
  @Test func `a controller does its own work and nobody else's`() async throws {
    try await withServer { server, _ in
      let admin = server.client(user: "test")
      _ = try await admin.create(.secrets, secret, options: WriteOptions())
      let deployments = server.controllerClient("deployment-controller")
      _ = try await deployments.list(.deployments, namespace: "", options: ListOptions())
      let read = await refusal {
        _ = try await deployments.get(.secrets, namespace: "default", name: "secret")
      }
      #expect(read?.code == 403 && read?.reason == "Forbidden")
      #expect(
        read?.message
          == "secrets \"secret\" is forbidden: User \"system:serviceaccount:kube-system:deployment-controller\" "
          + "cannot get resource \"secrets\" in API group \"\" in the namespace \"default\"")
      let mayNotKeepSecrets = await isForbidden {
        _ = try await deployments.create(.secrets, secret, options: WriteOptions())
      }
      #expect(mayNotKeepSecrets)
      // A pod is its ReplicaSet's to make.
      let pod: JSON = [
        "metadata": ["name": "p", "namespace": "default"],
        "spec": ["containers": [["name": "c", "image": "i"]]],
      ]
      let mayNotMakePods = await isForbidden {
        _ = try await deployments.create(.pods, pod, options: WriteOptions())
      }
      #expect(mayNotMakePods)
      // The account of pods, which a controller makes where one runs.
      _ = try? await admin.create(
        .serviceAccounts, ["metadata": ["name": "default", "namespace": "default"]], options: WriteOptions())
      let sets = server.controllerClient("replicaset-controller")
      _ = try await sets.create(.pods, pod, options: WriteOptions())
      try await sets.delete(.pods, namespace: "default", name: "p", options: DeleteOptions())
      // To empty a namespace is not to fill one.
      let spaces = server.controllerClient("namespace-controller")
      let mayNotFill = await isForbidden {
        _ = try await spaces.create(.configMaps, map, options: WriteOptions())
      }
      #expect(mayNotFill)
      _ = try await admin.create(.configMaps, map, options: WriteOptions())
      try await spaces.delete(.configMaps, namespace: "default", name: "map", options: DeleteOptions())
      // An account without a role may do nothing at all.
      let nobody = server.controllerClient("no-such-controller")
      let mayNothing = await isForbidden {
        _ = try await nobody.list(.pods, namespace: "", options: ListOptions())
      }
      #expect(mayNothing)
    }
  }

  @Test func `scheduler, node, proxy, DNS and the process itself have what they use and no more`()
    async throws
  {
    try await withServer { server, _ in
      let admin = server.client(user: "test")
      _ = try await admin.create(.secrets, secret, options: WriteOptions())
      func mayList(_ resource: GroupVersionResource, _ api: InProcessClient) async -> Bool {
        await refusal { _ = try await api.list(resource, namespace: "", options: ListOptions()) } == nil
      }
      func mayWatch(_ resource: GroupVersionResource, _ api: InProcessClient) async -> Bool {
        await refusal { _ = try await api.watch(resource, namespace: "", options: ListOptions()) } == nil
      }
      let scheduler = server.client(user: "system:kube-scheduler", groups: [])
      #expect(await mayWatch(.pods, scheduler))
      #expect(await !mayList(.secrets, scheduler))

      let proxy = server.client(user: "system:kube-proxy", groups: [])
      for resource in [
        GroupVersionResource.services, .endpointSlices, .nodes, .pods, .namespaces, .networkPolicies,
      ] {
        let may = (await mayList(resource, proxy), await mayWatch(resource, proxy))
        #expect(may == (true, true), "\(resource)")
      }
      #expect(await !mayList(.ingresses, proxy))
      #expect(await !mayList(.secrets, proxy))

      let dns = server.controllerClient("kube-dns")
      for resource in [GroupVersionResource.services, .endpointSlices, .pods, .namespaces] {
        #expect(await mayWatch(resource, dns), "\(resource)")
      }
      #expect(await !mayList(.nodes, dns))
      #expect(await !mayList(.networkPolicies, dns))
      // Following needs no reading one by one.
      let mayNotRead = await isForbidden {
        _ = try await dns.get(.services, namespace: "default", name: "kubernetes")
      }
      #expect(mayNotRead)

      let node = server.client(user: "system:node:a", groups: ["system:nodes"])
      for resource in [GroupVersionResource.services, .ingresses, .networkPolicies, .pods] {
        #expect(await mayWatch(resource, node), "\(resource)")
      }
      #expect(await !mayList(.secrets, node))
      let mayNotReadSecrets = await isForbidden {
        _ = try await node.get(.secrets, namespace: "default", name: "secret")
      }
      #expect(mayNotReadSecrets)

      let assembly = server.client(user: "system:weft", groups: [])
      #expect(await !mayList(.pods, assembly))
      let mayNotDeleteNodes = await isForbidden {
        try await assembly.delete(.nodes, namespace: "", name: "a", options: DeleteOptions())
      }
      #expect(mayNotDeleteNodes)
    }
  }
}

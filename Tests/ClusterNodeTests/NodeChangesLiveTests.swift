// What changes under running pods, on a containerd of their own: objects in volumes, devices, the machine's end.

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import Synchronization
import Testing

@testable import ClusterNode

@Suite(.serialized, .timeLimit(.minutes(5))) struct NodeChangesLiveTests {
  @Test
  func
    `objects change in files by their watch, devices reach containers, and a machine that goes down ends its pods in order`()
    async throws
  {
    var node = LiveNode()
    defer { node.remove() }
    node.settings.devicePluginPath = node.directory + "/device-plugins"
    node.settings.shutdown = ShutdownSettings(seconds: 20, criticalSeconds: 10)
    let cluster = node.cluster
    cluster.isFollowed.store(true, ordering: .releasing)
    cluster.put("configMap", settings("1", ["colour": "red"]))
    var agent = node.agent()
    try await agent.start()
    let plugin = FakePlugin([PluginDevice(id: "left"), PluginDevice(id: "right")])
    let served = ServedPlugin(plugin, node.directory + "/device-plugins/fake.sock")
    try await registerPlugin(
      node.directory + "/device-plugins",
      DeviceRegistration(endpoint: "fake.sock", resource: "example.com/fake"))
    #expect(await eventually { plugin.state.withLock { !$0.watchers.isEmpty } })

    try await follows(node, agent)
    try await devices(node, agent, plugin)
    // The next agent takes over what runs, and goes on following for it.
    await agent.stop(keepPods: true)
    agent = node.agent()
    try await agent.start()
    cluster.put("configMap", settings("9", ["colour": "green"]))
    #expect(await eventually(.seconds(25)) { await text(agent, "cat /config/colour") == "green" })
    try await goesDown(node, agent)
    await agent.stop(keepPods: false)
    await served.stop()
  }

  private func settings(_ version: String, _ data: [String: String]) -> JSON {
    [
      "kind": "ConfigMap",
      "metadata": ["name": "settings", "namespace": "test", "resourceVersion": JSON(version)],
      "data": JSON(data),
    ]
  }

  private func text(_ agent: NodeAgent, _ command: String, pod: String = "reader") async -> String? {
    let result = try? await agent.exec(
      namespace: "test", pod: pod, container: "main", command: ["/bin/sh", "-c", command])
    return result.map { String(decoding: $0.output, as: UTF8.self) }
  }

  private func follows(_ node: LiveNode, _ agent: NodeAgent) async throws {
    let cluster = node.cluster
    let reader = node.pod(
      "reader",
      [
        container(
          "main", "sleep 1000", extra: ["volumeMounts": [["name": "config", "mountPath": "/config"]]])
      ],
      extra: [
        "volumes": [
          [
            "name": "config",
            "projected": [
              "sources": [
                ["configMap": ["name": "settings"]], ["configMap": ["name": "later", "optional": true]],
              ]
            ],
          ]
        ]
      ])
    cluster.apply(reader)
    #expect(await eventually { await text(agent, "cat /config/colour") == "red" })
    cluster.put("configMap", settings("2", ["colour": "blue"]))
    // The slow round comes every thirty seconds: this is the watch.
    #expect(await eventually(.seconds(25)) { await text(agent, "cat /config/colour") == "blue" })
    var later = settings("3", ["size": "big"])
    later.set("later", at: "metadata", "name")
    cluster.put("configMap", later)
    #expect(await eventually(.seconds(25)) { await text(agent, "cat /config/size") == "big" })
    cluster.remove("configMap", "test", "later")
    #expect(await eventually(.seconds(25)) { await text(agent, "ls /config") == "colour\n" })
  }

  private func devices(_ node: LiveNode, _ agent: NodeAgent, _ plugin: FakePlugin) async throws {
    let cluster = node.cluster
    func limits(_ count: String) -> [String: JSON] {
      ["resources": ["limits": ["example.com/fake": JSON(count)]]]
    }
    cluster.apply(
      node.pod(
        "user",
        [
          container(
            "main", "echo x >/dev/fake && echo $FAKE_DEVICES; ls -d /fake; sleep 1000", extra: limits("1"))
        ]))
    #expect(
      await eventually {
        await text(agent, "test -c /dev/fake && test -d /fake && echo $FAKE_DEVICES", pod: "user") == "left\n"
      })
    cluster.apply(node.pod("greedy", [container("main", "sleep 1000", extra: limits("2"))]))
    let uid = "uid-greedy-\(node.name)"
    #expect(await eventually { cluster.status(uid)["phase"] == "Failed" })
    #expect(cluster.status(uid)["reason"] == "UnexpectedAdmissionError")
    #expect(
      cluster.status(uid)["message"]
        == "Pod was rejected: Allocate failed due to requested number of devices unavailable for example.com/fake. Requested: 2, Available: 1, which is unexpected"
    )
  }

  private func goesDown(_ node: LiveNode, _ agent: NodeAgent) async throws {
    let cluster = node.cluster
    cluster.apply(
      node.pod("critical", [container("main", "sleep 1000")], extra: ["priority": 2_000_001_000]))
    let uid = "uid-critical-\(node.name)"
    #expect(await eventually { cluster.firstRunning(uid) != nil })
    await agent.shutDown()
    for name in ["reader", "user", "critical"] {
      let status = cluster.status("uid-\(name)-\(node.name)")
      #expect(status["phase"] == "Failed" && status["reason"] == "Terminated", "\(name): \(status)")
    }
    let order = cluster.events.filter { $0.reason == "Terminated" }.map(\.involved.name)
    #expect(order.count == 3 && order.last == "critical", "\(order)")
    cluster.apply(node.pod("late", [container("main", "sleep 1000")]))
    #expect(await eventually { cluster.status("uid-late-\(node.name)")["reason"] == "NodeShutdown" })
  }
}

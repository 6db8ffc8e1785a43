// metrics.k8s.io: rates between two points, as pure functions; then a server whose node says what it uses, read by
// clients, by label, by permission, and as a local API in discovery.

import ClusterClient
import ClusterControllers
import ClusterObjects
import Diagnostics
import FuzzLab
import Synchronization
import Testing

@testable import ClusterServer

private let second: Int64 = 1_000_000_000
private let epoch: Int64 = 1_790_000_000

private func text(_ seconds: Int64) -> String { Timestamp.text(seconds: epoch + seconds) }

/// A summary in the kubelet's form. `cpu` in core-seconds.
private func summary(
  at seconds: Int64, node: UInt64 = 100, pods: [(name: String, started: Int64, cpu: [UInt64])] = []
) -> JSON {
  func amounts(_ cpu: UInt64) -> JSON {
    [
      "cpu": ["time": JSON(text(seconds)), "usageCoreNanoSeconds": JSON(cpu * 1_000_000_000)],
      "memory": ["time": JSON(text(seconds)), "workingSetBytes": 2_097_152],
    ]
  }
  var nodeEntry = amounts(node)
  nodeEntry["nodeName"] = "n1"
  nodeEntry["startTime"] = JSON(text(-1000))
  let entries = pods.map { pod -> JSON in
    let containers = pod.cpu.enumerated().map { index, cpu -> JSON in
      var entry = amounts(cpu)
      entry["name"] = JSON("c\(index)")
      entry["startTime"] = JSON(text(pod.started))
      return entry
    }
    return [
      "podRef": ["name": JSON(pod.name), "namespace": "demo", "uid": "u"], "containers": .array(containers),
    ]
  }
  return ["node": nodeEntry, "pods": .array(entries)]
}

@Suite struct UsageHistoryTests {
  private func history(_ summaries: [JSON]) -> UsageHistory {
    var history = UsageHistory(periodNanoseconds: 15 * second)
    for (index, summary) in summaries.enumerated() {
      history.take(NodeStats(summary: summary), of: "n1", now: Int64(index) * 15 * second)
    }
    return history
  }

  private func cores(_ history: UsageHistory, _ pod: String) -> [UInt64]? {
    history.pods["demo"]?[pod].flatMap(UsageHistory.usage)?.map(\.usage.nanoCores)
  }

  @Test func `a rate is the difference of two points over the time between them`() {
    let measured = history([
      summary(at: 0, node: 100, pods: [("web", -100, [10, 20])]),
      summary(at: 15, node: 130, pods: [("web", -100, [13, 20])]),
    ])
    #expect(
      measured.nodes["n1"]?.usage
        == Usage(
          nanoCores: 2_000_000_000, memoryBytes: 2_097_152, time: (epoch + 15) * second, window: 15 * second))
    #expect(cores(measured, "web") == [200_000_000, 0])
  }

  @Test func `one point is no rate, and the same point again adds nothing`() {
    let one = summary(at: 0, pods: [("web", -100, [10])])
    #expect(history([one]).nodes["n1"]?.usage == nil && cores(history([one]), "web") == nil)
    #expect(cores(history([one, one]), "web") == nil)
    let two = summary(at: 15, pods: [("web", -100, [25])])
    #expect(cores(history([one, two, two]), "web") == [1_000_000_000])
  }

  @Test func `a container that started anew is measured from its start, once it is ten seconds old`() {
    let old = summary(at: 0, pods: [("web", -100, [10])])
    let young = summary(at: 15, pods: [("web", 12, [1])])
    #expect(cores(history([old, young]), "web") == nil)
    let grown = summary(at: 15, pods: [("web", 3, [6])])
    #expect(cores(history([old, grown]), "web") == [500_000_000])
  }

  @Test func `a counter that goes back, and a pod that went, have no rate`() {
    let old = summary(at: 0, pods: [("web", -100, [10])])
    #expect(cores(history([old, summary(at: 15, pods: [("web", -100, [9])])]), "web") == nil)
    let gone = history([old, summary(at: 15)])
    #expect(gone.pods.isEmpty && gone.podCount == 0)
  }

  @Test func `a pod that moved belongs to the node that spoke last`() {
    var measured = history([summary(at: 0, pods: [("web", -100, [10])])])
    measured.take(
      NodeStats(summary: summary(at: 15, pods: [("web", -100, [25])])), of: "n2", now: 15 * second)
    measured.take(NodeStats(summary: summary(at: 16)), of: "n1", now: 16 * second)
    #expect(measured.pods["demo"]?["web"]?.node == "n2")
  }

  @Test func `a node that is silent is forgotten with its pods`() {
    var measured = history([summary(at: 0, pods: [("web", -100, [10])])])
    measured.forget(before: 0)
    #expect(measured.podCount == 1)
    measured.forget(before: 1)
    #expect(measured.podCount == 0 && measured.nodes.isEmpty)
  }

  @Test func `a pod with a container that says nothing is left out whole`() {
    var broken = summary(at: 0, pods: [("web", -100, [10, 20]), ("db", -100, [1])])
    var pods = broken["pods"]?.elements ?? []
    var containers = pods[0]["containers"]?.elements ?? []
    containers[1]["memory"] = nil
    pods[0]["containers"] = .array(containers)
    broken["pods"] = .array(pods)
    #expect(NodeStats(summary: broken).pods.keys.map(\.name) == ["db"])
  }

  @Test func `no answer of a node makes the reader fail`() throws {
    let bytes = summary(at: 0, pods: [("web", -100, [10, 20]), ("db", -100, [1])]).bytes
    for changed in mutations(of: bytes, count: 600, seed: 11) {
      guard let tree = try? JSON(parsing: changed) else { continue }
      var history = UsageHistory(periodNanoseconds: 15 * second)
      history.take(NodeStats(summary: summary(at: -15, pods: [("web", -100, [1, 2])])), of: "n1", now: 0)
      history.take(NodeStats(summary: tree), of: "n1", now: 15 * second)
      for pod in history.pods["demo", default: [:]].values { _ = UsageHistory.usage(pod) }
    }
  }

  @Test(arguments: [
    (15_000, "15s"), (15_250, "15.25s"), (59_999, "59.999s"), (63_000, "1m3s"), (0, "0s"), (1_005, "1.005s"),
  ])
  func `windows are written as Go writes durations`(milliseconds: Int64, text: String) {
    #expect(ResourceUsage.duration(milliseconds: milliseconds) == text)
  }
}

@Suite(.timeLimit(.minutes(3))) struct ResourceMetricsTests {
  private static let metrics = "metrics.k8s.io"
  private let nodes = GroupVersionResource(metrics, "v1beta1", "nodes")
  private let pods = GroupVersionResource(metrics, "v1beta1", "pods")

  /// A server, and a node of two pods which use half a core each.
  private func withNode(
    _ names: NodePods = NodePods(["web", "db", "unknown"]),
    _ body: (ClusterServer, InProcessClient, String) async throws -> Void
  ) async throws {
    try await withFolder { folder in
      var settings = ServerSettings(dataFolder: folder + "/data")
      settings.port = 0
      settings.store = try testStore(folder)
      settings.resourceMetricsPeriod = .milliseconds(20)
      let server = try await ClusterServer.start(settings)
      let node = try await FakeNode.start(folder: folder + "/data/certificates")
      // Each question is a second later than the one before.
      let clock = Mutex<Int64>(0)
      node.book.summary.withLock {
        $0 = {
          let now = clock.withLock { clock in
            clock += 2
            return clock
          }
          let half = UInt64(now) / 2
          return summary(
            at: now, node: UInt64(now) * 3 / 2,
            pods: names.names.withLock { $0 }.map { ($0, -100, [half]) }
          ).text
        }
      }
      let api = server.client(user: "test")
      _ = try await api.create(
        .nodes, ["metadata": ["name": "n1", "labels": ["zone": "a"]]], options: WriteOptions())
      let status: JSON = [
        "addresses": [["type": "InternalIP", "address": "127.0.0.1"]],
        "conditions": [["type": "Ready", "status": "True"]],
        "daemonEndpoints": ["kubeletEndpoint": ["Port": JSON(node.port)]],
      ]
      _ = try await api.patch(
        .nodes, namespace: "", name: "n1", patch: .merge(["status": status]), subresource: "status",
        options: WriteOptions())
      _ = try await api.create(.namespaces, ["metadata": ["name": "demo"]], options: WriteOptions())
      let account: JSON = ["metadata": ["name": "default", "namespace": "demo"]]
      _ = try await api.create(.serviceAccounts, account, options: WriteOptions())
      for name in ["web", "db"] {
        _ = try await api.create(
          .pods,
          [
            "metadata": ["name": JSON(name), "namespace": "demo", "labels": ["app": JSON(name)]],
            "spec": ["nodeName": "n1", "containers": [["name": "c0", "image": "i"]]],
          ], options: WriteOptions())
      }
      do { try await body(server, api, folder) } catch {
        await server.shutdown()
        await node.stop()
        throw error
      }
      await server.shutdown()
      await node.stop()
    }
  }

  @Test func `what nodes and pods use is listed, by namespace, name and label`() async throws {
    try await withNode { server, api, folder in
      try await eventually {
        try await api.list(pods, namespace: "demo", options: ListOptions()).items.count == 2
      }
      try await eventually {
        try await api.list(nodes, namespace: "", options: ListOptions()).items.count == 1
      }
      let node = try await api.get(nodes, namespace: "", name: "n1")
      #expect(node.kind == "NodeMetrics" && node.labels == ["zone": "a"])
      #expect(node.at("usage", "cpu") == "1500m" && node.at("usage", "memory") == "2Mi")
      // A question that was lost makes the window twice as long, and the rate no other.
      #expect(node["window"]?.string?.hasSuffix("s") == true)
      let web = try await api.get(pods, namespace: "demo", name: "web")
      #expect(web["containers"]?[0] == ["name": "c0", "usage": ["cpu": "500m", "memory": "2Mi"]])
      let chosen = try await api.read(
        path: ["apis", Self.metrics, "v1beta1", "namespaces", "demo", "pods"],
        query: [("labelSelector", "app=db")])
      #expect(chosen["items"]?.elements.map(\.name) == ["db"] && chosen.kind == "PodMetricsList")
      await #expect(throws: APIStatusError.self) {
        try await api.get(pods, namespace: "demo", name: "unknown")
      }
      #expect(
        try await api.list(pods, namespace: "elsewhere", options: ListOptions()).items.isEmpty)

      let kubectl = Kubectl(server: server, cache: folder)
      let top = try await kubectl("top pod -n demo --containers --no-headers")
      #expect(top.output.contains("500m") && top.output.contains("2Mi"), "\(top.output)\(top.errors)")
      let topNode = try await kubectl("top node")
      #expect(topNode.output.contains("1500m"), "\(topNode.output)\(topNode.errors)")
      let sums = try await kubectl("top pod -A --sum -l app=web --no-headers")
      #expect(sums.status == 0 && !sums.output.contains("db"), "\(sums.output)\(sums.errors)")
    }
  }

  @Test func `the API is local in discovery, and its readers are those who may view`() async throws {
    try await withNode { server, api, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      let service = GroupVersionResource("apiregistration.k8s.io", "v1", "apiservices")
      try await eventually {
        try await api.get(service, namespace: "", name: "v1beta1.\(Self.metrics)").condition("Available")?[
          "reason"] == "Local"
      }
      let resources = try await kubectl("api-resources --api-group=\(Self.metrics) --no-headers")
      #expect(
        resources.output.contains("NodeMetrics") && resources.output.contains("PodMetrics"),
        "\(resources.output)")
      // The short name of the core's pods stays theirs.
      #expect(try await kubectl("get pods -n demo -o name").output.contains("pod/web"))
      let reader = server.client(user: "jane", groups: [])
      await #expect(throws: APIStatusError.self) {
        try await reader.list(pods, namespace: "demo", options: ListOptions())
      }
      let bindings = GroupVersionResource("rbac.authorization.k8s.io", "v1", "rolebindings")
      _ = try await api.create(
        bindings,
        [
          "metadata": ["name": "view", "namespace": "demo"],
          "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"],
          "subjects": [["apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"]],
        ], options: WriteOptions())
      try await eventually {
        (try? await reader.list(pods, namespace: "demo", options: ListOptions())) != nil
      }
    }
  }

  @Test func `an autoscaler follows what nodes say, with the rights of its own role alone`() async throws {
    let names = NodePods([])
    try await withNode(names) { server, api, _ in
      let hollow = try await HollowNode.start(server.client(user: "system:hollow-node"))
      let manager = server.client(user: "system:kube-controller-manager", groups: [])
      let informers = SharedInformers(api: manager, metrics: Metrics())
      var settings = ControllerSettings()
      settings.autoscalerPeriod = .milliseconds(50)
      settings.nodeMonitorGracePeriod = .seconds(3600)
      let controllers = startControllers(
        api: manager, account: { server.controllerClient($0) }, informers: informers, settings: settings,
        metrics: Metrics())
      let deployments = GroupVersionResource("apps", "v1", "deployments")
      let labels: JSON = ["app": "busy"]
      _ = try await api.create(
        deployments,
        [
          "metadata": ["name": "busy", "namespace": "demo"],
          "spec": [
            "replicas": 1, "selector": ["matchLabels": labels],
            "template": [
              "metadata": ["labels": labels], "spec": ["containers": [["name": "c", "image": "i"]]],
            ],
          ],
        ], options: WriteOptions())
      let autoscalers = GroupVersionResource("autoscaling", "v2", "horizontalpodautoscalers")
      // Each pod uses two mebibytes: twice what it should.
      let target: JSON = ["type": "AverageValue", "averageValue": "1Mi"]
      _ = try await api.create(
        autoscalers,
        [
          "metadata": ["name": "busy", "namespace": "demo"],
          "spec": [
            "scaleTargetRef": ["apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"],
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [["type": "Resource", "resource": ["name": "memory", "target": target]]],
          ],
        ], options: WriteOptions())
      try await eventually {
        let pods = try await api.list(
          .pods, namespace: "demo", options: ListOptions(labelSelector: "app=busy"))
        names.names.withLock { $0 = pods.items.map(\.name) }
        let scaled = try await api.get(deployments, namespace: "demo", name: "busy")
        let autoscaler = try await api.get(autoscalers, namespace: "demo", name: "busy")
        return scaled.at("spec", "replicas") == 3 && pods.items.count == 3
          && autoscaler.condition("ScalingActive")?["reason"] == "ValidMetricFound"
          && autoscaler.at("status", "desiredReplicas") == 3
      }
      await controllers.stop()
      await informers.stop()
      await hollow.stop()
    }
  }
}

/// The pods that a node speaks of.
private final class NodePods: Sendable {
  let names: Mutex<[String]>
  init(_ names: [String]) { self.names = Mutex(names) }
}

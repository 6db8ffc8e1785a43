// Autoscalers in a cluster in memory: metrics are what the test says they are, scale is that of real workloads.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization
import Testing

@testable import ClusterControllers

/// What the metrics APIs answer.
private final class Measures: Sendable {
  /// Thousandths of a core of each pod.
  let cpu = Mutex<Int64?>(500)
  let queue = Mutex<Int64?>(nil)
  let asked = Mutex<[String]>([])

  func answer(_ path: [String], _ query: [(name: String, value: String)], _ pods: [JSON]) -> JSON? {
    let text = path.joined(separator: "/")
    asked.withLock { asked in
      asked.append(
        text + (query.isEmpty ? "" : "?" + query.map { "\($0.name)=\($0.value)" }.joined(separator: "&")))
    }
    switch path[1] {
    case "metrics.k8s.io":
      guard let cpu = cpu.withLock({ $0 }) else { return nil }
      return [
        "items": .array(
          pods.map { pod in
            [
              "metadata": ["name": JSON(pod.name), "namespace": JSON(pod.namespace)],
              "timestamp": JSON(Timestamp.nowText()), "window": "15s",
              "containers": [["name": "c", "usage": ["cpu": JSON("\(cpu)m")]]],
            ]
          })
      ]
    case "custom.metrics.k8s.io", "external.metrics.k8s.io":
      guard let queue = queue.withLock({ $0 }) else { return nil }
      let isPods = path.contains("*")
      return [
        "items": .array(
          (isPods ? pods : [["metadata": ["name": "web"]]]).map {
            ["describedObject": ["kind": "Pod", "name": JSON($0.name)], "value": JSON("\(queue)")]
          })
      ]
    default: return nil
    }
  }
}

@Suite(.timeLimit(.minutes(3))) struct AutoscalerTests {
  private func autoscaler(_ metrics: JSON, kind: String = "Deployment", behavior: JSON? = nil) -> JSON {
    var spec: JSON = [
      "scaleTargetRef": ["apiVersion": "apps/v1", "kind": JSON(kind), "name": "web"],
      "minReplicas": 1, "maxReplicas": 4, "metrics": metrics,
    ]
    if let behavior { spec["behavior"] = behavior }
    return [
      "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
      "metadata": ["namespace": "demo", "name": "web"], "spec": spec,
    ]
  }

  private static let cpu: JSON = [
    [
      "type": "Resource",
      "resource": ["name": "cpu", "target": ["type": "Utilization", "averageUtilization": 50]],
    ]
  ]

  private func withCluster(
    replicas: Int = 2, _ body: (TestCluster, Measures) async throws -> Void
  ) async throws {
    var settings = ControllerSettings()
    settings.autoscalerPeriod = .milliseconds(20)
    let cluster = TestCluster(settings: settings)
    let measures = Measures()
    cluster.api.answer { [api = cluster.api] path, query in
      measures.answer(path, query, api.objects(.pods).filter { $0.namespace == "demo" })
    }
    var deployment = deploymentObject("web", replicas: replicas)
    var containers = deployment.at("spec", "template", "spec", "containers")?.elements ?? []
    containers[0].set(["requests": ["cpu": "1"]], at: "resources")
    deployment.set(.array(containers), at: "spec", "template", "spec", "containers")
    try await cluster.create(.deployments, deployment)
    do { try await body(cluster, measures) } catch {
      await cluster.stop()
      throw error
    }
    await cluster.stop()
  }

  private func replicas(_ cluster: TestCluster) -> Int? {
    cluster.get(.deployments, "web")?.at("spec", "replicas")?.int
  }

  private func status(_ cluster: TestCluster, _ type: String) -> String? {
    let condition = cluster.get(.autoscalers, "web")?.condition(type)
    return condition.map { "\($0["status"]?.string ?? "") \($0["reason"]?.string ?? "")" }
  }

  private func events(_ cluster: TestCluster) -> [String] {
    cluster.api.objects(GroupVersionResource("", "v1", "events")).filter {
      $0.at("involvedObject", "kind") == "HorizontalPodAutoscaler"
    }.map { "\($0["reason"]?.string ?? ""): \($0["message"]?.string ?? "")" }
  }

  /// The pods that the in-memory node runs have no start: they count when they do.
  private func start(_ cluster: TestCluster) {
    for var pod in cluster.pods() where pod.at("status", "startTime") == nil {
      let long = JSON(Timestamp.text(seconds: Timestamp.now().seconds - 3600))
      pod.set(long, at: "status", "startTime")
      pod.setCondition("Ready", "True", reason: "Test", message: "", now: long.string ?? "")
      cluster.api.put(.pods, pod)
    }
  }

  @Test func `busy pods become more up to the most, and idle ones fewer`() async throws {
    try await withCluster { cluster, measures in
      measures.cpu.withLock { $0 = 1000 }
      let now: JSON = [
        "scaleDown": [
          "stabilizationWindowSeconds": 0,
          "policies": [["type": "Percent", "value": 100, "periodSeconds": 1]],
        ]
      ]
      try await cluster.create(.autoscalers, autoscaler(Self.cpu, behavior: now))
      #expect(
        await eventually {
          start(cluster)
          return replicas(cluster) == 4 && cluster.pods().count == 4
        })
      #expect(await eventually { status(cluster, "ScalingActive") == "True ValidMetricFound" })
      #expect(
        await eventually {
          events(cluster).contains {
            $0 == "SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of request) "
              + "above target"
          }
        })
      measures.cpu.withLock { $0 = 10 }
      #expect(
        await eventually {
          start(cluster)
          return replicas(cluster) == 1
        })
      #expect(
        await eventually {
          events(cluster).contains("SuccessfulRescale: New size: 1; reason: All metrics below target")
        })
      let seen = cluster.get(.autoscalers, "web")?.at("status", "currentMetrics")
      #expect(seen?[0]?.at("resource", "name") == "cpu")
    }
  }

  @Test func `without metrics it does nothing and says why`() async throws {
    try await withCluster { cluster, measures in
      measures.cpu.withLock { $0 = nil }
      try await cluster.create(.autoscalers, autoscaler(Self.cpu))
      #expect(await eventually { status(cluster, "ScalingActive") == "False FailedGetResourceMetric" })
      let text =
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
        + "resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
      #expect(await eventually { events(cluster).contains("FailedGetResourceMetric: \(text)") })
      #expect(
        await eventually {
          events(cluster).contains(
            "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get "
              + "cpu resource metric value: \(text)")
        })
      #expect(replicas(cluster) == 2 && status(cluster, "AbleToScale") == "True SucceededGetScale")
    }
  }

  @Test func `a target that is not there, and a kind that nobody knows, are said`() async throws {
    try await withCluster { cluster, _ in
      var lost = autoscaler(Self.cpu)
      lost.set("gone", at: "spec", "scaleTargetRef", "name")
      try await cluster.create(.autoscalers, lost)
      #expect(await eventually { status(cluster, "AbleToScale") == "False FailedGetScale" })
      var odd = autoscaler(Self.cpu, kind: "Gadget")
      odd.set("odd", at: "metadata", "name")
      try await cluster.create(.autoscalers, odd)
      #expect(
        await eventually {
          events(cluster).contains { $0.hasPrefix("FailedGetScale: unable to determine resource") }
        })
    }
  }

  @Test func `two autoscalers of the same pods do nothing`() async throws {
    try await withCluster { cluster, measures in
      try await cluster.create(.autoscalers, autoscaler(Self.cpu))
      #expect(await eventually { status(cluster, "AbleToScale") != nil })
      var second = autoscaler(Self.cpu)
      second.set("second", at: "metadata", "name")
      measures.cpu.withLock { $0 = 2000 }
      try await cluster.create(.autoscalers, second)
      #expect(await eventually { status(cluster, "ScalingActive") == "False AmbiguousSelector" })
    }
  }

  @Test func `bounds are kept without metrics, and zero pods stay`() async throws {
    try await withCluster(replicas: 9) { cluster, measures in
      measures.cpu.withLock { $0 = nil }
      try await cluster.create(.autoscalers, autoscaler(Self.cpu))
      #expect(await eventually { replicas(cluster) == 4 })
      cluster.api.put(
        .deployments,
        {
          var zero = $0
          zero.set(0, at: "spec", "replicas")
          return zero
        }(try #require(cluster.get(.deployments, "web"))))
      #expect(await eventually { status(cluster, "ScalingActive") == "False ScalingDisabled" })
      #expect(replicas(cluster) == 0)
    }
  }

  static let sources: [(metrics: JSON, path: String)] = [
    (
      [
        [
          "type": "Pods",
          "pods": ["metric": ["name": "hits"], "target": ["type": "AverageValue", "averageValue": "10"]],
        ]
      ], "apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/pods/*/hits?labelSelector=app=web"
    ),
    (
      [
        [
          "type": "Object",
          "object": [
            "metric": ["name": "hits", "selector": ["matchLabels": ["verb": "GET"]]],
            "describedObject": ["apiVersion": "v1", "kind": "Service", "name": "web"],
            "target": ["type": "Value", "value": "10"],
          ],
        ]
      ], "apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/services/web/hits?metricLabelSelector=verb=GET"
    ),
    (
      [
        [
          "type": "External",
          "external": [
            "metric": ["name": "jobs", "selector": ["matchLabels": ["queue": "a"]]],
            "target": ["type": "AverageValue", "averageValue": "5"],
          ],
        ]
      ], "apis/external.metrics.k8s.io/v1beta1/namespaces/demo/jobs?labelSelector=queue=a"
    ),
  ]

  @Test(arguments: sources)
  func `custom and external metrics are read where an APIService says that they are`(
    metrics: JSON, path: String
  ) async throws {
    try await withCluster { cluster, measures in
      measures.queue.withLock { $0 = 20 }
      try await cluster.create(.autoscalers, autoscaler(metrics))
      #expect(await eventually { status(cluster, "ScalingActive")?.hasPrefix("False FailedGet") == true })
      for (group, version) in [
        ("custom.metrics.k8s.io", "v1beta1"), ("custom.metrics.k8s.io", "v1beta2"),
        ("external.metrics.k8s.io", "v1beta1"),
      ] {
        try await cluster.create(
          GroupVersionResource("apiregistration.k8s.io", "v1", "apiservices"),
          [
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": ["name": JSON("\(version).\(group)")],
            "spec": ["group": JSON(group), "version": JSON(version)],
          ])
      }
      #expect(
        await eventually {
          start(cluster)
          return replicas(cluster) == 4
        })
      #expect(measures.asked.withLock { $0.contains(path) })
    }
  }
}

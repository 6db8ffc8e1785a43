// Answers about use and configuration: `/stats/summary`, `/metrics/…`, `/runningpods`, `/configz`.

import ClusterObjects
import Diagnostics
import NIOCore

extension NodeAgent {
  /// Nil: no such path.
  nonisolated func usageAnswer(_ path: [String]) async throws -> NodeAnswer? {
    switch path {
    case ["stats", "summary"]:
      return .json(planStatsSummary(nodeName: settings.nodeName, try await usage()))
    case ["metrics", "resource"]: return .metrics(planResourceMetrics(try await usage()))
    case ["metrics", "cadvisor"]:
      let machine = observeMachine(dataDirectory: settings.dataDirectory, runtimeVersion: "")
      return .metrics(
        planCadvisorMetrics(try await usage(), cpus: machine.cpus, memoryBytes: machine.memoryBytes))
    case ["metrics", "probes"]: return .metrics(probeMetrics.text())
    case ["runningpods"]: return .json(try await runningPods())
    case ["configz"]: return .json(["kubeletconfig": planConfigz(settings)])
    default: return nil
    }
  }
}

extension NodeAnswer {
  static func json(_ tree: JSON) -> NodeAnswer {
    .bytes(200, contentType: "application/json", ByteBuffer(bytes: tree.bytes))
  }

  static func metrics(_ text: String) -> NodeAnswer {
    .bytes(200, contentType: "text/plain; version=0.0.4; charset=utf-8", ByteBuffer(string: text))
  }
}

/// What runs, as the runtime knows it: pods with the names and images of their containers.
func planRunningPods(_ sandboxes: [CRI.Sandbox], _ containers: [CRI.Container]) -> JSON {
  let items = sandboxes.filter { $0.state == .sandboxReady }.map { sandbox -> JSON in
    let own = containers.filter { $0.podSandboxID == sandbox.id && $0.state == .containerRunning }
    return [
      "metadata": [
        "name": JSON(sandbox.metadata.name), "namespace": JSON(sandbox.metadata.namespace),
        "uid": JSON(sandbox.metadata.uid),
      ],
      "spec": [
        "containers": .array(
          own.map { ["name": JSON($0.metadata.name), "image": JSON($0.imageRef), "resources": [:]] })
      ], "status": [:],
    ]
  }
  return ["kind": "PodList", "apiVersion": "v1", "metadata": [:], "items": .array(items)]
}

/// The settings in force, by the names of kubelet's configuration file.
func planConfigz(_ settings: NodeSettings) -> JSON {
  [
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
    "port": JSON(settings.kubeletPort), "healthzPort": JSON(settings.healthzPort),
    "healthzBindAddress": "127.0.0.1", "maxPods": JSON(settings.podsMax),
    "clusterDomain": JSON(settings.clusterDomain), "clusterDNS": JSON(settings.dnsAddresses),
    "resolvConf": JSON(settings.resolvConfPath), "cgroupRoot": JSON(settings.cgroupRoot),
    "cgroupDriver": "cgroupfs", "staticPodPath": JSON(settings.staticPodPath ?? ""),
    "staticPodURL": JSON(settings.staticPodURL?.text ?? ""),
    "containerLogMaxSize": JSON(String(settings.containerLogMaxBytes)),
    "containerLogMaxFiles": JSON(settings.containerLogMaxFiles),
    "imageGCHighThresholdPercent": JSON(settings.imageGCPercent.high),
    "imageGCLowThresholdPercent": JSON(settings.imageGCPercent.low),
    "evictionHard": JSON(
      Dictionary(
        settings.eviction.hard.map { ($0.signal.rawValue, $0.value.description) }, uniquingKeysWith: { $1 })),
    "evictionSoft": JSON(
      Dictionary(
        settings.eviction.soft.map { ($0.signal.rawValue, $0.value.description) }, uniquingKeysWith: { $1 })),
    "nodeLeaseDurationSeconds": JSON(settings.leaseSeconds),
    "serializeImagePulls": JSON(settings.imagePullsMax == 1),
    "maxParallelImagePulls": settings.imagePullsMax.map { JSON($0) } ?? .null,
    "streamingConnectionIdleTimeout": JSON(
      "\(settings.streamingConnectionIdleTimeout.components.seconds)s"),
  ]
}

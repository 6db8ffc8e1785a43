// Workload objects for tests, and a small world in which a plan's steps take effect at once.

import ClusterClient
import ClusterObjects
import Diagnostics

@testable import ClusterControllers

let workloadEpoch: Int64 = 1_767_225_600

func workload(
  _ kind: String, _ name: String, group: String = "apps/v1", image: String = "a", spec: JSON = [:]
)
  -> JSON
{
  var all: JSON = [
    "selector": ["matchLabels": ["app": JSON(name)]],
    "template": [
      "metadata": ["labels": ["app": JSON(name)]],
      "spec": ["containers": [["name": "c", "image": JSON(image)]]],
    ],
  ]
  for (field, value) in spec.object ?? [:] { all[field] = value }
  return [
    "apiVersion": JSON(group), "kind": JSON(kind),
    "metadata": [
      "namespace": "demo", "name": JSON(name), "uid": JSON("uid-\(name)"), "generation": 1,
      "creationTimestamp": JSON(Timestamp.text(seconds: workloadEpoch)),
    ],
    "spec": all,
  ]
}

func statefulSet(_ replicas: Int, image: String = "a", spec: JSON = [:]) -> JSON {
  var all = spec
  all["replicas"] = JSON(replicas)
  if all["serviceName"] == nil { all["serviceName"] = "db" }
  if all["updateStrategy"] == nil {
    all["updateStrategy"] = ["type": "RollingUpdate", "rollingUpdate": ["partition": 0]]
  }
  return workload("StatefulSet", "db", image: image, spec: all)
}

/// The revision that the keeper would make of the set's template.
func revision(of owner: JSON, number: Int64 = 1, label: String = StatefulNames.revisionHash) -> JSON {
  guard case .create(var made) = planRevision(owner, revisions: [], hashLabel: label, collisions: nil) else {
    return .null
  }
  made["revision"] = .integer(number)
  made.set(JSON("uid-" + made.name), at: "metadata", "uid")
  return made
}

extension JSON {
  /// The pod as a node agent reports it when it runs.
  func running(ready: Bool = true, since: Int64 = workloadEpoch, node: String = "n1") -> JSON {
    var pod = self
    pod.set(JSON(node), at: "spec", "nodeName")
    pod.set("Running", at: "status", "phase")
    pod.set(
      [
        [
          "type": "Ready", "status": ready ? "True" : "False",
          "lastTransitionTime": JSON(Timestamp.text(seconds: since)),
        ]
      ], at: "status", "conditions")
    return pod
  }

  func phase(_ phase: String, exitCode: Int? = nil, at time: Int64 = workloadEpoch) -> JSON {
    var pod = self
    pod.set(JSON(phase), at: "status", "phase")
    pod.set(
      [
        [
          "name": "c",
          "state": [
            "terminated": [
              "exitCode": JSON(exitCode ?? (phase == "Failed" ? 1 : 0)),
              "finishedAt": JSON(Timestamp.text(seconds: time)),
            ]
          ],
        ]
      ], at: "status", "containerStatuses")
    return pod
  }

  func terminating(at time: Int64 = workloadEpoch, grace: Int = 30) -> JSON {
    var pod = self
    pod.set(JSON(Timestamp.text(seconds: time)), at: "metadata", "deletionTimestamp")
    pod.set(JSON(grace), at: "metadata", "deletionGracePeriodSeconds")
    return pod
  }

  var image: String { spec["containers"]?[0]?["image"]?.string ?? "" }
}

/// Pods by name. What is created gets a uid and waits for a node; what is deleted is gone.
struct PodWorld {
  var pods: [String: JSON] = [:]
  private var made = 0
  var sorted: [JSON] { pods.values.sorted { $0.name < $1.name } }
  var names: [String] { pods.keys.sorted() }

  mutating func create(_ wanted: JSON, at time: Int64 = workloadEpoch) {
    made += 1
    var pod = wanted
    if pod.name.isEmpty {
      pod.set(JSON("\(pod.at("metadata", "generateName")?.string ?? "")\(made)"), at: "metadata", "name")
    }
    pod.set(JSON("uid-\(made)"), at: "metadata", "uid")
    pod.set(JSON(Timestamp.text(seconds: time)), at: "metadata", "creationTimestamp")
    pod.set("Pending", at: "status", "phase")
    pods[pod.name] = pod
  }
  mutating func delete(_ pod: JSON) { pods[pod.name] = nil }
  mutating func update(_ name: String, _ change: (JSON) -> JSON) {
    if let pod = pods[name] { pods[name] = change(pod) }
  }
  mutating func runAll() {
    for name in names { update(name) { $0.at("spec", "nodeName") == nil ? $0.running() : $0 } }
  }
}

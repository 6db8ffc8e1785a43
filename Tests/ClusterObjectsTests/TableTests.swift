// Lines as `kubectl get` prints them, one a state that people know.
import ClusterObjects
import Testing

private let now = KubeTime("2026-11-21T05:00:00Z")!

private func pod(_ status: JSON, spec: JSON = ["containers": [["name": "a"]]], deleted: Bool = false) -> JSON
{
  var pod: JSON = [
    "kind": "Pod", "apiVersion": "v1",
    "metadata": ["name": "p", "creationTimestamp": "2026-11-21T04:58:00Z"], "spec": spec,
    "status": status,
  ]
  if deleted { pod.set("2026-11-21T04:59:59Z", at: "metadata", "deletionTimestamp") }
  return pod
}

private func cells(_ object: JSON, _ group: String, _ kind: String) -> [String] {
  TablePrinter.printer(for: GroupVersionKind(group, "v1", kind)).row(object, now: now, include: .none)[
    "cells"]!.elements
    .map { $0.string ?? $0.text }
}

@Test(arguments: [
  (
    pod([
      "phase": "Running",
      "containerStatuses": [["name": "a", "ready": true, "restartCount": 0, "state": ["running": [:]]]],
    ]), "1/1 Running 0 2m"
  ),
  (pod(["phase": "Pending"]), "0/1 Pending 0 2m"),
  (
    pod([
      "phase": "Pending",
      "containerStatuses": [
        ["name": "a", "ready": false, "restartCount": 0, "state": ["waiting": ["reason": "ErrImagePull"]]]
      ],
    ]), "0/1 ErrImagePull 0 2m"
  ),
  (
    pod([
      "phase": "Running",
      "containerStatuses": [
        [
          "name": "a", "ready": false, "restartCount": 3,
          "state": ["waiting": ["reason": "CrashLoopBackOff"]],
          "lastState": ["terminated": ["finishedAt": "2026-11-21T04:59:30Z"]],
        ]
      ],
    ]), "0/1 CrashLoopBackOff 3 (30s ago) 2m"
  ),
  (
    pod([
      "phase": "Succeeded",
      "containerStatuses": [
        [
          "name": "a", "ready": false, "restartCount": 0,
          "state": ["terminated": ["reason": "Completed", "exitCode": 0]],
        ]
      ],
    ]), "0/1 Completed 0 2m"
  ),
  (
    pod([
      "phase": "Failed",
      "containerStatuses": [
        [
          "name": "a", "ready": false, "restartCount": 0,
          "state": ["terminated": ["exitCode": 137, "signal": 9]],
        ]
      ],
    ]), "0/1 Signal:9 0 2m"
  ),
  (
    pod(
      [
        "phase": "Running",
        "containerStatuses": [["name": "a", "ready": true, "restartCount": 0, "state": ["running": [:]]]],
      ], deleted: true), "1/1 Terminating 0 2m"
  ),
  (
    pod(
      [
        "phase": "Pending",
        "initContainerStatuses": [
          ["name": "i", "ready": false, "restartCount": 0, "state": ["running": [:]]]
        ],
      ], spec: ["containers": [["name": "a"]], "initContainers": [["name": "i"], ["name": "j"]]]),
    "0/1 Init:0/2 0 2m"
  ),
  (pod(["phase": "Failed", "reason": "Evicted"]), "0/1 Evicted 0 2m"),
])
func `a pod's line tells its state`(pod: JSON, line: String) {
  #expect(cells(pod, "", "Pod")[1...4].joined(separator: " ") == line)
}

@Test func `services, deployments and nodes read as people know them`() throws {
  let service = try JSON(
    parsing:
      #"{"metadata":{"name":"web","creationTimestamp":"2026-11-20T05:00:00Z"},"spec":{"type":"NodePort","clusterIP":"10.43.0.5","ports":[{"port":80,"nodePort":30080,"protocol":"TCP"},{"port":53,"protocol":"UDP"}],"selector":{"app":"web"}}}"#
  )
  #expect(
    cells(service, "", "Service") == [
      "web", "NodePort", "10.43.0.5", "<none>", "80:30080/TCP,53/UDP", "24h", "app=web",
    ])
  let deployment = try JSON(
    parsing:
      #"{"metadata":{"name":"web","creationTimestamp":"2026-11-21T04:00:00Z"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"spec":{"containers":[{"name":"c","image":"i:1"}]}}},"status":{"readyReplicas":1,"updatedReplicas":2,"availableReplicas":1}}"#
  )
  #expect(cells(deployment, "apps", "Deployment") == ["web", "1/2", "2", "1", "60m", "c", "i:1", "app=web"])
  let node = try JSON(
    parsing:
      #"{"metadata":{"name":"n","labels":{"node-role.kubernetes.io/control-plane":""}},"spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#
  )
  #expect(cells(node, "", "Node")[1...2] == ["Ready,SchedulingDisabled", "control-plane"])
}

@Test func `a table carries columns, rows and what was asked of the object`() {
  let table = TablePrinter.pods_(pod(["phase": "Running"]))
  #expect(table["kind"] == "Table" && table.at("columnDefinitions")?[0]?["format"] == "name")
  #expect(table["rows"]?[0]?.at("object", "kind") == "PartialObjectMetadata")
}

extension TablePrinter {
  fileprivate static func pods_(_ pod: JSON) -> JSON {
    printer(for: GroupVersionKind("", "v1", "Pod")).table([pod], now: now, include: .metadata)
  }
}

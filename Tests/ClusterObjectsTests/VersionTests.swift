// One resource in two versions: there and back without loss, whatever a stranger put into the annotations.

import ClusterObjects
import Testing

private let v1 = KindRegistry.builtin[GroupVersionKind("autoscaling", "v1", "HorizontalPodAutoscaler")]!
private let v2 = KindRegistry.builtin[GroupVersionKind("autoscaling", "v2", "HorizontalPodAutoscaler")]!

private func autoscaler(_ metrics: JSON, status: JSON? = nil) -> JSON {
  var object: JSON = [
    "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
    "metadata": ["name": "h", "annotations": ["keep": "me"]],
    "spec": [
      "scaleTargetRef": ["kind": "Deployment", "name": "d"], "minReplicas": 1, "maxReplicas": 3,
      "metrics": metrics, "behavior": ["scaleDown": ["stabilizationWindowSeconds": 60]],
    ],
  ]
  object["status"] = status
  return object
}

private let cpu: JSON = [
  "type": "Resource",
  "resource": ["name": "cpu", "target": ["type": "Utilization", "averageUtilization": 60]],
]
private let memory: JSON = [
  "type": "Resource",
  "resource": ["name": "memory", "target": ["type": "AverageValue", "averageValue": "1Gi"]],
]

@Test(arguments: [[cpu], [cpu, memory], [memory, cpu], [memory], [cpu, cpu]])
func `an autoscaler comes back from v1 as it was`(metrics: [JSON]) throws {
  let object = autoscaler(
    .array(metrics),
    status: [
      "currentReplicas": 2, "desiredReplicas": 3,
      "currentMetrics": [
        ["type": "Resource", "resource": ["name": "cpu", "current": ["averageUtilization": 40]]]
      ], "conditions": [["type": "AbleToScale", "status": "True"]],
    ])
  let old = v1.served(object)
  #expect(old.apiVersion == "autoscaling/v1")
  #expect(old.at("spec", "metrics") == nil && old.at("spec", "behavior") == nil)
  #expect(
    (old.at("spec", "targetCPUUtilizationPercentage")?.int == 60) == metrics.contains(cpu))
  #expect(old.at("status", "currentCPUUtilizationPercentage")?.int == 40)
  #expect(old.annotations["keep"] == "me")
  #expect(v1.stored(old) == object)
  // What v1 shows is an object of v1.
  let strict = try v1.schema.decode(tree: old, as: v1.gvk, validation: .strict).object
  #expect(strict == old)
}

@Test func `a change of the target in v1 is a change of the metric in v2`() {
  var old = v1.served(autoscaler([memory, cpu]))
  old.set(90, at: "spec", "targetCPUUtilizationPercentage")
  let metrics = v1.stored(old).at("spec", "metrics")?.elements ?? []
  #expect(metrics.count == 2 && metrics[0] == memory)
  #expect(metrics[1].at("resource", "target", "averageUtilization")?.int == 90)
}

@Test(arguments: [
  "", "{", "[1]", "{\"a\":1}", "[{\"type\":3}]", "[{\"type\":\"Pods\",\"unknown\":1}]", "null", "[[]]",
])
func `annotations of strangers are no way into an autoscaler`(text: String) throws {
  var old = v1.served(autoscaler([cpu]))
  for name in ["metrics", "behavior", "current-metrics", "conditions"] {
    old.set(JSON(text), at: "metadata", "annotations", "autoscaling.alpha.kubernetes.io/\(name)")
  }
  old["status"] = ["currentReplicas": 1, "desiredReplicas": 1]
  let new = v1.stored(old)
  #expect(throws: Never.self) {
    _ = try v2.schema.decode(tree: new, as: v2.gvk, validation: .strict)
  }
}

@Test func `random annotations never break the conversion`() {
  var generator = Seeded(state: 7)
  let object = v1.served(autoscaler([memory, cpu, cpu], status: ["desiredReplicas": 1]))
  let name = "autoscaling.alpha.kubernetes.io/metrics"
  let base = Array((object.annotations[name] ?? "").utf8)
  #expect(!base.isEmpty)
  for _ in 0..<2000 {
    var bytes = base
    for _ in 0..<Int.random(in: 1...4, using: &generator) {
      let position = Int.random(in: 0..<bytes.count, using: &generator)
      switch Int.random(in: 0..<3, using: &generator) {
      case 0: bytes[position] = UInt8.random(in: 32...126, using: &generator)
      case 1 where bytes.count > 1: bytes.remove(at: position)
      default: bytes.insert(UInt8.random(in: 32...126, using: &generator), at: position)
      }
    }
    var changed = object
    changed.set(JSON(String(decoding: bytes, as: UTF8.self)), at: "metadata", "annotations", name)
    let new = v1.stored(changed)
    #expect(new.apiVersion == "autoscaling/v2")
    #expect((try? v2.schema.decode(tree: new, as: v2.gvk)) != nil)
  }
}

@Test func `an event of one group is the same event in the other`() throws {
  let core = try #require(KindRegistry.builtin[GroupVersionKind("", "v1", "Event")])
  let newer = try #require(KindRegistry.builtin[GroupVersionKind("events.k8s.io", "v1", "Event")])
  let event: JSON = [
    "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": ["name": "e", "namespace": "a"],
    "eventTime": "2026-11-21T05:00:00.000001Z", "reportingController": "x", "reportingInstance": "x-1",
    "action": "Binding", "reason": "Bound", "regarding": ["kind": "Pod", "name": "p", "namespace": "a"],
    "note": "hello", "type": "Normal", "deprecatedSource": ["component": "y"],
    "deprecatedFirstTimestamp": "2026-11-21T05:00:00Z", "deprecatedCount": 3,
    "series": ["count": 2, "lastObservedTime": "2026-11-21T05:00:00.000001Z"],
  ]
  let old = newer.stored(event)
  #expect(old.apiVersion == "v1" && old["message"] == "hello" && old["count"] == 3)
  #expect(old.at("involvedObject", "name") == "p" && old.at("source", "component") == "y")
  #expect(newer.served(old) == event)
  #expect(try core.schema.decode(tree: old, as: core.gvk, validation: .strict).object == old)
  #expect(core.served(old) == old, "what is stored as it is served is not touched")
}

// Defaults of workloads and their autoscalers that depend on other fields.

extension Defaults {
  static let workloads: [String: Rule] = [
    "io.k8s.api.apps.v1.DeploymentStrategy": deploymentStrategy,
    "io.k8s.api.apps.v1.DaemonSetUpdateStrategy": daemonSetStrategy,
    "io.k8s.api.apps.v1.StatefulSetSpec": statefulSetSpec,
    "io.k8s.api.apps.v1.StatefulSetUpdateStrategy": statefulSetStrategy,
    "io.k8s.api.batch.v1.Job": job,
    "io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern": failurePattern,
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec": autoscalerSpec,
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior": autoscalerBehavior,
  ]

  private static func isRolling(_ strategy: JSONObject) -> Bool {
    strategy["type"] == nil || strategy["type"] == "RollingUpdate"
  }

  private static func deploymentStrategy(_ strategy: inout JSONObject) {
    guard isRolling(strategy) else { return }
    var rolling = strategy["rollingUpdate"] ?? [:]
    if rolling["maxUnavailable"] == nil { rolling["maxUnavailable"] = "25%" }
    if rolling["maxSurge"] == nil { rolling["maxSurge"] = "25%" }
    strategy["rollingUpdate"] = rolling
  }

  private static func daemonSetStrategy(_ strategy: inout JSONObject) {
    guard isRolling(strategy) else { return }
    var rolling = strategy["rollingUpdate"] ?? [:]
    if rolling["maxUnavailable"] == nil { rolling["maxUnavailable"] = 1 }
    if rolling["maxSurge"] == nil { rolling["maxSurge"] = 0 }
    strategy["rollingUpdate"] = rolling
  }

  private static func statefulSetStrategy(_ strategy: inout JSONObject) {
    if strategy["type"] == nil {
      strategy["type"] = "RollingUpdate"
      setDefault(&strategy, "rollingUpdate", [:])
    }
    if strategy["type"] == "RollingUpdate", var rolling = strategy["rollingUpdate"],
      rolling["partition"] == nil
    {
      rolling["partition"] = 0
      strategy["rollingUpdate"] = rolling
    }
  }

  private static func statefulSetSpec(_ spec: inout JSONObject) {
    setDefault(&spec, "updateStrategy", [:])
    guard case .array(let claims)? = spec["volumeClaimTemplates"] else { return }
    // The templates are whole objects: they say what they are, and where they begin.
    spec["volumeClaimTemplates"] = .array(
      claims.map { claim in
        var typed: JSON = ["apiVersion": "v1", "kind": "PersistentVolumeClaim"]
        for (name, value) in claim.object ?? [:] where value != "" { typed[name] = value }
        if typed["status"] == nil { typed["status"] = ["phase": "Pending"] }
        return typed
      })
  }

  /// Of jobs alone: the template in a CronJob keeps what its author wrote.
  private static func job(_ job: inout JSONObject) {
    guard case .object(var spec)? = job["spec"] else { return }
    if !spec.contains("completions"), !spec.contains("parallelism") { spec["completions"] = 1 }
    setDefault(&spec, "parallelism", 1)
    let isPerIndex = spec.contains("backoffLimitPerIndex")
    setDefault(&spec, "backoffLimit", isPerIndex ? .integer(Int64(Int32.max)) : 6)
    setDefault(&spec, "completionMode", "NonIndexed")
    setDefault(&spec, "suspend", false)
    let fails = spec.contains("podFailurePolicy")
    setDefault(&spec, "podReplacementPolicy", fails ? "Failed" : "TerminatingOrFailed")
    job["spec"] = .object(spec)
    if let labels = spec["template"]?.at("metadata", "labels"), labels.object?.isEmpty == false {
      adoptLabels(&job, labels)
    }
  }

  private static func failurePattern(_ pattern: inout JSONObject) {
    if pattern["status"] == nil || pattern["status"] == "" { pattern["status"] = "True" }
  }

  // MARK: - Autoscalers

  private static func autoscalerSpec(_ spec: inout JSONObject) {
    guard spec["metrics"]?.elements.isEmpty ?? true else { return }
    spec["metrics"] = [
      [
        "type": "Resource",
        "resource": ["name": "cpu", "target": ["type": "Utilization", "averageUtilization": 80]],
      ]
    ]
  }

  private static func autoscalerBehavior(_ behavior: inout JSONObject) {
    var up = behavior["scaleUp"]?.object ?? [:]
    setDefault(&up, "stabilizationWindowSeconds", 0)
    setDefault(&up, "selectPolicy", "Max")
    setDefault(
      &up, "policies",
      [
        ["type": "Pods", "value": 4, "periodSeconds": 15],
        ["type": "Percent", "value": 100, "periodSeconds": 15],
      ])
    behavior["scaleUp"] = .object(up)
    var down = behavior["scaleDown"]?.object ?? [:]
    setDefault(&down, "selectPolicy", "Max")
    setDefault(&down, "policies", [["type": "Percent", "value": 100, "periodSeconds": 15]])
    behavior["scaleDown"] = .object(down)
  }
}

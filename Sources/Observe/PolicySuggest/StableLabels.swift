// Which of a pod's labels a policy should name: those that its next pod has too.

/// Labels that stay the same when a workload is rolled out, scaled or restarted.
enum StableLabels {
  /// Set by controllers, another for each pod or each rollout.
  static let changing: Set<String> = [
    "pod-template-hash", "controller-revision-hash", "pod-template-generation", "controller-uid", "job-name",
    "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name", "batch.kubernetes.io/job-completion-index", "rollouts-pod-template-hash",
    "app.kubernetes.io/version", "version", "helm.sh/chart", "chart", "heritage", "release-revision",
    "app.kubernetes.io/managed-by",
  ]

  /// What people name their workloads by, the most telling first; of a group all that are there are taken.
  static let telling: [[String]] = [
    ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"],
    ["app", "component", "tier", "role"], ["k8s-app"], ["name"], ["run"],
  ]

  /// Empty when no label is left: then a policy can only name the whole namespace.
  static func choose(_ labels: [String: String]) -> [String: String] {
    for group in telling where labels[group[0]] != nil {
      return labels.filter { group.contains($0.key) }
    }
    return labels.filter { !changing.contains($0.key) }
  }

  /// A name for what has these labels.
  static func name(_ labels: [String: String]) -> String {
    for group in telling { if let value = labels[group[0]], !value.isEmpty { return value } }
    return labels.min { $0.key < $1.key }?.value ?? ""
  }
}

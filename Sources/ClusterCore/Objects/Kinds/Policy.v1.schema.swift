// Budgets for disruptions, and evictions.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let policyV1 = #"""
    group policy policy v1 io.k8s.api.policy.v1
    kind PodDisruptionBudget poddisruptionbudgets short=pdb ns sub=status
    hidden Eviction
    type PodDisruptionBudget "How many pods may be disrupted at a time.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PodDisruptionBudgetSpec+ #2 "What is asked for.
      status PodDisruptionBudgetStatus+ #3 "What was last observed.
    type PodDisruptionBudgetSpec "Which pods, and how many.
      minAvailable intstr? #1 "How many must stay available, a number or a share.
      selector meta.LabelSelector? #2 "Which pods.
      maxUnavailable intstr? #3 "How many may be unavailable, a number or a share.
      unhealthyPodEvictionPolicy string? #4 enum(IfHealthyBudget|AlwaysAllow) "Whether pods that are not \#
    ready may always be evicted.
    type PodDisruptionBudgetStatus "How a budget stands.
      observedGeneration int64 #1 "The generation that this was observed at.
      disruptedPods map[time] #2 "Pods whose eviction was allowed and that are not gone yet.
      disruptionsAllowed int32+ #3 "Pods that may be evicted now.
      currentHealthy int32+ #4 "Pods that are ready.
      desiredHealthy int32+ #5 "Pods that must be ready.
      expectedPods int32+ #6 "Pods that it is about.
      conditions []meta.Condition #7 merge(type) map(type) "What was last observed, one entry a type.
    type Eviction "Asks a pod to go, if its budget allows.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      deleteOptions meta.DeleteOptions? #2 "How the pod is deleted.
    """#
}

// Budgets for disruptions, and evictions.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let policyV1 = #"""
    group policy policy v1 io.k8s.api.policy.v1
    kind PodDisruptionBudget poddisruptionbudgets short=pdb ns sub=status
    hidden Eviction
    type PodDisruptionBudget
      metadata meta.ObjectMeta #1
      spec PodDisruptionBudgetSpec+ #2
      status PodDisruptionBudgetStatus+ #3
    type PodDisruptionBudgetSpec
      minAvailable intstr? #1
      selector meta.LabelSelector? #2
      maxUnavailable intstr? #3
      unhealthyPodEvictionPolicy string? #4 enum(IfHealthyBudget|AlwaysAllow)
    type PodDisruptionBudgetStatus
      observedGeneration int64 #1
      disruptedPods map[time] #2
      disruptionsAllowed int32+ #3
      currentHealthy int32+ #4
      desiredHealthy int32+ #5
      expectedPods int32+ #6
      conditions []meta.Condition #7 merge(type) map(type)
    type Eviction
      metadata meta.ObjectMeta #1
      deleteOptions meta.DeleteOptions? #2
    """#
}

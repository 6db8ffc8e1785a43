// Workloads that end, and those that begin at a time.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let batchV1 = #"""
    group schedulingV1alpha3 scheduling.k8s.io v1alpha3 io.k8s.api.scheduling.v1alpha3
    type WorkloadPodGroupSchedulingPolicy
      basic WorkloadPodGroupBasicSchedulingPolicy? #1
      gang WorkloadPodGroupGangSchedulingPolicy? #2
    type WorkloadPodGroupBasicSchedulingPolicy
    type WorkloadPodGroupGangSchedulingPolicy
      minCount int32? #1
    type WorkloadPodGroupSchedulingConstraints
      topology []TopologyConstraint #1 atomic
    type TopologyConstraint
      key string! #1
    type WorkloadPodGroupDisruptionMode
      single WorkloadPodGroupSingleDisruptionMode? #1
      all WorkloadPodGroupAllDisruptionMode? #2
    type WorkloadPodGroupSingleDisruptionMode
    type WorkloadPodGroupAllDisruptionMode
    type WorkloadPodGroupResourceClaim
      name string! #1
      resourceClaimName string? #2
      resourceClaimTemplateName string? #3
    group batch batch v1 io.k8s.api.batch.v1
    kind CronJob cronjobs short=cj cat=all ns sub=status
    kind Job jobs cat=all ns sub=status
    type Job
      metadata meta.ObjectMeta #1
      spec JobSpec+ #2
      status JobStatus+ #3
    type JobSpec
      parallelism int32? #1
      completions int32? #2
      activeDeadlineSeconds int64? #3
      podFailurePolicy PodFailurePolicy? #11
      successPolicy SuccessPolicy? #16
      backoffLimit int32? #7
      backoffLimitPerIndex int32? #12
      maxFailedIndexes int32? #13
      selector meta.LabelSelector? #4
      manualSelector bool? #5
      template core.PodTemplateSpec! #6
      ttlSecondsAfterFinished int32? #8
      completionMode string? #9 enum(NonIndexed|Indexed)
      suspend bool? #10
      podReplacementPolicy string? #14 enum(TerminatingOrFailed|Failed)
      managedBy string? #15
      scheduling JobSchedulingConfiguration? #17
    type PodFailurePolicy
      rules []PodFailurePolicyRule! #1 atomic
    type PodFailurePolicyRule
      action string! #1 enum(FailJob|FailIndex|Ignore|Count)
      onExitCodes PodFailurePolicyOnExitCodesRequirement? #2
      onPodConditions []PodFailurePolicyOnPodConditionsPattern #3 atomic
    type PodFailurePolicyOnExitCodesRequirement
      containerName string? #1
      operator string! #2 enum(In|NotIn)
      values []int32! #3 set
    type PodFailurePolicyOnPodConditionsPattern
      type string! #1
      status string+ #2
    type SuccessPolicy
      rules []SuccessPolicyRule! #1 atomic
    type SuccessPolicyRule
      succeededIndexes string? #1
      succeededCount int32? #2
    type JobSchedulingConfiguration
      schedulingPolicy schedulingV1alpha3.WorkloadPodGroupSchedulingPolicy? #1
      schedulingConstraints schedulingV1alpha3.WorkloadPodGroupSchedulingConstraints? #2
      disruptionMode schedulingV1alpha3.WorkloadPodGroupDisruptionMode? #3
      resourceClaims []schedulingV1alpha3.WorkloadPodGroupResourceClaim #4 merge(name) map(name)
    type JobStatus
      conditions []JobCondition #1 merge(type) atomic
      startTime time? #2
      completionTime time? #3
      active int32 #4
      succeeded int32 #5
      failed int32 #6
      terminating int32? #11
      completedIndexes string #7
      failedIndexes string? #10
      uncountedTerminatedPods UncountedTerminatedPods? #8
      ready int32? #9
    type JobCondition
      type string! #1
      status string! #2
      lastProbeTime time #3
      lastTransitionTime time #4
      reason string #5
      message string #6
    type UncountedTerminatedPods
      succeeded []string #1 set
      failed []string #2 set
    type CronJob
      metadata meta.ObjectMeta #1
      spec CronJobSpec! #2
      status CronJobStatus+ #3
    type CronJobSpec
      schedule string! #1
      timeZone string? #8
      startingDeadlineSeconds int64? #2
      concurrencyPolicy string #3 = Allow enum(Allow|Forbid|Replace)
      suspend bool? #4 = false
      jobTemplate JobTemplateSpec! #5
      successfulJobsHistoryLimit int32? #6 = 3
      failedJobsHistoryLimit int32? #7 = 1
    type JobTemplateSpec
      metadata meta.ObjectMeta #1
      spec JobSpec+ #2
    type CronJobStatus
      active []core.ObjectReference #1 atomic
      lastScheduleTime time? #4
      lastSuccessfulTime time? #5
    """#
}

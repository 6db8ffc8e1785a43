// Workloads that end, and those that begin at a time.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let batchV1 = #"""
    group schedulingV1alpha3 scheduling.k8s.io v1alpha3 io.k8s.api.scheduling.v1alpha3
    type WorkloadPodGroupSchedulingPolicy "How a group of pods is placed; one of them.
      basic WorkloadPodGroupBasicSchedulingPolicy? #1 "Each by itself.
      gang WorkloadPodGroupGangSchedulingPolicy? #2 "All or none.
    type WorkloadPodGroupBasicSchedulingPolicy "Each pod is placed by itself.
    type WorkloadPodGroupGangSchedulingPolicy "Pods are placed together or not at all.
      minCount int32? #1 "How many at least.
    type WorkloadPodGroupSchedulingConstraints "Where a group may be placed.
      topology []TopologyConstraint #1 atomic "Places that all its pods share.
    type TopologyConstraint "A place that pods share.
      key string! #1 "The label of nodes that names the place.
    type WorkloadPodGroupDisruptionMode "How a group may be disrupted; one of them.
      single WorkloadPodGroupSingleDisruptionMode? #1 "Pod by pod.
      all WorkloadPodGroupAllDisruptionMode? #2 "Only as a whole.
    type WorkloadPodGroupSingleDisruptionMode "Pods may be disrupted one by one.
    type WorkloadPodGroupAllDisruptionMode "The group is disrupted as a whole.
    type WorkloadPodGroupResourceClaim "A claim on devices that a group shares.
      name string! #1 "What its pods call it.
      resourceClaimName string? #2 "The ResourceClaim.
      resourceClaimTemplateName string? #3 "The template from which one is made.
    group batch batch v1 io.k8s.api.batch.v1
    kind CronJob cronjobs short=cj cat=all ns sub=status
    kind Job jobs cat=all ns sub=status
    type Job "Runs pods until enough have succeeded.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec JobSpec+ #2 "What is asked for.
      status JobStatus+ #3 "What was last observed.
    type JobSpec "What a Job shall run.
      parallelism int32? #1 "How many pods run at a time at most.
      completions int32? #2 "How many pods must succeed.
      activeDeadlineSeconds int64? #3 "How long it may run at most.
      podFailurePolicy PodFailurePolicy? #11 "What failures of pods mean.
      successPolicy SuccessPolicy? #16 "When it has succeeded before all have.
      backoffLimit int32? #7 "How many failures it takes before it fails.
      backoffLimitPerIndex int32? #12 "How many failures one index may have.
      maxFailedIndexes int32? #13 "How many indexes may fail.
      selector meta.LabelSelector? #4 "Which pods belong to it; the server fills it in.
      manualSelector bool? #5 "Whether the selector is its author's business.
      template core.PodTemplateSpec! #6 "What its pods are made from.
      ttlSecondsAfterFinished int32? #8 "How long it stays after its end.
      completionMode string? #9 enum(NonIndexed|Indexed) "NonIndexed, or Indexed, which numbers its pods.
      suspend bool? #10 "Whether it is held.
      podReplacementPolicy string? #14 enum(TerminatingOrFailed|Failed) "Whether a stopping pod is replaced \#
    at once or after its end.
      managedBy string? #15 "The controller that runs it, when it is not the usual one.
      scheduling JobSchedulingConfiguration? #17 "How its pods are placed as a group.
    type PodFailurePolicy "What failures of pods mean.
      rules []PodFailurePolicyRule! #1 atomic "The first that matches counts.
    type PodFailurePolicyRule "What some failures mean.
      action string! #1 enum(FailJob|FailIndex|Ignore|Count) "What is done.
      onExitCodes PodFailurePolicyOnExitCodesRequirement? #2 "Exit codes it is about.
      onPodConditions []PodFailurePolicyOnPodConditionsPattern #3 atomic "Conditions it is about.
    type PodFailurePolicyOnExitCodesRequirement "Exit codes.
      containerName string? #1 "The container; any when nothing is said.
      operator string! #2 enum(In|NotIn) "In or NotIn.
      values []int32! #3 set "The codes.
    type PodFailurePolicyOnPodConditionsPattern "A condition of a pod.
      type string! #1 "Its type.
      status string+ #2 "Its status; True when nothing is said.
    type SuccessPolicy "When a Job has succeeded.
      rules []SuccessPolicyRule! #1 atomic "One of them must hold.
    type SuccessPolicyRule "One way to succeed.
      succeededIndexes string? #1 "Indexes that must have succeeded, such as 1,3-5.
      succeededCount int32? #2 "How many must have succeeded.
    type JobSchedulingConfiguration "How a Job's pods are placed as a group.
      schedulingPolicy schedulingV1alpha3.WorkloadPodGroupSchedulingPolicy? #1 "Together or each by itself.
      schedulingConstraints schedulingV1alpha3.WorkloadPodGroupSchedulingConstraints? #2 "Where.
      disruptionMode schedulingV1alpha3.WorkloadPodGroupDisruptionMode? #3 "How they may be disrupted.
      resourceClaims []schedulingV1alpha3.WorkloadPodGroupResourceClaim #4 merge(name) map(name) "Claims on \#
    devices that they share.
    type JobStatus "How a Job stands.
      conditions []JobCondition #1 merge(type) atomic "What was last observed, one entry a type.
      startTime time? #2 "When it began.
      completionTime time? #3 "When it succeeded.
      active int32 #4 "Pods that run.
      succeeded int32 #5 "Pods that succeeded.
      failed int32 #6 "Pods that failed.
      terminating int32? #11 "Pods that are stopping.
      completedIndexes string #7 "Indexes that succeeded, such as 1,3-5.
      failedIndexes string? #10 "Indexes that failed.
      uncountedTerminatedPods UncountedTerminatedPods? #8 "Pods that ended and are not counted yet.
      ready int32? #9 "Pods that are ready.
    type JobCondition "One thing observed of a Job.
      type string! #1 "Which condition this is.
      status string! #2 "True, False or Unknown.
      lastProbeTime time #3 "When it was last looked at.
      lastTransitionTime time #4 "When the status last changed.
      reason string #5 "One word for why, for programs.
      message string #6 "What happened, for people.
    type UncountedTerminatedPods "Pods that ended and are not counted yet.
      succeeded []string #1 set "Uids of those that succeeded.
      failed []string #2 set "Uids of those that failed.
    type CronJob "Makes Jobs at given times.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CronJobSpec! #2 "What is asked for.
      status CronJobStatus+ #3 "What was last observed.
    type CronJobSpec "What Jobs are made, and when.
      schedule string! #1 "When, in the format of cron.
      timeZone string? #8 "Whose clock the schedule means.
      startingDeadlineSeconds int64? #2 "How late a Job may begin at most.
      concurrencyPolicy string #3 = Allow enum(Allow|Forbid|Replace) "What is done when the last one still \#
    runs.
      suspend bool? #4 = false "Whether no more are made.
      jobTemplate JobTemplateSpec! #5 "What Jobs are made from.
      successfulJobsHistoryLimit int32? #6 = 3 "How many Jobs that succeeded are kept.
      failedJobsHistoryLimit int32? #7 = 1 "How many Jobs that failed are kept.
    type JobTemplateSpec "What Jobs are made from.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec JobSpec+ #2 "What is asked for.
    type CronJobStatus "How a CronJob stands.
      active []core.ObjectReference #1 atomic "Jobs that run.
      lastScheduleTime time? #4 "When it last made one.
      lastSuccessfulTime time? #5 "When one last succeeded.
    """#
}

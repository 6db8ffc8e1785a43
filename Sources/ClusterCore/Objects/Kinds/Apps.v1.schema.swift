// Workloads that keep running.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let appsV1 = #"""
    group apps apps v1 io.k8s.api.apps.v1
    kind ControllerRevision controllerrevisions ns
    kind DaemonSet daemonsets short=ds cat=all ns sub=status
    kind Deployment deployments short=deploy cat=all ns sub=scale,status
    kind ReplicaSet replicasets short=rs cat=all ns sub=scale,status
    kind StatefulSet statefulsets short=sts cat=all ns sub=scale,status
    type Deployment
      metadata meta.ObjectMeta #1
      spec DeploymentSpec! #2
      status DeploymentStatus+ #3
    type DeploymentSpec
      replicas int32? #1 = 1
      selector meta.LabelSelector?! #2
      template core.PodTemplateSpec! #3
      strategy DeploymentStrategy+ #4 retain
      minReadySeconds int32 #5
      revisionHistoryLimit int32? #6 = 10
      paused bool #7
      progressDeadlineSeconds int32? #9 = 600
    type DeploymentStrategy
      type string #1 = RollingUpdate enum(Recreate|RollingUpdate)
      rollingUpdate RollingUpdateDeployment? #2
    type RollingUpdateDeployment
      maxUnavailable intstr? #1
      maxSurge intstr? #2
    type DeploymentStatus
      observedGeneration int64 #1
      replicas int32 #2
      updatedReplicas int32 #3
      readyReplicas int32 #7
      availableReplicas int32 #4
      unavailableReplicas int32 #5
      terminatingReplicas int32? #9
      conditions []DeploymentCondition #6 merge(type) map(type)
      collisionCount int32? #8
    type DeploymentCondition
      type string+ #1
      status string+ #2
      lastUpdateTime time #6
      lastTransitionTime time #7
      reason string #4
      message string #5
    type ReplicaSet
      metadata meta.ObjectMeta #1
      spec ReplicaSetSpec! #2
      status ReplicaSetStatus+ #3
    type ReplicaSetSpec
      replicas int32? #1 = 1
      minReadySeconds int32 #4
      selector meta.LabelSelector?! #2
      template core.PodTemplateSpec+ #3
    type ReplicaSetStatus
      replicas int32! #1
      fullyLabeledReplicas int32 #2
      readyReplicas int32 #4
      availableReplicas int32 #5
      terminatingReplicas int32? #7
      observedGeneration int64 #3
      conditions []ReplicaSetCondition #6 merge(type) map(type)
    type ReplicaSetCondition
      type string+ #1
      status string+ #2
      lastTransitionTime time #3
      reason string #4
      message string #5
    type StatefulSet
      metadata meta.ObjectMeta #1
      spec StatefulSetSpec! #2
      status StatefulSetStatus+ #3
    type StatefulSetSpec
      replicas int32? #1 = 1
      selector meta.LabelSelector?! #2
      template core.PodTemplateSpec! #3
      volumeClaimTemplates []core.PersistentVolumeClaim #4 atomic
      serviceName string+ #5
      podManagementPolicy string #6 = OrderedReady enum(OrderedReady|Parallel)
      updateStrategy StatefulSetUpdateStrategy+ #7
      revisionHistoryLimit int32? #8 = 10
      minReadySeconds int32 #9
      persistentVolumeClaimRetentionPolicy StatefulSetPersistentVolumeClaimRetentionPolicy? #10 = {}
      ordinals StatefulSetOrdinals? #11
    type StatefulSetUpdateStrategy
      type string #1 enum(RollingUpdate|OnDelete|Recreate)
      rollingUpdate RollingUpdateStatefulSetStrategy? #2
    type RollingUpdateStatefulSetStrategy
      partition int32? #1
      maxUnavailable intstr? #2
    type StatefulSetPersistentVolumeClaimRetentionPolicy
      whenDeleted string #1 = Retain enum(Delete|Retain)
      whenScaled string #2 = Retain enum(Delete|Retain)
    type StatefulSetOrdinals
      start int32+ #1
    type StatefulSetStatus
      observedGeneration int64 #1
      replicas int32! #2
      readyReplicas int32 #3
      currentReplicas int32 #4
      updatedReplicas int32 #5
      currentRevision string #6
      updateRevision string #7
      collisionCount int32? #9
      conditions []StatefulSetCondition #10 merge(type) map(type)
      availableReplicas int32+ #11
    type StatefulSetCondition
      type string+ #1
      status string+ #2
      lastTransitionTime time #3
      reason string #4
      message string #5
    type DaemonSet
      metadata meta.ObjectMeta #1
      spec DaemonSetSpec! #2
      status DaemonSetStatus+ #3
    type DaemonSetSpec
      selector meta.LabelSelector?! #1
      template core.PodTemplateSpec! #2
      updateStrategy DaemonSetUpdateStrategy+ #3
      minReadySeconds int32 #4
      revisionHistoryLimit int32? #6 = 10
    type DaemonSetUpdateStrategy
      type string #1 = RollingUpdate enum(RollingUpdate|OnDelete)
      rollingUpdate RollingUpdateDaemonSet? #2
    type RollingUpdateDaemonSet
      maxUnavailable intstr? #1
      maxSurge intstr? #2
    type DaemonSetStatus
      currentNumberScheduled int32! #1
      numberMisscheduled int32! #2
      desiredNumberScheduled int32! #3
      numberReady int32! #4
      observedGeneration int64 #5
      updatedNumberScheduled int32 #6
      numberAvailable int32 #7
      numberUnavailable int32 #8
      collisionCount int32? #9
      conditions []DaemonSetCondition #10 merge(type) map(type)
    type DaemonSetCondition
      type string+ #1
      status string+ #2
      lastTransitionTime time #3
      reason string #4
      message string #5
    type ControllerRevision
      metadata meta.ObjectMeta #1
      data raw! #2
      revision int64+ #3
    """#
}

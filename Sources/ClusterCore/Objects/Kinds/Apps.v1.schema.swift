// Deployments and ReplicaSets.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let appsV1 = #"""
    group apps apps v1 io.k8s.api.apps.v1
    kind Deployment deployments short=deploy cat=all ns sub=scale,status
    kind ReplicaSet replicasets short=rs cat=all ns sub=scale,status
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
    """#
}

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
    type Deployment "Equal pods that are replaced step by step when the template changes.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec DeploymentSpec! #2 "What is asked for.
      status DeploymentStatus+ #3 "What was last observed.
    type DeploymentSpec "What a Deployment shall keep.
      replicas int32? #1 = 1 "How many pods there shall be.
      selector meta.LabelSelector?! #2 "Which pods belong to it; never changes.
      template core.PodTemplateSpec! #3 "What its pods are made from.
      strategy DeploymentStrategy+ #4 retain "How old pods are replaced by new ones.
      minReadySeconds int32 #5 "How long a pod must be ready before it counts as available.
      revisionHistoryLimit int32? #6 = 10 "How many old revisions are kept to roll back to.
      paused bool #7 "Whether changes of the template wait.
      progressDeadlineSeconds int32? #9 = 600 "How long it may get nowhere before it counts as failed.
    type DeploymentStrategy "How old pods are replaced.
      type string #1 = RollingUpdate enum(Recreate|RollingUpdate) "RollingUpdate, or Recreate, which stops \#
    all before it starts any.
      rollingUpdate RollingUpdateDeployment? #2 "How many at a time.
    type RollingUpdateDeployment "How many pods are replaced at a time.
      maxUnavailable intstr? #1 "How many may be missing, a number or a share.
      maxSurge intstr? #2 "How many there may be too many, a number or a share.
    type DeploymentStatus "How a Deployment stands.
      observedGeneration int64 #1 "The generation that this was observed at.
      replicas int32 #2 "Pods there are.
      updatedReplicas int32 #3 "Pods of the newest template.
      readyReplicas int32 #7 "Pods that are ready.
      availableReplicas int32 #4 "Pods that have been ready for long enough.
      unavailableReplicas int32 #5 "Pods that are missing.
      terminatingReplicas int32? #9 "Pods that are stopping.
      conditions []DeploymentCondition #6 merge(type) map(type) "What was last observed, one entry a type.
      collisionCount int32? #8 "How often a name made from the template was taken already.
    type DeploymentCondition "One thing observed of a Deployment.
      type string+ #1 "Which condition this is.
      status string+ #2 "True, False or Unknown.
      lastUpdateTime time #6 "When this was last written.
      lastTransitionTime time #7 "When the status last changed.
      reason string #4 "One word for why, for programs.
      message string #5 "What happened, for people.
    type ReplicaSet "Keeps a number of equal pods.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ReplicaSetSpec! #2 "What is asked for.
      status ReplicaSetStatus+ #3 "What was last observed.
    type ReplicaSetSpec "What a ReplicaSet shall keep.
      replicas int32? #1 = 1 "How many pods there shall be.
      minReadySeconds int32 #4 "How long a pod must be ready before it counts as available.
      selector meta.LabelSelector?! #2 "Which pods belong to it; never changes.
      template core.PodTemplateSpec+ #3 "What its pods are made from.
    type ReplicaSetStatus "How a ReplicaSet stands.
      replicas int32! #1 "Pods there are.
      fullyLabeledReplicas int32 #2 "Pods with all labels of the template.
      readyReplicas int32 #4 "Pods that are ready.
      availableReplicas int32 #5 "Pods that have been ready for long enough.
      terminatingReplicas int32? #7 "Pods that are stopping.
      observedGeneration int64 #3 "The generation that this was observed at.
      conditions []ReplicaSetCondition #6 merge(type) map(type) "What was last observed, one entry a type.
    type ReplicaSetCondition "One thing observed of a ReplicaSet.
      type string+ #1 "Which condition this is.
      status string+ #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status last changed.
      reason string #4 "One word for why, for programs.
      message string #5 "What happened, for people.
    type StatefulSet "Pods with names, an order and volumes of their own.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec StatefulSetSpec! #2 "What is asked for.
      status StatefulSetStatus+ #3 "What was last observed.
    type StatefulSetSpec "What a StatefulSet shall keep.
      replicas int32? #1 = 1 "How many pods there shall be.
      selector meta.LabelSelector?! #2 "Which pods belong to it; never changes.
      template core.PodTemplateSpec! #3 "What its pods are made from.
      volumeClaimTemplates []core.PersistentVolumeClaim #4 atomic "Claims that each pod gets of its own.
      serviceName string+ #5 "The headless Service that names its pods.
      podManagementPolicy string #6 = OrderedReady enum(OrderedReady|Parallel) "Whether pods come and go in \#
    order or all at once.
      updateStrategy StatefulSetUpdateStrategy+ #7 "How old pods are replaced by new ones.
      revisionHistoryLimit int32? #8 = 10 "How many old revisions are kept to roll back to.
      minReadySeconds int32 #9 "How long a pod must be ready before it counts as available.
      persistentVolumeClaimRetentionPolicy StatefulSetPersistentVolumeClaimRetentionPolicy? #10 = {} "When \#
    the claims of its pods are deleted.
      ordinals StatefulSetOrdinals? #11 "How its pods are numbered.
    type StatefulSetUpdateStrategy "How old pods are replaced.
      type string #1 enum(RollingUpdate|OnDelete|Recreate) "RollingUpdate, or OnDelete, which waits until \#
    somebody deletes them.
      rollingUpdate RollingUpdateStatefulSetStrategy? #2 "Which and how many at a time.
    type RollingUpdateStatefulSetStrategy "Which pods are replaced, and how many at a time.
      partition int32? #1 "Pods with a lower number stay as they are.
      maxUnavailable intstr? #2 "How many may be missing, a number or a share.
    type StatefulSetPersistentVolumeClaimRetentionPolicy "When claims are deleted.
      whenDeleted string #1 = Retain enum(Delete|Retain) "With the StatefulSet: Retain or Delete.
      whenScaled string #2 = Retain enum(Delete|Retain) "With pods that are too many: Retain or Delete.
    type StatefulSetOrdinals "How pods are numbered.
      start int32+ #1 "The first number.
    type StatefulSetStatus "How a StatefulSet stands.
      observedGeneration int64 #1 "The generation that this was observed at.
      replicas int32! #2 "Pods there are.
      readyReplicas int32 #3 "Pods that are ready.
      currentReplicas int32 #4 "Pods of the old revision.
      updatedReplicas int32 #5 "Pods of the new revision.
      currentRevision string #6 "The old revision.
      updateRevision string #7 "The new revision.
      collisionCount int32? #9 "How often a name made from the template was taken already.
      conditions []StatefulSetCondition #10 merge(type) map(type) "What was last observed, one entry a type.
      availableReplicas int32+ #11 "Pods that have been ready for long enough.
    type StatefulSetCondition "One thing observed of a StatefulSet.
      type string+ #1 "Which condition this is.
      status string+ #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status last changed.
      reason string #4 "One word for why, for programs.
      message string #5 "What happened, for people.
    type DaemonSet "One pod on every node, or on some.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec DaemonSetSpec! #2 "What is asked for.
      status DaemonSetStatus+ #3 "What was last observed.
    type DaemonSetSpec "What a DaemonSet shall keep.
      selector meta.LabelSelector?! #1 "Which pods belong to it; never changes.
      template core.PodTemplateSpec! #2 "What its pods are made from.
      updateStrategy DaemonSetUpdateStrategy+ #3 "How old pods are replaced by new ones.
      minReadySeconds int32 #4 "How long a pod must be ready before it counts as available.
      revisionHistoryLimit int32? #6 = 10 "How many old revisions are kept to roll back to.
    type DaemonSetUpdateStrategy "How old pods are replaced.
      type string #1 = RollingUpdate enum(RollingUpdate|OnDelete) "RollingUpdate, or OnDelete, which waits \#
    until somebody deletes them.
      rollingUpdate RollingUpdateDaemonSet? #2 "How many at a time.
    type RollingUpdateDaemonSet "How many pods are replaced at a time.
      maxUnavailable intstr? #1 "Nodes that may be without a pod, a number or a share.
      maxSurge intstr? #2 "Nodes that may have two, a number or a share.
    type DaemonSetStatus "How a DaemonSet stands.
      currentNumberScheduled int32! #1 "Nodes that have a pod and should.
      numberMisscheduled int32! #2 "Nodes that have a pod and should not.
      desiredNumberScheduled int32! #3 "Nodes that should have a pod.
      numberReady int32! #4 "Nodes whose pod is ready.
      observedGeneration int64 #5 "The generation that this was observed at.
      updatedNumberScheduled int32 #6 "Nodes whose pod is of the newest template.
      numberAvailable int32 #7 "Nodes whose pod has been ready for long enough.
      numberUnavailable int32 #8 "Nodes that should have a pod and have none available.
      collisionCount int32? #9 "How often a name made from the template was taken already.
      conditions []DaemonSetCondition #10 merge(type) map(type) "What was last observed, one entry a type.
    type DaemonSetCondition "One thing observed of a DaemonSet.
      type string+ #1 "Which condition this is.
      status string+ #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status last changed.
      reason string #4 "One word for why, for programs.
      message string #5 "What happened, for people.
    type ControllerRevision "A former state that a controller can go back to.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      data raw! #2 "The state.
      revision int64+ #3 "Its number; the highest is the newest.
    """#
}

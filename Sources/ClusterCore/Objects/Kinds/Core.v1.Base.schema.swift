// Core kinds that are neither pods nor storage nor network; the core group's list of kinds.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreBaseV1 = #"""
    group core - v1 io.k8s.api.core.v1
    kind Binding bindings ns verbs=create
    kind ComponentStatus componentstatuses short=cs verbs=get,list
    kind ConfigMap configmaps short=cm ns
    kind Endpoints endpoints short=ep ns
    kind Event events short=ev ns
    kind LimitRange limitranges short=limits ns
    kind Namespace namespaces short=ns sub=finalize,status nocollection
    kind Node nodes short=no sub=proxy,status
    kind PersistentVolumeClaim persistentvolumeclaims short=pvc ns sub=status
    kind PersistentVolume persistentvolumes short=pv sub=status
    kind Pod pods short=po cat=all ns \#
    sub=attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status
    kind PodTemplate podtemplates ns
    kind ReplicationController replicationcontrollers short=rc cat=all ns sub=scale,status
    kind ResourceQuota resourcequotas short=quota ns sub=status
    kind Secret secrets ns
    kind ServiceAccount serviceaccounts short=sa ns sub=token
    kind Service services short=svc cat=all ns sub=proxy,status
    type Namespace
      metadata meta.ObjectMeta #1
      spec NamespaceSpec+ #2
      status NamespaceStatus+ #3
    type NamespaceSpec
      finalizers []string #1 atomic
    type NamespaceStatus
      phase string #1 = Active enum(Active|Terminating)
      conditions []NamespaceCondition #2 merge(type) map(type)
    type NamespaceCondition
      type string! #1
      status string! #2
      lastTransitionTime time #4
      reason string #5
      message string #6
    type ConfigMap
      metadata meta.ObjectMeta #1
      immutable bool? #4
      data map[string] #2
      binaryData map[bytes] #3
    type Secret
      metadata meta.ObjectMeta #1
      immutable bool? #5
      data map[bytes] #2
      stringData map[string] #4
      type string #3 = Opaque
    type ServiceAccount
      metadata meta.ObjectMeta #1
      secrets []ObjectReference #2 merge(name) map(name)
      imagePullSecrets []LocalObjectReference #3 atomic
      automountServiceAccountToken bool? #4
    type ObjectReference
      kind string #1 "What this object is.
      namespace string #2
      name string #3
      uid string #4
      apiVersion string #5 "Group and version of this object's form.
      resourceVersion string #6
      fieldPath string #7
    type Event
      metadata meta.ObjectMeta! #1
      involvedObject ObjectReference! #2
      reason string #3
      message string #4
      source EventSource+ #5
      firstTimestamp time #6
      lastTimestamp time #7
      count int32 #8
      type string #9
      eventTime microtime #10
      series EventSeries? #11
      action string #12
      related ObjectReference? #13
      reportingComponent string+ #14
      reportingInstance string+ #15
    type EventSource
      component string #1
      host string #2
    type EventSeries
      count int32 #1
      lastObservedTime microtime #2
    type Binding
      metadata meta.ObjectMeta #1
      target ObjectReference! #2
    type ComponentStatus
      metadata meta.ObjectMeta #1
      conditions []ComponentCondition #2 merge(type) map(type)
    type ComponentCondition
      type string! #1
      status string! #2
      message string #3
      error string #4
    type PodTemplate
      metadata meta.ObjectMeta #1
      template PodTemplateSpec+ #2
    type ReplicationController
      metadata meta.ObjectMeta #1
      spec ReplicationControllerSpec+ #2
      status ReplicationControllerStatus+ #3
    type ReplicationControllerSpec
      replicas int32? #1 = 1
      minReadySeconds int32 #4
      selector map[string] #2 atomic
      template PodTemplateSpec? #3
    type ReplicationControllerStatus
      replicas int32! #1
      fullyLabeledReplicas int32 #2
      readyReplicas int32 #4
      availableReplicas int32 #5
      observedGeneration int64 #3
      conditions []ReplicationControllerCondition #6 merge(type) map(type)
    type ReplicationControllerCondition
      type string! #1
      status string! #2
      lastTransitionTime time #3
      reason string #4
      message string #5
    type ResourceQuota
      metadata meta.ObjectMeta #1
      spec ResourceQuotaSpec+ #2
      status ResourceQuotaStatus+ #3
    type ResourceQuotaSpec
      hard map[quantity] #1
      scopes []string #2 atomic \#
    enum(Terminating|NotTerminating|BestEffort|\#
    NotBestEffort|PriorityClass|CrossNamespacePodAffinity|VolumeAttributesClass)
      scopeSelector ScopeSelector? #3
    type ScopeSelector
      matchExpressions []ScopedResourceSelectorRequirement #1 atomic
    type ScopedResourceSelectorRequirement
      scopeName string! #1 \#
    enum(Terminating|NotTerminating|BestEffort|\#
    NotBestEffort|PriorityClass|CrossNamespacePodAffinity|VolumeAttributesClass)
      operator string! #2 enum(In|NotIn|Exists|DoesNotExist)
      values []string #3 atomic
    type ResourceQuotaStatus
      hard map[quantity] #1
      used map[quantity] #2
    type LimitRange
      metadata meta.ObjectMeta #1
      spec LimitRangeSpec+ #2
    type LimitRangeSpec
      limits []LimitRangeItem! #1 atomic
    type LimitRangeItem
      type string! #1
      max map[quantity] #2
      min map[quantity] #3
      default map[quantity] #4
      defaultRequest map[quantity] #5
      maxLimitRequestRatio map[quantity] #6
    """#
}

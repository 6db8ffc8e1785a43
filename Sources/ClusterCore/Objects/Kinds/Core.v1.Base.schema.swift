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
    type Namespace "A part of the cluster with names of its own.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec NamespaceSpec+ #2 "What is asked for.
      status NamespaceStatus+ #3 "What was last observed.
    type NamespaceSpec "What a namespace asks for.
      finalizers []string #1 atomic "Who must finish before the namespace may go.
    type NamespaceStatus "How a namespace stands.
      phase string #1 = Active enum(Active|Terminating) "Active, or Terminating while its content is deleted.
      conditions []NamespaceCondition #2 merge(type) map(type) "What was last observed, one entry a type.
    type NamespaceCondition "One thing observed of a namespace.
      type string! #1 "Which condition this is.
      status string! #2 "True, False or Unknown.
      lastTransitionTime time #4 "When the status last changed.
      reason string #5 "One word for why, for programs.
      message string #6 "What happened, for people.
    type ConfigMap "Configuration that pods read.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      immutable bool? #4 "Whether the data may never change again.
      data map[string] #2 "Entries of text, by key.
      binaryData map[bytes] #3 "Entries of bytes, by key; no key of data may be here.
    type Secret "Configuration that few may read.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      immutable bool? #5 "Whether the data may never change again.
      data map[bytes] #2 "Entries of bytes, by key.
      stringData map[string] #4 "Entries written as text; they move into data and win over it.
      type string #3 = Opaque "What it is for, so that programs know its keys.
    type ServiceAccount "Who a pod is to the API.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      secrets []ObjectReference #2 merge(name) map(name) "Secrets that its pods may use.
      imagePullSecrets []LocalObjectReference #3 atomic "Secrets with which its pods pull images.
      automountServiceAccountToken bool? #4 "Whether its pods are given its token.
    type ObjectReference atomic "Points at an object.
      kind string #1 "What the object is.
      namespace string #2 "The namespace of the object.
      name string #3 "The name of the object.
      uid string #4 "The uid of the object.
      apiVersion string #5 "The group and version of the object.
      resourceVersion string #6 "The version that is meant.
      fieldPath string #7 "Which part of the object is meant.
    type Event "Something that happened to an object; kept for an hour.
      metadata meta.ObjectMeta! #1 "Names, labels and what the server keeps about the object.
      involvedObject ObjectReference! #2 "The object it is about.
      reason string #3 "One word for why, for programs.
      message string #4 "What happened, for people.
      source EventSource+ #5 "Who told, in the older form.
      firstTimestamp time #6 "When it first happened.
      lastTimestamp time #7 "When it last happened.
      count int32 #8 "How often it happened.
      type string #9 "Normal or Warning.
      eventTime microtime #10 "When it first happened, to the microsecond.
      series EventSeries? #11 "How often and when it happened again.
      action string #12 "What was done or tried.
      related ObjectReference? #13 "A second object that it concerns.
      reportingComponent string+ #14 "The controller that told, such as kubelet.
      reportingInstance string+ #15 "Which instance of the controller.
    type EventSource "Who tells of an event.
      component string #1 "The program.
      host string #2 "The node that it runs on.
    type EventSeries "An event that happened again and again.
      count int32 #1 "How often so far.
      lastObservedTime microtime #2 "When last.
    type Binding "Puts a pod on a node.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      target ObjectReference! #2 "The node that the pod shall run on.
    type ComponentStatus "How a part of the control plane stands; kept for old clients.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      conditions []ComponentCondition #2 merge(type) map(type) "What was last observed, one entry a type.
    type ComponentCondition "Whether the part is healthy.
      type string! #1 "Healthy.
      status string! #2 "True, False or Unknown.
      message string #3 "What happened, for people.
      error string #4 "What went wrong.
    type PodTemplate "A template of pods that others may copy.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      template PodTemplateSpec+ #2 "What its pods are made from.
    type ReplicationController "Keeps a number of equal pods; ReplicaSets do the same and more.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ReplicationControllerSpec+ #2 "What is asked for.
      status ReplicationControllerStatus+ #3 "What was last observed.
    type ReplicationControllerSpec "What a ReplicationController shall keep.
      replicas int32? #1 = 1 "How many pods there shall be.
      minReadySeconds int32 #4 "How long a pod must be ready before it counts as available.
      selector map[string] #2 atomic "Labels of the pods that belong to it; the template's when empty.
      template PodTemplateSpec? #3 "What its pods are made from.
    type ReplicationControllerStatus "How a ReplicationController stands.
      replicas int32! #1 "Pods there are.
      fullyLabeledReplicas int32 #2 "Pods with all labels of the template.
      readyReplicas int32 #4 "Pods that are ready.
      availableReplicas int32 #5 "Pods that have been ready for long enough.
      observedGeneration int64 #3 "The generation that this was observed at.
      conditions []ReplicationControllerCondition #6 merge(type) map(type) "What was last observed, one \#
    entry a type.
    type ReplicationControllerCondition "One thing observed of a ReplicationController.
      type string! #1 "Which condition this is.
      status string! #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status last changed.
      reason string #4 "One word for why, for programs.
      message string #5 "What happened, for people.
    type ResourceQuota "How much one namespace may use.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ResourceQuotaSpec+ #2 "What is asked for.
      status ResourceQuotaStatus+ #3 "What was last observed.
    type ResourceQuotaSpec "The limits of a quota, and what counts.
      hard map[quantity] #1 "The most there may be of each resource.
      scopes []string #2 atomic \#
    enum(Terminating|NotTerminating|BestEffort|\#
    NotBestEffort|PriorityClass|CrossNamespacePodAffinity|VolumeAttributesClass) "Only objects that match \#
    all of these count.
      scopeSelector ScopeSelector? #3 "Only objects that this selects count.
    type ScopeSelector atomic "Selects what counts by scopes.
      matchExpressions []ScopedResourceSelectorRequirement #1 atomic "All must hold.
    type ScopedResourceSelectorRequirement "One demand on a scope.
      scopeName string! #1 \#
    enum(Terminating|NotTerminating|BestEffort|\#
    NotBestEffort|PriorityClass|CrossNamespacePodAffinity|VolumeAttributesClass) "The scope it is about.
      operator string! #2 enum(In|NotIn|Exists|DoesNotExist) "How the scope relates to the values.
      values []string #3 atomic "The values; none for Exists and DoesNotExist.
    type ResourceQuotaStatus "The limits in force and what is used.
      hard map[quantity] #1 "The limits that are in force.
      used map[quantity] #2 "How much of each is used.
    type LimitRange "Bounds and defaults of resources for one namespace.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec LimitRangeSpec+ #2 "What is asked for.
    type LimitRangeSpec "The bounds of a LimitRange.
      limits []LimitRangeItem! #1 atomic "Bounds, one entry a type.
    type LimitRangeItem "Bounds and defaults for one type of object.
      type string! #1 "Pod, Container or PersistentVolumeClaim.
      max map[quantity] #2 "The most of each resource.
      min map[quantity] #3 "The least of each resource.
      default map[quantity] #4 "Limits of those that set none.
      defaultRequest map[quantity] #5 "Requests of those that make none.
      maxLimitRequestRatio map[quantity] #6 "The most that a limit may be, as a multiple of the request.
    """#
}

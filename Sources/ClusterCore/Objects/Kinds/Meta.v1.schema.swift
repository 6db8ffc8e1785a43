// What all kinds share: metadata, options, status, selectors.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let metaV1 = #"""
    group meta meta.k8s.io v1 io.k8s.apimachinery.pkg.apis.meta.v1
    type ObjectMeta
      name string #1
      generateName string #2
      namespace string #3
      selfLink string #4
      uid string #5
      resourceVersion string #6
      generation int64 #7
      creationTimestamp time #8
      deletionTimestamp time? #9
      deletionGracePeriodSeconds int64? #10
      labels map[string] #11
      annotations map[string] #12
      ownerReferences []OwnerReference #13 merge(uid) map(uid)
      finalizers []string #14 merge set
      managedFields []ManagedFieldsEntry #17 atomic
    type OwnerReference atomic
      apiVersion string! #5
      kind string! #1
      name string! #3
      uid string! #4
      controller bool? #6
      blockOwnerDeletion bool? #7
    type ManagedFieldsEntry
      manager string #1
      operation string #2
      apiVersion string #3
      time time? #4
      fieldsType string #6
      fieldsV1 fields? #7
      subresource string #8
    type ListMeta
      selfLink string #1
      resourceVersion string #2
      continue string #3
      remainingItemCount int64? #4
      shardInfo ShardInfo? #5
    type ShardInfo
      selector string! #1
    type DeleteOptions
      gracePeriodSeconds int64? #1
      preconditions Preconditions? #2
      orphanDependents bool? #3
      propagationPolicy string? #4
      dryRun []string #5 atomic
      ignoreStoreReadErrorWithClusterBreakingPotential bool? #6
    type Preconditions
      uid string? #1
      resourceVersion string? #2
    type Status
      metadata ListMeta+ #1 "Names, labels and what the server keeps about the object.
      status string #2
      message string #3
      reason string #4
      details StatusDetails? #5
      code int32 #6
    type StatusDetails
      name string #1
      group string #2
      kind string #3
      uid string #6
      causes []StatusCause #4 atomic
      retryAfterSeconds int32 #5
    type StatusCause
      reason string #1
      message string #2
      field string #3
    type LabelSelector atomic
      matchLabels map[string] #1
      matchExpressions []LabelSelectorRequirement #2 atomic
    type LabelSelectorRequirement
      key string! #1
      operator string! #2
      values []string #3 atomic
    type Condition
      type string! #1
      status string! #2
      observedGeneration int64 #3
      lastTransitionTime time! #4
      reason string! #5
      message string! #6
    type FieldSelectorRequirement
      key string! #1
      operator string! #2
      values []string #3 atomic
    """#
}

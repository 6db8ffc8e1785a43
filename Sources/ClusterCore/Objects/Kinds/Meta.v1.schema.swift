// What all kinds share: metadata, options, status, selectors.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let metaV1 = #"""
    group meta meta.k8s.io v1 io.k8s.apimachinery.pkg.apis.meta.v1
    type ObjectMeta "What every object has.
      name string #1 "Its name, unique in its namespace.
      generateName string #2 "What a name is made from when none is given.
      namespace string #3 "The namespace it is in.
      selfLink string #4 "No longer filled in.
      uid string #5 "Its id; no other object ever has it.
      resourceVersion string #6 "The version it was read at; writes with an old one are refused.
      generation int64 #7 "Counts changes of what is asked for.
      creationTimestamp time #8 "When it was made.
      deletionTimestamp time? #9 "When it is to be gone.
      deletionGracePeriodSeconds int64? #10 "How long it may take to go.
      labels map[string] #11 "What it is selected by.
      annotations map[string] #12 "What programs and people note on it.
      ownerReferences []OwnerReference #13 merge(uid) map(uid) "Objects without which it is deleted.
      finalizers []string #14 merge set "Who must finish before it goes.
      managedFields []ManagedFieldsEntry #17 atomic "Who set which fields.
    type OwnerReference atomic "An object without which another is deleted.
      apiVersion string! #5 "The owner's group and version.
      kind string! #1 "What the owner is.
      name string! #3 "The owner's name.
      uid string! #4 "The owner's id.
      controller bool? #6 "Whether the owner controls the object.
      blockOwnerDeletion bool? #7 "Whether the owner waits for the object when it is deleted.
    type ManagedFieldsEntry "The fields that one writer set.
      manager string #1 "The writer.
      operation string #2 "Apply or Update.
      apiVersion string #3 "The version in which the fields are written.
      time time? #4 "When it last set any.
      fieldsType string #6 "The form of the fields: FieldsV1.
      fieldsV1 fields? #7 "The fields.
      subresource string #8 "The path that it wrote by.
    type ListMeta "What every list has.
      selfLink string #1 "No longer filled in.
      resourceVersion string #2 "The version it was read at; a watch may go on from it.
      continue string #3 "What to ask the next page with.
      remainingItemCount int64? #4 "How many follow on later pages.
      shardInfo ShardInfo? #5 "Which part of the list this is.
    type ShardInfo "Which part of a list is shown.
      selector string! #1 "What selects the part.
    type DeleteOptions "How an object is deleted.
      gracePeriodSeconds int64? #1 "How long it may take; zero for at once.
      preconditions Preconditions? #2 "What must hold, else nothing is deleted.
      orphanDependents bool? #3 "The older form of propagationPolicy.
      propagationPolicy string? #4 "Orphan, Background or Foreground: what becomes of its dependents.
      dryRun []string #5 atomic "All for a trial without effect.
      ignoreStoreReadErrorWithClusterBreakingPotential bool? #6 "Deletes what can no longer be read.
    type Preconditions "What must hold before a deletion.
      uid string? #1 "The id it must have.
      resourceVersion string? #2 "The version it must be at.
    type Status "How a request ended.
      metadata ListMeta+ #1 "What every list has.
      status string #2 "Success or Failure.
      message string #3 "What happened, for people.
      reason string #4 "One word for why, for programs.
      details StatusDetails? #5 "More, for programs.
      code int32 #6 "The status code of HTTP.
    type StatusDetails "More about how a request ended.
      name string #1 "The object it was about.
      group string #2 "The object's group.
      kind string #3 "What the object is.
      uid string #6 "The object's id.
      causes []StatusCause #4 atomic "What was wrong, one entry each.
      retryAfterSeconds int32 #5 "How long to wait before the next try.
    type StatusCause "One thing that was wrong.
      reason string #1 "One word for why, for programs.
      message string #2 "What is wrong, for people.
      field string #3 "The field that it is about.
    type LabelSelector atomic "Selects objects by labels; all of it must hold.
      matchLabels map[string] #1 "Labels they must have.
      matchExpressions []LabelSelectorRequirement #2 atomic "Further demands on labels.
    type LabelSelectorRequirement "One demand on labels.
      key string! #1 "The label.
      operator string! #2 "In, NotIn, Exists or DoesNotExist.
      values []string #3 atomic "The values; none for Exists and DoesNotExist.
    type Condition "One thing observed.
      type string! #1 "Which condition this is.
      status string! #2 "True, False or Unknown.
      observedGeneration int64 #3 "The generation that this was observed at.
      lastTransitionTime time! #4 "When the status last changed.
      reason string! #5 "One word for why, for programs.
      message string! #6 "What happened, for people.
    type FieldSelectorRequirement "One demand on a field.
      key string! #1 "The field.
      operator string! #2 "In, NotIn, Exists or DoesNotExist.
      values []string #3 atomic "The values; none for Exists and DoesNotExist.
    """#
}

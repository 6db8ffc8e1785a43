// What all kinds share: metadata, options, status, selectors.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let metaV1 = #"""
    group meta meta.k8s.io v1 io.k8s.apimachinery.pkg.apis.meta.v1
    type ObjectMeta "Standard object's metadata: what every object says about itself, and what the server keeps about it.
      name string #1 "Unique in its namespace and kind; it never changes.
      generateName string #2 "The beginning of a name that the server ends with five random letters.
      namespace string #3 "Where the object lives; empty for kinds of the whole cluster.
      selfLink string #4 "No longer filled in.
      uid string #5 "Tells this object from later ones of the same name.
      resourceVersion string #6 "Changes with every write; give it back to write only what you have read.
      generation int64 #7 "Counts changes of what is asked for.
      creationTimestamp time #8 "CreationTimestamp is a timestamp: when the server took the object in.
      deletionTimestamp time? #9 "When it will be or was asked to go; set by the server.
      deletionGracePeriodSeconds int64? #10 "How long it may take to go.
      labels map[string] #11 "Names and values that selectors choose by.
      annotations map[string] #12 "Notes of tools and people; nothing is chosen by them.
      ownerReferences []OwnerReference #13 merge(uid) map(uid) "Objects that this one goes with.
      finalizers []string #14 merge set "What must be done before it goes; whoever did it takes its line off.
      managedFields []ManagedFieldsEntry #17 atomic "Who set which fields.
    type OwnerReference atomic "An object that this one belongs to.
      apiVersion string! #5 "Group and version of the owner.
      kind string! #1 "Kind of the owner.
      name string! #3 "Name of the owner.
      uid string! #4 "The owner itself, not another of its name.
      controller bool? #6 "Whether the owner manages this object; one owner may.
      blockOwnerDeletion bool? #7 "Keeps the owner from going first when its dependents are to go before it.
    type ManagedFieldsEntry "Fields that one writer set in one way.
      manager string #1 "Who wrote.
      operation string #2 "Apply or Update.
      apiVersion string #3 "The version whose fields these are.
      time time? #4 "When a field came or changed last.
      fieldsType string #6 "How the fields are written down: FieldsV1.
      fieldsV1 fields? #7 "The fields.
      subresource string #8 "The path they were written through, if not the object's own.
    type ListMeta "What a list says about itself.
      selfLink string #1 "No longer filled in.
      resourceVersion string #2 "The state of the store that the list shows; a watch may begin there.
      continue string #3 "Asks for the next page; empty on the last.
      remainingItemCount int64? #4 "How many objects follow, when that is known.
      shardInfo ShardInfo? #5 "Which part of all objects the list holds.
    type ShardInfo "A part of all objects.
      selector string! #1 "What chose the part.
    type DeleteOptions "How an object is to go.
      gracePeriodSeconds int64? #1 "How long it may take; zero is at once.
      preconditions Preconditions? #2 "What must hold, or nothing is deleted.
      orphanDependents bool? #3 "Old form of propagationPolicy.
      propagationPolicy string? #4 "What becomes of dependents: Orphan, Background or Foreground.
      dryRun []string #5 atomic "All: say what would happen and do nothing.
      ignoreStoreReadErrorWithClusterBreakingPotential bool? #6 "Delete even what can no longer be read.
    type Preconditions "What must hold before a deletion.
      uid string? #1 "The object must have this uid.
      resourceVersion string? #2 "The object must have this version.
    type Status "An answer that is no object: how it went.
      metadata ListMeta+ #1 "About the answer; empty for most.
      status string #2 "Success or Failure.
      message string #3 "What people read.
      reason string #4 "What programs read: one word for the cause.
      details StatusDetails? #5 "More about the cause.
      code int32 #6 "The HTTP status.
    type StatusDetails "More about why something failed.
      name string #1 "The object's name.
      group string #2 "Its group.
      kind string #3 "Its kind or resource.
      uid string #6 "Its uid.
      causes []StatusCause #4 atomic "What is wrong, field by field.
      retryAfterSeconds int32 #5 "When to try again.
    type StatusCause "One thing that is wrong.
      reason string #1 "One word for it.
      message string #2 "What people read.
      field string #3 "Where it is wrong.
    type LabelSelector atomic "Chooses objects by their labels; what is empty chooses all.
      matchLabels map[string] #1 "Labels that must have these values.
      matchExpressions []LabelSelectorRequirement #2 atomic "Conditions that must all hold.
    type LabelSelectorRequirement "A condition on one label.
      key string! #1 "The label.
      operator string! #2 "In, NotIn, Exists or DoesNotExist.
      values []string #3 atomic "Values for In and NotIn.
    type Condition "One thing that is true, false or unknown of an object.
      type string! #1 "What it is about.
      status string! #2 "True, False or Unknown.
      observedGeneration int64 #3 "The generation that was looked at.
      lastTransitionTime time! #4 "When the status changed last.
      reason string! #5 "One word for why.
      message string! #6 "What people read.
    type FieldSelectorRequirement "A condition on one field.
      key string! #1 "The field.
      operator string! #2 "In, NotIn, Exists or DoesNotExist.
      values []string #3 atomic "Values for In and NotIn.
    """#
}

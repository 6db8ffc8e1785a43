// How requests share the server.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let flowcontrolV1 = #"""
    group flowcontrol flowcontrol.apiserver.k8s.io v1 io.k8s.api.flowcontrol.v1
    kind FlowSchema flowschemas sub=status
    kind PriorityLevelConfiguration prioritylevelconfigurations sub=status
    type FlowSchema "Requests that flow together, and their priority.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec FlowSchemaSpec! #2 "Which requests, and what they get.
      status FlowSchemaStatus+ #3 "Whether it is in order.
    type FlowSchemaSpec "Which requests, and what they get.
      priorityLevelConfiguration PriorityLevelConfigurationReference! #1 "The level they have.
      matchingPrecedence int32+ #2 = 1000 "Which schema is tried first: the lowest number, 1 to 10000.
      distinguisherMethod FlowDistinguisherMethod? #3 "What makes a flow of its own among them.
      rules []PolicyRulesWithSubjects #4 atomic "The requests; one rule must match.
    type PriorityLevelConfigurationReference "A priority level.
      name string! #1 "Its name.
    type FlowDistinguisherMethod "What makes a flow of its own.
      type string! #1 "ByUser or ByNamespace.
    type PolicyRulesWithSubjects "Requests by who makes them and what for.
      subjects []Subject! #1 atomic "Who makes them; one must match.
      resourceRules []ResourcePolicyRule #2 atomic "What for: objects of the API.
      nonResourceRules []NonResourcePolicyRule #3 atomic "What for: other paths.
    type Subject "A user, a group or a service account.
      kind string! #1 "User, Group or ServiceAccount.
      user UserSubject? #2 "The user.
      group GroupSubject? #3 "The group.
      serviceAccount ServiceAccountSubject? #4 "The service account.
    type UserSubject "A user.
      name string! #1 "The name; * is every user.
    type GroupSubject "A group.
      name string! #1 "The name; * is every group.
    type ServiceAccountSubject "A service account.
      namespace string! #1 "Its namespace.
      name string! #2 "The name; * is all of the namespace.
    type ResourcePolicyRule "Requests for objects of the API.
      verbs []string! #1 set "The verbs; * is all.
      apiGroups []string! #2 set "Groups of the resources; * is all.
      resources []string! #3 set "The resources; * is all.
      clusterScope bool #4 "Also requests without a namespace.
      namespaces []string+ #5 set "The namespaces; * is all.
    type NonResourcePolicyRule "Requests for other paths.
      verbs []string! #1 set "The verbs; * is all.
      nonResourceURLs []string! #6 set "The paths; * is all, alone or at the end.
    type FlowSchemaStatus "Whether a schema is in order.
      conditions []FlowSchemaCondition #1 merge(type) map(type) "Dangling: its level does not exist.
    type FlowSchemaCondition "One thing that is true, false or unknown of it.
      type string! #1 "What it is about.
      status string #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status changed last.
      reason string #4 "One word for why.
      message string #5 "What people read.
    type PriorityLevelConfiguration "How much of the server some requests may take.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PriorityLevelConfigurationSpec! #2 "How much.
      status PriorityLevelConfigurationStatus+ #3 "Whether it is in order.
    type PriorityLevelConfigurationSpec "How much of the server some requests may take.
      type string! #1 "Limited, or Exempt from all limits.
      limited LimitedPriorityLevelConfiguration? #2 "The limits.
      exempt ExemptPriorityLevelConfiguration? #3 "What exempt requests leave to others.
    type LimitedPriorityLevelConfiguration "The limits of a level.
      nominalConcurrencyShares int32? #1 = 30 "Its share of the server among all levels.
      limitResponse LimitResponse! #2 "What happens to requests beyond the limit.
      lendablePercent int32? #3 = 0 "How much others may borrow of it when it is idle.
      borrowingLimitPercent int32? #4 "How much it may borrow of others; none is no limit.
    type LimitResponse "What happens to requests beyond the limit.
      type string! #1 "Queue or Reject.
      queuing QueuingConfiguration? #2 "How they wait.
    type QueuingConfiguration "How requests wait.
      queues int32+ #1 = 64 "How many queues there are.
      handSize int32+ #2 = 8 "How many queues a flow may use; few keep a busy flow from the others.
      queueLengthLimit int32+ #3 = 50 "How many may wait in a queue; more are refused.
    type ExemptPriorityLevelConfiguration "What exempt requests leave to others.
      nominalConcurrencyShares int32? #1 = 0 "Their share, as far as others count with it.
      lendablePercent int32? #2 = 0 "How much others may borrow of it.
    type PriorityLevelConfigurationStatus "Whether a level is in order.
      conditions []PriorityLevelConfigurationCondition #1 merge(type) map(type) "How the level is.
    type PriorityLevelConfigurationCondition "One thing that is true, false or unknown of it.
      type string! #1 "What it is about.
      status string #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status changed last.
      reason string #4 "One word for why.
      message string #5 "What people read.
    """#
}

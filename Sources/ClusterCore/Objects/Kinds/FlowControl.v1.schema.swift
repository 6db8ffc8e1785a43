// How requests share the server.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let flowcontrolV1 = #"""
    group flowcontrol flowcontrol.apiserver.k8s.io v1 io.k8s.api.flowcontrol.v1
    kind FlowSchema flowschemas sub=status
    kind PriorityLevelConfiguration prioritylevelconfigurations sub=status
    type FlowSchema
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec FlowSchemaSpec! #2
      status FlowSchemaStatus+ #3
    type FlowSchemaSpec
      priorityLevelConfiguration PriorityLevelConfigurationReference! #1
      matchingPrecedence int32+ #2 = 1000
      distinguisherMethod FlowDistinguisherMethod? #3
      rules []PolicyRulesWithSubjects #4 atomic
    type PriorityLevelConfigurationReference
      name string! #1
    type FlowDistinguisherMethod
      type string! #1
    type PolicyRulesWithSubjects
      subjects []Subject! #1 atomic
      resourceRules []ResourcePolicyRule #2 atomic
      nonResourceRules []NonResourcePolicyRule #3 atomic
    type Subject
      kind string! #1
      user UserSubject? #2
      group GroupSubject? #3
      serviceAccount ServiceAccountSubject? #4
    type UserSubject
      name string! #1
    type GroupSubject
      name string! #1
    type ServiceAccountSubject
      namespace string! #1
      name string! #2
    type ResourcePolicyRule
      verbs []string! #1 set
      apiGroups []string! #2 set
      resources []string! #3 set
      clusterScope bool #4
      namespaces []string+ #5 set
    type NonResourcePolicyRule
      verbs []string! #1 set
      nonResourceURLs []string! #6 set
    type FlowSchemaStatus
      conditions []FlowSchemaCondition #1 merge(type) map(type)
    type FlowSchemaCondition
      type string! #1
      status string #2
      lastTransitionTime time #3
      reason string #4
      message string #5
    type PriorityLevelConfiguration
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PriorityLevelConfigurationSpec! #2
      status PriorityLevelConfigurationStatus+ #3
    type PriorityLevelConfigurationSpec
      type string! #1
      limited LimitedPriorityLevelConfiguration? #2
      exempt ExemptPriorityLevelConfiguration? #3
    type LimitedPriorityLevelConfiguration
      nominalConcurrencyShares int32? #1 = 30
      limitResponse LimitResponse! #2
      lendablePercent int32? #3 = 0
      borrowingLimitPercent int32? #4
    type LimitResponse
      type string! #1
      queuing QueuingConfiguration? #2
    type QueuingConfiguration
      queues int32+ #1 = 64
      handSize int32+ #2 = 8
      queueLengthLimit int32+ #3 = 50
    type ExemptPriorityLevelConfiguration
      nominalConcurrencyShares int32? #1 = 0
      lendablePercent int32? #2 = 0
    type PriorityLevelConfigurationStatus
      conditions []PriorityLevelConfigurationCondition #1 merge(type) map(type)
    type PriorityLevelConfigurationCondition
      type string! #1
      status string #2
      lastTransitionTime time #3
      reason string #4
      message string #5
    """#
}

// Webhooks and policies that judge or change requests.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let admissionregistrationV1 = #"""
    group admissionregistration admissionregistration.k8s.io v1 io.k8s.api.admissionregistration.v1
    kind MutatingAdmissionPolicy mutatingadmissionpolicies cat=api-extensions
    kind MutatingAdmissionPolicyBinding mutatingadmissionpolicybindings cat=api-extensions
    kind MutatingWebhookConfiguration mutatingwebhookconfigurations cat=api-extensions
    kind ValidatingAdmissionPolicy validatingadmissionpolicies cat=api-extensions sub=status
    kind ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings cat=api-extensions
    kind ValidatingWebhookConfiguration validatingwebhookconfigurations cat=api-extensions
    type MutatingWebhookConfiguration
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      webhooks []MutatingWebhook #2 merge(name) map(name)
    type MutatingWebhook
      name string! #1
      clientConfig WebhookClientConfig! #2
      rules []RuleWithOperations #3 atomic
      failurePolicy string? #4 = Fail enum(Ignore|Fail)
      matchPolicy string? #9 = Equivalent enum(Exact|Equivalent)
      namespaceSelector meta.LabelSelector? #5 = {}
      objectSelector meta.LabelSelector? #11 = {}
      sideEffects string?! #6 enum(Unknown|None|Some|NoneOnDryRun)
      timeoutSeconds int32? #7 = 10
      admissionReviewVersions []string! #8 atomic
      reinvocationPolicy string? #10 = Never enum(Never|IfNeeded)
      matchConditions []MatchCondition #12 merge(name) map(name)
    type WebhookClientConfig
      url string? #3
      service ServiceReference? #1
      caBundle bytes #2
    type ServiceReference
      namespace string! #1
      name string! #2
      path string? #3
      port int32? #4 = 443
    type RuleWithOperations
      operations []string #1 enum(*|CREATE|UPDATE|DELETE|CONNECT) atomic
      ~ Rule #2
    type Rule
      apiGroups []string #1 atomic
      apiVersions []string #2 atomic
      resources []string #3 atomic
      scope string? #4 = * enum(Cluster|Namespaced|*)
    type MatchCondition
      name string! #1
      expression string! #2
    type ValidatingWebhookConfiguration
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      webhooks []ValidatingWebhook #2 merge(name) map(name)
    type ValidatingWebhook
      name string! #1
      clientConfig WebhookClientConfig! #2
      rules []RuleWithOperations #3 atomic
      failurePolicy string? #4 = Fail enum(Ignore|Fail)
      matchPolicy string? #9 = Equivalent enum(Exact|Equivalent)
      namespaceSelector meta.LabelSelector? #5 = {}
      objectSelector meta.LabelSelector? #10 = {}
      sideEffects string?! #6 enum(Unknown|None|Some|NoneOnDryRun)
      timeoutSeconds int32? #7 = 10
      admissionReviewVersions []string! #8 atomic
      matchConditions []MatchCondition #11 merge(name) map(name)
    type ValidatingAdmissionPolicy
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ValidatingAdmissionPolicySpec+ #2
      status ValidatingAdmissionPolicyStatus+ #3
    type ValidatingAdmissionPolicySpec
      paramKind ParamKind? #1
      matchConstraints MatchResources? #2
      validations []Validation #3 atomic
      failurePolicy string? #4 = Fail enum(Ignore|Fail)
      auditAnnotations []AuditAnnotation #5 atomic
      matchConditions []MatchCondition #6 merge(name) map(name)
      variables []Variable #7 merge(name) map(name)
    type ParamKind atomic
      apiVersion string #1
      kind string #2
    type MatchResources atomic
      namespaceSelector meta.LabelSelector? #1 = {}
      objectSelector meta.LabelSelector? #2 = {}
      resourceRules []NamedRuleWithOperations #3 atomic
      excludeResourceRules []NamedRuleWithOperations #4 atomic
      matchPolicy string? #7 = Equivalent enum(Exact|Equivalent)
    type NamedRuleWithOperations atomic
      resourceNames []string #1 atomic
      ~ RuleWithOperations #2
    type Validation
      expression string! #1
      message string #2
      reason string? #3
      messageExpression string #4
    type AuditAnnotation
      key string! #1
      valueExpression string! #2
    type Variable atomic
      name string! #1
      expression string! #2
    type ValidatingAdmissionPolicyStatus
      observedGeneration int64 #1
      typeChecking TypeChecking? #2
      conditions []meta.Condition #3 map(type)
    type TypeChecking
      expressionWarnings []ExpressionWarning #1 atomic
    type ExpressionWarning
      fieldRef string! #2
      warning string! #3
    type ValidatingAdmissionPolicyBinding
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ValidatingAdmissionPolicyBindingSpec! #2
    type ValidatingAdmissionPolicyBindingSpec
      policyName string! #1
      paramRef ParamRef? #2
      matchResources MatchResources? #3
      validationActions []string! #4 enum(Deny|Warn|Audit) set
    type ParamRef atomic
      name string #1
      namespace string #2
      selector meta.LabelSelector? #3
      parameterNotFoundAction string? #4
    type MutatingAdmissionPolicy
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec MutatingAdmissionPolicySpec+ #2
    type MutatingAdmissionPolicySpec
      paramKind ParamKind? #1
      matchConstraints MatchResources? #2
      variables []Variable #3 atomic
      mutations []Mutation #4 atomic
      failurePolicy string? #5 = Fail enum(Ignore|Fail)
      matchConditions []MatchCondition #6 merge(name) map(name)
      reinvocationPolicy string #7 enum(Never|IfNeeded)
    type Mutation
      patchType string! #2 enum(ApplyConfiguration|JSONPatch)
      applyConfiguration ApplyConfiguration? #3
      jsonPatch JSONPatch? #4
    type ApplyConfiguration
      expression string #1
    type JSONPatch
      expression string #1
    type MutatingAdmissionPolicyBinding
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec MutatingAdmissionPolicyBindingSpec+ #2
    type MutatingAdmissionPolicyBindingSpec
      policyName string #1
      paramRef ParamRef? #2
      matchResources MatchResources? #3
    """#
}

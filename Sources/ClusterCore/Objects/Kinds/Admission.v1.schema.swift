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
    type MutatingWebhookConfiguration "Webhooks that may change objects before they are stored.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      webhooks []MutatingWebhook #2 merge(name) map(name) "The webhooks.
    type MutatingWebhook "A webhook that may change objects.
      name string! #1 "Its name, a domain of three segments at least.
      clientConfig WebhookClientConfig! #2 "Where it is.
      rules []RuleWithOperations #3 atomic "Which requests it is asked about.
      failurePolicy string? #4 = Fail enum(Ignore|Fail) "What happens when it does not answer: Fail or Ignore.
      matchPolicy string? #9 = Equivalent enum(Exact|Equivalent) \#
    "Equivalent: also asked when an object is written in another version. Exact: not.
      namespaceSelector meta.LabelSelector? #5 = {} "Only objects in these namespaces.
      objectSelector meta.LabelSelector? #11 = {} "Only objects with these labels, before or after.
      sideEffects string?! #6 enum(Unknown|None|Some|NoneOnDryRun) \#
    "What else it changes: None, or NoneOnDryRun.
      timeoutSeconds int32? #7 = 10 "How long to wait for it; 1 to 30.
      admissionReviewVersions []string! #8 atomic "Versions of the question that it understands.
      reinvocationPolicy string? #10 = Never enum(Never|IfNeeded) \#
    "Whether it is asked again when another changed the object: Never or IfNeeded.
      matchConditions []MatchCondition #12 merge(name) map(name) \#
    "Conditions in CEL that must all hold for it to be asked.
    type WebhookClientConfig "Where a webhook is: a URL or a Service.
      url string? #3 "https://host:port/path.
      service ServiceReference? #1 "A Service of the cluster.
      caBundle bytes #2 "Roots its certificate is checked with, in PEM; the system's if none.
    type ServiceReference "A Service of the cluster.
      namespace string! #1 "Its namespace.
      name string! #2 "Its name.
      path string? #3 "The path that is asked.
      port int32? #4 = 443 "Its port; 443 if not given.
    type RuleWithOperations "Which requests are meant.
      operations []string #1 enum(*|CREATE|UPDATE|DELETE|CONNECT) atomic \#
    "CREATE, UPDATE, DELETE, CONNECT; * is all.
      ~ Rule #2
    type Rule "Which resources are meant.
      apiGroups []string #1 atomic "Their groups; "" is core, * is all.
      apiVersions []string #2 atomic "Their versions; * is all.
      resources []string #3 atomic "The resources, also pods/log; * is all but parts, */* is all.
      scope string? #4 = * enum(Cluster|Namespaced|*) "Cluster, Namespaced or * for both.
    type MatchCondition "A condition in CEL.
      name string! #1 "Its name, for messages.
      expression string! #2 "The condition over object, oldObject, request and authorizer.
    type ValidatingWebhookConfiguration "Webhooks that may refuse requests.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      webhooks []ValidatingWebhook #2 merge(name) map(name) "The webhooks.
    type ValidatingWebhook "A webhook that may refuse requests.
      name string! #1 "Its name, a domain of three segments at least.
      clientConfig WebhookClientConfig! #2 "Where it is.
      rules []RuleWithOperations #3 atomic "Which requests it is asked about.
      failurePolicy string? #4 = Fail enum(Ignore|Fail) "What happens when it does not answer: Fail or Ignore.
      matchPolicy string? #9 = Equivalent enum(Exact|Equivalent) \#
    "Equivalent: also asked when an object is written in another version. Exact: not.
      namespaceSelector meta.LabelSelector? #5 = {} "Only objects in these namespaces.
      objectSelector meta.LabelSelector? #10 = {} "Only objects with these labels, before or after.
      sideEffects string?! #6 enum(Unknown|None|Some|NoneOnDryRun) \#
    "What else it changes: None, or NoneOnDryRun.
      timeoutSeconds int32? #7 = 10 "How long to wait for it; 1 to 30.
      admissionReviewVersions []string! #8 atomic "Versions of the question that it understands.
      matchConditions []MatchCondition #11 merge(name) map(name) \#
    "Conditions in CEL that must all hold for it to be asked.
    type ValidatingAdmissionPolicy "Conditions in CEL on requests; a binding puts them into force.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ValidatingAdmissionPolicySpec+ #2 "The conditions.
      status ValidatingAdmissionPolicyStatus+ #3 "What is wrong with them.
    type ValidatingAdmissionPolicySpec "Conditions that requests must meet.
      paramKind ParamKind? #1 "The kind of objects that it takes settings from.
      matchConstraints MatchResources? #2 "Which requests it judges.
      validations []Validation #3 atomic "The conditions.
      failurePolicy string? #4 = Fail enum(Ignore|Fail) \#
    "What happens when a condition cannot be judged: Fail or Ignore.
      auditAnnotations []AuditAnnotation #5 atomic "What is written into the audit log.
      matchConditions []MatchCondition #6 merge(name) map(name) \#
    "Conditions that must hold for it to judge at all.
      variables []Variable #7 merge(name) map(name) "Values that conditions may name.
    type ParamKind atomic "A kind of objects that settings are taken from.
      apiVersion string #1 "Its group and version.
      kind string #2 "Its kind.
    type MatchResources atomic "Which requests are meant.
      namespaceSelector meta.LabelSelector? #1 = {} "Only objects in these namespaces.
      objectSelector meta.LabelSelector? #2 = {} "Only objects with these labels, before or after.
      resourceRules []NamedRuleWithOperations #3 atomic "Requests that are meant.
      excludeResourceRules []NamedRuleWithOperations #4 atomic "Requests that are not, whatever else says.
      matchPolicy string? #7 = Equivalent enum(Exact|Equivalent) \#
    "Equivalent: also in other versions. Exact: only as written.
    type NamedRuleWithOperations atomic "Which requests are meant, also by name.
      resourceNames []string #1 atomic "Only objects of these names; none is all.
      ~ RuleWithOperations #2
    type Validation "A condition and what to say when it does not hold.
      expression string! #1 "The condition in CEL.
      message string #2 "What people read; one line.
      reason string? #3 "One word for the refusal: Forbidden, Invalid, Unauthorized, RequestEntityTooLarge.
      messageExpression string #4 "The message, put together in CEL.
    type AuditAnnotation "A note for the audit log.
      key string! #1 "Its name, below the policy's.
      valueExpression string! #2 "Its value in CEL; null writes nothing.
    type Variable atomic "A value that conditions may name.
      name string! #1 "Its name: variables.NAME.
      expression string! #2 "Its value in CEL.
    type ValidatingAdmissionPolicyStatus "What is wrong with a policy.
      observedGeneration int64 #1 "The generation that was looked at.
      typeChecking TypeChecking? #2 "What the types say against its expressions.
      conditions []meta.Condition #3 map(type) "How the policy is.
    type TypeChecking "What the types say against expressions.
      expressionWarnings []ExpressionWarning #1 atomic "One entry for each expression.
    type ExpressionWarning "What is wrong with one expression.
      fieldRef string! #2 "Where the expression is.
      warning string! #3 "What people read.
    type ValidatingAdmissionPolicyBinding "Puts a policy into force.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ValidatingAdmissionPolicyBindingSpec! #2 "Which, where and how.
    type ValidatingAdmissionPolicyBindingSpec "Which policy is in force, where and how.
      policyName string! #1 "The policy.
      paramRef ParamRef? #2 "The objects whose settings are used.
      matchResources MatchResources? #3 "Only these requests of those the policy judges.
      validationActions []string! #4 enum(Deny|Warn|Audit) set "Deny, Warn or Audit; not Deny with Warn.
    type ParamRef atomic "Objects whose settings are used.
      name string #1 "One object; not with a selector.
      namespace string #2 "Its namespace; the judged object's if not given.
      selector meta.LabelSelector? #3 "All objects with these labels.
      parameterNotFoundAction string? #4 "What happens when there is none: Allow or Deny.
    type MutatingAdmissionPolicy "Changes in CEL to objects; a binding puts them into force.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec MutatingAdmissionPolicySpec+ #2 "The changes.
    type MutatingAdmissionPolicySpec "Changes to objects before they are stored.
      paramKind ParamKind? #1 "The kind of objects that it takes settings from.
      matchConstraints MatchResources? #2 "Which requests it changes.
      variables []Variable #3 atomic "Values that expressions may name.
      mutations []Mutation #4 atomic "The changes, in their order.
      failurePolicy string? #5 = Fail enum(Ignore|Fail) \#
    "What happens when a change cannot be made: Fail or Ignore.
      matchConditions []MatchCondition #6 merge(name) map(name) \#
    "Conditions that must hold for it to change anything.
      reinvocationPolicy string #7 enum(Never|IfNeeded) \#
    "Whether it runs again after others: Never or IfNeeded.
    type Mutation "One change, in one of two forms.
      patchType string! #2 enum(ApplyConfiguration|JSONPatch) "ApplyConfiguration or JSONPatch.
      applyConfiguration ApplyConfiguration? #3 "The change as fields that are merged.
      jsonPatch JSONPatch? #4 "The change as steps of a JSON patch.
    type ApplyConfiguration "A change as fields that are merged.
      expression string #1 "The fields in CEL: Object{spec: ...}.
    type JSONPatch "A change as steps.
      expression string #1 "The list of steps in CEL.
    type MutatingAdmissionPolicyBinding "Puts a policy into force.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec MutatingAdmissionPolicyBindingSpec+ #2 "Which and where.
    type MutatingAdmissionPolicyBindingSpec "Which policy is in force, and where.
      policyName string #1 "The policy.
      paramRef ParamRef? #2 "The objects whose settings are used.
      matchResources MatchResources? #3 "Only these requests of those the policy changes.
    """#
}

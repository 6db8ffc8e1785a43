// Custom resources and the APIs of other servers.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let apiextensionsV1 = #"""
    group apiextensions apiextensions.k8s.io v1 io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1
    kind CustomResourceDefinition customresourcedefinitions short=crd,crds cat=api-extensions sub=status
    type CustomResourceDefinition
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CustomResourceDefinitionSpec! #2
      status CustomResourceDefinitionStatus+ #3
    type CustomResourceDefinitionSpec
      group string! #1
      names CustomResourceDefinitionNames! #3
      scope string! #4
      versions []CustomResourceDefinitionVersion! #7 atomic
      conversion CustomResourceConversion? #9
      preserveUnknownFields bool #10
    type CustomResourceDefinitionNames
      plural string! #1
      singular string #2
      shortNames []string #3 atomic
      kind string! #4
      listKind string #5
      categories []string #6 atomic
    type CustomResourceDefinitionVersion
      name string! #1
      served bool! #2
      storage bool! #3
      deprecated bool #7
      deprecationWarning string? #8
      schema CustomResourceValidation? #4
      subresources CustomResourceSubresources? #5
      additionalPrinterColumns []CustomResourceColumnDefinition #6 atomic
      selectableFields []SelectableField #9 atomic
    type CustomResourceValidation
      openAPIV3Schema JSONSchemaProps? #1
    type JSONSchemaProps
      id string #1
      $schema string #2
      $ref string? #3
      description string #4
      type string #5
      format string #6
      title string #7
      default raw? #8
      maximum float? #9
      exclusiveMaximum bool #10
      minimum float? #11
      exclusiveMinimum bool #12
      maxLength int64? #13
      minLength int64? #14
      pattern string #15
      maxItems int64? #16
      minItems int64? #17
      uniqueItems bool #18
      multipleOf float? #19
      enum []raw #20 atomic
      maxProperties int64? #21
      minProperties int64? #22
      required []string #23 atomic
      items either[JSONSchemaProps|[]JSONSchemaProps]? #24
      allOf []JSONSchemaProps #25 atomic
      oneOf []JSONSchemaProps #26 atomic
      anyOf []JSONSchemaProps #27 atomic
      not JSONSchemaProps? #28
      properties map[JSONSchemaProps] #29
      additionalProperties either[JSONSchemaProps|bool]? #30
      patternProperties map[JSONSchemaProps] #31
      dependencies map[either[JSONSchemaProps|[]string]] #32
      additionalItems either[JSONSchemaProps|bool]? #33
      definitions map[JSONSchemaProps] #34
      externalDocs ExternalDocumentation? #35
      example raw? #36
      nullable bool #37
      x-kubernetes-preserve-unknown-fields bool? #38
      x-kubernetes-embedded-resource bool #39
      x-kubernetes-int-or-string bool #40
      x-kubernetes-list-map-keys []string #41 atomic
      x-kubernetes-list-type string? #42
      x-kubernetes-map-type string? #43
      x-kubernetes-validations []ValidationRule #44 merge(rule) map(rule)
    type ExternalDocumentation
      description string #1
      url string #2
    type ValidationRule
      rule string! #1
      message string #2
      messageExpression string #3
      reason string? #4 enum(FieldValueRequired|FieldValueDuplicate|FieldValueInvalid|FieldValueForbidden)
      fieldPath string #5
      optionalOldSelf bool? #6
    type CustomResourceSubresources
      status CustomResourceSubresourceStatus? #1
      scale CustomResourceSubresourceScale? #2
    type CustomResourceSubresourceStatus
    type CustomResourceSubresourceScale
      specReplicasPath string! #1
      statusReplicasPath string! #2
      labelSelectorPath string? #3
    type CustomResourceColumnDefinition
      name string! #1
      type string! #2
      format string #3
      description string #4
      priority int32 #5
      jsonPath string! #6
    type SelectableField
      jsonPath string! #1
    type CustomResourceConversion
      strategy string! #1
      webhook WebhookConversion? #2
    type WebhookConversion
      clientConfig WebhookClientConfig? #2
      conversionReviewVersions []string! #3 atomic
    type WebhookClientConfig
      url string? #3
      service ServiceReference? #1
      caBundle bytes #2
    type ServiceReference
      namespace string! #1
      name string! #2
      path string? #3
      port int32? #4 = 443
    type CustomResourceDefinitionStatus
      conditions []CustomResourceDefinitionCondition+ #1 map(type)
      acceptedNames CustomResourceDefinitionNames+ #2
      storedVersions []string+ #3 atomic
      observedGeneration int64 #4
    type CustomResourceDefinitionCondition
      type string! #1
      status string! #2
      lastTransitionTime time #3
      reason string #4
      message string #5
      observedGeneration int64 #6
    """#

  static let apiregistrationV1 = #"""
    group apiregistration apiregistration.k8s.io v1 io.k8s.kube-aggregator.pkg.apis.apiregistration.v1
    kind APIService apiservices cat=api-extensions sub=status
    type APIService
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec APIServiceSpec+ #2
      status APIServiceStatus+ #3
    type APIServiceSpec
      service ServiceReference? #1
      group string #2
      version string #3
      insecureSkipTLSVerify bool #4
      caBundle bytes #5
      groupPriorityMinimum int32! #7
      versionPriority int32! #8
    type ServiceReference
      namespace string #1
      name string #2
      port int32? #3 = 443
    type APIServiceStatus
      conditions []APIServiceCondition #1 merge(type) map(type)
    type APIServiceCondition
      type string! #1
      status string! #2
      lastTransitionTime time #3
      reason string #4
      message string #5
    """#
}

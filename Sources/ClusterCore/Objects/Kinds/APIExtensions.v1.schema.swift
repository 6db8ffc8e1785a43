// Custom resources and the APIs of other servers.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let apiextensionsV1 = #"""
    group apiextensions apiextensions.k8s.io v1 io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1
    kind CustomResourceDefinition customresourcedefinitions short=crd,crds cat=api-extensions sub=status
    type CustomResourceDefinition "A kind of one's own, served like the built-in ones.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CustomResourceDefinitionSpec! #2 "Its names, versions and schemas.
      status CustomResourceDefinitionStatus+ #3 "Whether it is served.
    type CustomResourceDefinitionSpec "Names, versions and schemas of a kind.
      group string! #1 "Its group, such as example.com.
      names CustomResourceDefinitionNames! #3 "What it is called.
      scope string! #4 "Namespaced or Cluster.
      versions []CustomResourceDefinitionVersion! #7 atomic "Its versions; exactly one is stored.
      conversion CustomResourceConversion? #9 "How objects of one version become those of another.
      preserveUnknownFields bool #10 "Old form; must be false.
    type CustomResourceDefinitionNames "What a kind is called.
      plural string! #1 "In paths, in small letters.
      singular string #2 "On the command line; the kind in small letters if not given.
      shortNames []string #3 atomic "Short words for the command line.
      kind string! #4 "In objects, such as CronTab.
      listKind string #5 "Of lists; the kind and List if not given.
      categories []string #6 atomic "Groups of kinds it is listed with, such as all.
    type CustomResourceDefinitionVersion "One version of a kind.
      name string! #1 "Its name, such as v1 or v2beta1.
      served bool! #2 "Whether it can be used.
      storage bool! #3 "Whether objects are stored in it.
      deprecated bool #7 "Warns whoever uses it.
      deprecationWarning string? #8 "The words of the warning.
      schema CustomResourceValidation? #4 "What its objects look like.
      subresources CustomResourceSubresources? #5 "Parts with paths of their own.
      additionalPrinterColumns []CustomResourceColumnDefinition #6 atomic \#
    "What get shows; the age if nothing is given.
      selectableFields []SelectableField #9 atomic "Fields that field selectors may name; eight at most.
    type CustomResourceValidation "What objects look like.
      openAPIV3Schema JSONSchemaProps? #1 "The schema; what it does not name is dropped.
    type JSONSchemaProps "A JSON schema: what a value looks like.
      id string #1 "Not used.
      $schema string #2 "Not used.
      $ref string? #3 "Not allowed here.
      description string #4 "What explain shows.
      type string #5 "string, integer, number, boolean, array or object.
      format string #6 "More about the type, such as int32, date-time or byte.
      title string #7 "A heading.
      default raw? #8 "What it is when nothing is said.
      maximum float? #9 "The largest number.
      exclusiveMaximum bool #10 "The maximum itself is too large.
      minimum float? #11 "The smallest number.
      exclusiveMinimum bool #12 "The minimum itself is too small.
      maxLength int64? #13 "The most characters.
      minLength int64? #14 "The fewest characters.
      pattern string #15 "A regular expression that the text must contain.
      maxItems int64? #16 "The most elements.
      minItems int64? #17 "The fewest elements.
      uniqueItems bool #18 "Not allowed to be true; list types tell that elements differ.
      multipleOf float? #19 "The number is a multiple of this one.
      enum []raw #20 atomic "The values it may have.
      maxProperties int64? #21 "The most fields.
      minProperties int64? #22 "The fewest fields.
      required []string #23 atomic "Fields that must be there.
      items either[JSONSchemaProps|[]JSONSchemaProps]? #24 "What elements look like.
      allOf []JSONSchemaProps #25 atomic "All of these hold.
      oneOf []JSONSchemaProps #26 atomic "Exactly one of these holds.
      anyOf []JSONSchemaProps #27 atomic "One of these holds, or more.
      not JSONSchemaProps? #28 "This does not hold.
      properties map[JSONSchemaProps] #29 "Fields by name.
      additionalProperties either[JSONSchemaProps|bool]? #30 \#
    "What fields of free names look like, or whether there may be any.
      patternProperties map[JSONSchemaProps] #31 "Not allowed here.
      dependencies map[either[JSONSchemaProps|[]string]] #32 "Not allowed here.
      additionalItems either[JSONSchemaProps|bool]? #33 "Not allowed here.
      definitions map[JSONSchemaProps] #34 "Not allowed here.
      externalDocs ExternalDocumentation? #35 "Where more is written.
      example raw? #36 "An example.
      nullable bool #37 "Null is a value too.
      x-kubernetes-preserve-unknown-fields bool? #38 "Keeps fields that are not named.
      x-kubernetes-embedded-resource bool #39 "A whole object with kind and metadata.
      x-kubernetes-int-or-string bool #40 "A number or a text.
      x-kubernetes-list-map-keys []string #41 atomic "Fields that tell elements apart.
      x-kubernetes-list-type string? #42 "How a list is merged: atomic, set or map.
      x-kubernetes-map-type string? #43 "How an object is merged: granular or atomic.
      x-kubernetes-validations []ValidationRule #44 merge(rule) map(rule) "Conditions that must hold.
    type ExternalDocumentation "Where more is written.
      description string #1 "What is written there.
      url string #2 "Where.
    type ValidationRule "A condition that must hold.
      rule string! #1 "The condition in CEL; self is the value.
      message string #2 "What people read when it does not hold.
      messageExpression string #3 "The same, put together in CEL.
      reason string? #4 enum(FieldValueRequired|FieldValueDuplicate|FieldValueInvalid|FieldValueForbidden) \#
    "One word for what is wrong.
      fieldPath string #5 "The field that is blamed, such as .spec.a.
      optionalOldSelf bool? #6 "Asks also when there is no old value.
    type CustomResourceSubresources "Parts with paths of their own.
      status CustomResourceSubresourceStatus? #1 "Whether the status is written by itself.
      scale CustomResourceSubresourceScale? #2 "Where its size is, so that it can be scaled.
    type CustomResourceSubresourceStatus "The status is written by itself.
    type CustomResourceSubresourceScale "Where an object's size is.
      specReplicasPath string! #1 "Where the wanted size is, such as .spec.replicas.
      statusReplicasPath string! #2 "Where the real size is.
      labelSelectorPath string? #3 "Where the selector of its pods is, as text.
    type CustomResourceColumnDefinition "A column of get.
      name string! #1 "Its heading.
      type string! #2 "integer, number, string, boolean or date.
      format string #3 "More about the type; name marks the object's name.
      description string #4 "What it shows.
      priority int32 #5 "Above zero it shows with -o wide only.
      jsonPath string! #6 "Where its value is, such as .status.phase.
    type SelectableField "A field that selectors may name.
      jsonPath string! #1 "Where it is, such as .spec.color.
    type CustomResourceConversion "How objects of one version become those of another.
      strategy string! #1 "None: only the version's name changes. Webhook: a webhook does it.
      webhook WebhookConversion? #2 "The webhook.
    type WebhookConversion "A webhook that converts objects.
      clientConfig WebhookClientConfig? #2 "Where it is.
      conversionReviewVersions []string! #3 atomic "Versions of the question that it understands.
    type WebhookClientConfig "Where a webhook is: a URL or a Service.
      url string? #3 "https://host:port/path.
      service ServiceReference? #1 "A Service of the cluster.
      caBundle bytes #2 "Roots its certificate is checked with, in PEM; the system's if none.
    type ServiceReference "A Service of the cluster.
      namespace string! #1 "Its namespace.
      name string! #2 "Its name.
      path string? #3 "The path that is asked.
      port int32? #4 = 443 "Its port; 443 if not given.
    type CustomResourceDefinitionStatus "Whether a kind is served.
      conditions []CustomResourceDefinitionCondition+ #1 map(type) \#
    "NamesAccepted, Established, Terminating and others.
      acceptedNames CustomResourceDefinitionNames+ #2 "Names that are in use.
      storedVersions []string+ #3 atomic "Versions that objects may still be stored in.
      observedGeneration int64 #4 "The generation that was looked at.
    type CustomResourceDefinitionCondition "One thing that is true, false or unknown of a kind.
      type string! #1 "What it is about.
      status string! #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status changed last.
      reason string #4 "One word for why.
      message string #5 "What people read.
      observedGeneration int64 #6 "The generation that was looked at.
    """#

  static let apiregistrationV1 = #"""
    group apiregistration apiregistration.k8s.io v1 io.k8s.kube-aggregator.pkg.apis.apiregistration.v1
    kind APIService apiservices cat=api-extensions sub=status
    type APIService "A group version of the API, and who serves it. It is named version.group.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec APIServiceSpec+ #2 "The group version and its server.
      status APIServiceStatus+ #3 "Whether it answers.
    type APIServiceSpec "A group version and its server.
      service ServiceReference? #1 "The Service that requests are passed on to; none is this server.
      group string #2 "The group.
      version string #3 "The version.
      insecureSkipTLSVerify bool #4 "Passes on without checking the certificate; better not.
      caBundle bytes #5 "Roots its certificate is checked with, in PEM; the system's if none.
      groupPriorityMinimum int32! #7 "Groups with more come first; 1 to 20000.
      versionPriority int32! #8 "Versions with more come first; 1 to 1000.
    type ServiceReference "A Service of the cluster.
      namespace string #1 "Its namespace.
      name string #2 "Its name.
      port int32? #3 = 443 "Its port; 443 if not given.
    type APIServiceStatus "Whether a group version answers.
      conditions []APIServiceCondition #1 merge(type) map(type) "Available, or why not.
    type APIServiceCondition "One thing that is true, false or unknown of a group version.
      type string! #1 "What it is about.
      status string! #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status changed last.
      reason string #4 "One word for why.
      message string #5 "What people read.
    """#
}

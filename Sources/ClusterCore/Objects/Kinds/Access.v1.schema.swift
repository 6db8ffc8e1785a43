// Questions that are answered and not stored: who is this, what may they do.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let authenticationV1 = #"""
    group authentication authentication.k8s.io v1 io.k8s.api.authentication.v1
    kind TokenReview tokenreviews verbs=create
    kind SelfSubjectReview selfsubjectreviews verbs=create
    hidden TokenRequest
    type TokenReview
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec TokenReviewSpec! #2
      status TokenReviewStatus+ #3
    type TokenReviewSpec
      token string! #1
      audiences []string #2 atomic
    type TokenReviewStatus
      authenticated bool #1
      user UserInfo+ #2
      audiences []string #4 atomic
      error string #3
    type UserInfo
      username string #1
      uid string #2
      groups []string #3 atomic
      extra map[[]string] #4
    type TokenRequest
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec TokenRequestSpec+ #2
      status TokenRequestStatus+ #3
    type TokenRequestSpec
      audiences []string+ #1 atomic
      expirationSeconds int64? #4 = 3600
      boundObjectRef BoundObjectReference? #3
      attestations map[[]string] #5
    type BoundObjectReference
      kind string #1
      apiVersion string #2
      name string #3
      uid string #4
    type TokenRequestStatus
      token string+ #1
      expirationTimestamp time+ #2
    type SelfSubjectReview
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      status SelfSubjectReviewStatus+ #2
    type SelfSubjectReviewStatus
      userInfo UserInfo+ #1
    """#

  static let authorizationV1 = #"""
    group authorization authorization.k8s.io v1 io.k8s.api.authorization.v1
    kind LocalSubjectAccessReview localsubjectaccessreviews ns verbs=create
    kind SelfSubjectAccessReview selfsubjectaccessreviews verbs=create
    kind SelfSubjectRulesReview selfsubjectrulesreviews verbs=create
    kind SubjectAccessReview subjectaccessreviews verbs=create
    type SubjectAccessReview
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SubjectAccessReviewSpec! #2
      status SubjectAccessReviewStatus+ #3
    type SubjectAccessReviewSpec
      resourceAttributes ResourceAttributes? #1
      nonResourceAttributes NonResourceAttributes? #2
      user string #3
      groups []string #4 atomic
      extra map[[]string] #5
      uid string #6
    type ResourceAttributes
      namespace string #1
      verb string #2
      group string #3
      version string #4
      resource string #5
      subresource string #6
      name string #7
      fieldSelector FieldSelectorAttributes? #8
      labelSelector LabelSelectorAttributes? #9
    type FieldSelectorAttributes
      rawSelector string #1
      requirements []meta.FieldSelectorRequirement #2 atomic
    type LabelSelectorAttributes
      rawSelector string #1
      requirements []meta.LabelSelectorRequirement #2 atomic
    type NonResourceAttributes
      path string #1
      verb string #2
    type SubjectAccessReviewStatus
      allowed bool! #1
      denied bool #4
      reason string #2
      evaluationError string #3
    type SelfSubjectAccessReview
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SelfSubjectAccessReviewSpec! #2
      status SubjectAccessReviewStatus+ #3
    type SelfSubjectAccessReviewSpec
      resourceAttributes ResourceAttributes? #1
      nonResourceAttributes NonResourceAttributes? #2
    type LocalSubjectAccessReview
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SubjectAccessReviewSpec! #2
      status SubjectAccessReviewStatus+ #3
    type SelfSubjectRulesReview
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SelfSubjectRulesReviewSpec! #2
      status SubjectRulesReviewStatus+ #3
    type SelfSubjectRulesReviewSpec
      namespace string #1
    type SubjectRulesReviewStatus
      resourceRules []ResourceRule! #1 atomic
      nonResourceRules []NonResourceRule! #2 atomic
      incomplete bool! #3
      evaluationError string #4
    type ResourceRule
      verbs []string! #1 atomic
      apiGroups []string #2 atomic
      resources []string #3 atomic
      resourceNames []string #4 atomic
    type NonResourceRule
      verbs []string! #1 atomic
      nonResourceURLs []string #2 atomic
    """#
}

// Questions that are answered and not stored: who is this, what may they do.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let authenticationV1 = #"""
    group authentication authentication.k8s.io v1 io.k8s.api.authentication.v1
    kind TokenReview tokenreviews verbs=create
    kind SelfSubjectReview selfsubjectreviews verbs=create
    hidden TokenRequest
    type TokenReview "Asks whose token this is. The answer is in the status; nothing is stored.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec TokenReviewSpec! #2 "The token.
      status TokenReviewStatus+ #3 "Whose it is.
    type TokenReviewSpec "A token and whom it must be for.
      token string! #1 "The token.
      audiences []string #2 atomic "Who asks; the token must be for one of them. None is the API server.
    type TokenReviewStatus "Whose token it is.
      authenticated bool #1 "Whether the token is good.
      user UserInfo+ #2 "Whose it is.
      audiences []string #4 atomic "Those asked about that it is for.
      error string #3 "Why it could not be checked.
    type UserInfo "A user as the server knows them.
      username string #1 "The name.
      uid string #2 "Tells this user from others of the name over time.
      groups []string #3 atomic "Groups the user is in.
      extra map[[]string] #4 "What else the authenticator knows.
    type TokenRequest "Asks for a token of a service account.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec TokenRequestSpec+ #2 "What token.
      status TokenRequestStatus+ #3 "The token.
    type TokenRequestSpec "What token is asked for.
      audiences []string+ #1 atomic "Whom it is for; none is the API server.
      expirationSeconds int64? #4 = 3600 "How long it is to be valid; the server may give another time.
      boundObjectRef BoundObjectReference? #3 "An object that it ends with.
      attestations map[[]string] #5 "What the asker vouches for, to be written into the token.
    type BoundObjectReference "An object that a token ends with.
      kind string #1 "Pod, Secret or Node.
      apiVersion string #2 "Its group and version.
      name string #3 "Its name.
      uid string #4 "The object itself, not another of its name.
    type TokenRequestStatus "The token that was given.
      token string+ #1 "The token.
      expirationTimestamp time+ #2 "When it ends.
    type SelfSubjectReview "Asks who the asker is. The answer is in the status; nothing is stored.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      status SelfSubjectReviewStatus+ #2 "Who asked.
    type SelfSubjectReviewStatus "Who asked.
      userInfo UserInfo+ #1 "The asker as the server knows them.
    """#

  static let authorizationV1 = #"""
    group authorization authorization.k8s.io v1 io.k8s.api.authorization.v1
    kind LocalSubjectAccessReview localsubjectaccessreviews ns verbs=create
    kind SelfSubjectAccessReview selfsubjectaccessreviews verbs=create
    kind SelfSubjectRulesReview selfsubjectrulesreviews verbs=create
    kind SubjectAccessReview subjectaccessreviews verbs=create
    type SubjectAccessReview "Asks whether somebody may do something. Nothing is stored.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SubjectAccessReviewSpec! #2 "Who and what.
      status SubjectAccessReviewStatus+ #3 "The answer.
    type SubjectAccessReviewSpec "Somebody, and what they would do.
      resourceAttributes ResourceAttributes? #1 \#
    "Something with objects of the API; set this or nonResourceAttributes.
      nonResourceAttributes NonResourceAttributes? #2 "Something with another path of the server.
      user string #3 "The user; a name or groups must be given.
      groups []string #4 atomic "Groups the user is in.
      extra map[[]string] #5 "What else is known of the user.
      uid string #6 "The user's uid.
    type ResourceAttributes "Something that is done with objects of the API.
      namespace string #1 "Where; empty is every namespace, or none for kinds of the whole cluster.
      verb string #2 "get, list, create, and so on; * is all.
      group string #3 "The group; * is all.
      version string #4 "The version; * is all.
      resource string #5 "The resource; * is all.
      subresource string #6 "The part of it, such as log.
      name string #7 "The object; empty is all.
      fieldSelector FieldSelectorAttributes? #8 "Only objects that this chooses.
      labelSelector LabelSelectorAttributes? #9 "Only objects that this chooses.
    type FieldSelectorAttributes "Objects chosen by their fields.
      rawSelector string #1 "The selector as text; not with requirements.
      requirements []meta.FieldSelectorRequirement #2 atomic "Conditions that all hold.
    type LabelSelectorAttributes "Objects chosen by their labels.
      rawSelector string #1 "The selector as text; not with requirements.
      requirements []meta.LabelSelectorRequirement #2 atomic "Conditions that all hold.
    type NonResourceAttributes "Something that is done with a path of the server.
      path string #1 "The path, such as /metrics.
      verb string #2 "The HTTP method in small letters.
    type SubjectAccessReviewStatus "Whether it may be done.
      allowed bool! #1 "It may.
      denied bool #4 "It is forbidden outright, whatever others allow.
      reason string #2 "Why, for people.
      evaluationError string #3 "What went wrong on the way; there may be an answer all the same.
    type SelfSubjectAccessReview "Asks whether the asker may do something. Not stored.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SelfSubjectAccessReviewSpec! #2 "What.
      status SubjectAccessReviewStatus+ #3 "The answer.
    type SelfSubjectAccessReviewSpec "What the asker would do.
      resourceAttributes ResourceAttributes? #1 \#
    "Something with objects of the API; set this or nonResourceAttributes.
      nonResourceAttributes NonResourceAttributes? #2 "Something with another path of the server.
    type LocalSubjectAccessReview "Asks whether somebody may do something here. Not stored.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SubjectAccessReviewSpec! #2 "Who and what; its namespace is this one.
      status SubjectAccessReviewStatus+ #3 "The answer.
    type SelfSubjectRulesReview "Asks for all that the asker may do in a namespace. Nothing is stored.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec SelfSubjectRulesReviewSpec! #2 "The namespace.
      status SubjectRulesReviewStatus+ #3 "What may be done there.
    type SelfSubjectRulesReviewSpec "A namespace.
      namespace string #1 "Its name.
    type SubjectRulesReviewStatus "What may be done, in no particular order.
      resourceRules []ResourceRule! #1 atomic "What may be done with objects.
      nonResourceRules []NonResourceRule! #2 atomic "What may be done with other paths.
      incomplete bool! #3 "There may be more that is not listed.
      evaluationError string #4 "What went wrong on the way.
    type ResourceRule "Verbs that are allowed on resources.
      verbs []string! #1 atomic "The verbs; * is all.
      apiGroups []string #2 atomic "Groups of the resources; * is all.
      resources []string #3 atomic "The resources; * is all.
      resourceNames []string #4 atomic "Only objects of these names; none is all.
    type NonResourceRule "Verbs that are allowed on paths.
      verbs []string! #1 atomic "The verbs; * is all.
      nonResourceURLs []string #2 atomic "The paths; * is all, alone or at the end.
    """#
}

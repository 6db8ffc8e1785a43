// Roles and who holds them.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let rbacV1 = #"""
    group rbac rbac.authorization.k8s.io v1 io.k8s.api.rbac.v1
    kind ClusterRole clusterroles
    kind ClusterRoleBinding clusterrolebindings
    kind Role roles ns
    kind RoleBinding rolebindings ns
    type ClusterRole "Rules of what may be done anywhere in the cluster.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      rules []PolicyRule+ #2 atomic "What the role allows.
      aggregationRule AggregationRule? #3 \#
    "Other roles whose rules this one collects; its own are then overwritten.
    type PolicyRule "Verbs that are allowed on resources or on paths.
      verbs []string! #1 atomic "get, list, watch, create, and so on; * is all.
      apiGroups []string #2 atomic "Groups of the resources; "" is core, * is all.
      resources []string #3 atomic "Resources, also pods/log; * is all.
      resourceNames []string #4 atomic "Only objects of these names; none is all.
      nonResourceURLs []string #5 atomic \#
    "Paths outside the API's objects, such as /healthz; * at the end is any rest.
    type AggregationRule "How a role is put together from others.
      clusterRoleSelectors []meta.LabelSelector #1 atomic "Labels of the roles that are collected.
    type ClusterRoleBinding "Gives a role to its subjects in the whole cluster.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      subjects []Subject #2 atomic "Who holds the role.
      roleRef RoleRef! #3 "The role; it never changes.
    type Subject atomic "A user, a group or a service account.
      kind string! #1 "User, Group or ServiceAccount.
      apiGroup string #2 "rbac.authorization.k8s.io for users and groups, empty for service accounts.
      name string! #3 "Its name.
      namespace string #4 "The service account's namespace.
    type RoleRef atomic "A role.
      apiGroup string+ #1 "rbac.authorization.k8s.io.
      kind string! #2 "Role or ClusterRole.
      name string! #3 "Its name.
    type Role "Rules of what may be done in its namespace.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      rules []PolicyRule+ #2 atomic "What the role allows.
    type RoleBinding "Gives a role to its subjects in its namespace.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      subjects []Subject #2 atomic "Who holds the role.
      roleRef RoleRef! #3 "A Role of the namespace or a ClusterRole; it never changes.
    """#
}

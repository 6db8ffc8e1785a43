// Roles and who holds them.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let rbacV1 = #"""
    group rbac rbac.authorization.k8s.io v1 io.k8s.api.rbac.v1
    kind ClusterRole clusterroles
    kind ClusterRoleBinding clusterrolebindings
    kind Role roles ns
    kind RoleBinding rolebindings ns
    type ClusterRole
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      rules []PolicyRule+ #2 atomic
      aggregationRule AggregationRule? #3
    type PolicyRule
      verbs []string! #1 atomic
      apiGroups []string #2 atomic
      resources []string #3 atomic
      resourceNames []string #4 atomic
      nonResourceURLs []string #5 atomic
    type AggregationRule
      clusterRoleSelectors []meta.LabelSelector #1 atomic
    type ClusterRoleBinding
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      subjects []Subject #2 atomic
      roleRef RoleRef! #3
    type Subject atomic
      kind string! #1
      apiGroup string #2
      name string! #3
      namespace string #4
    type RoleRef atomic
      apiGroup string+ #1
      kind string! #2
      name string! #3
    type Role
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      rules []PolicyRule+ #2 atomic
    type RoleBinding
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      subjects []Subject #2 atomic
      roleRef RoleRef! #3
    """#
}

// Pods: what is asked for.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let corePodV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Pod
      metadata meta.ObjectMeta #1
      spec PodSpec+ #2
      status PodStatus+ #3
    type PodTemplateSpec
      metadata meta.ObjectMeta #1
      spec PodSpec+ #2
    type PodSpec
      volumes []Volume #1 merge(name) retain map(name)
      initContainers []Container #20 merge(name) map(name)
      containers []Container! #2 merge(name) map(name)
      ephemeralContainers []EphemeralContainer #34 merge(name) map(name)
      restartPolicy string #3 = Always enum(Always|OnFailure|Never)
      terminationGracePeriodSeconds int64? #4 = 30
      activeDeadlineSeconds int64? #5
      dnsPolicy string #6 = ClusterFirst enum(ClusterFirstWithHostNet|ClusterFirst|Default|None)
      nodeSelector map[string] #7 atomic
      serviceAccountName string #8
      serviceAccount string #9
      automountServiceAccountToken bool? #21
      nodeName string #10
      hostNetwork bool #11
      hostPID bool #12
      hostIPC bool #13
      shareProcessNamespace bool? #27
      securityContext PodSecurityContext? #14 = {}
      imagePullSecrets []LocalObjectReference #15 merge(name) map(name)
      hostname string #16
      subdomain string #17
      affinity Affinity? #18
      schedulerName string #19 = default-scheduler
      tolerations []Toleration #22 atomic
      hostAliases []HostAlias #23 merge(ip) map(ip)
      priorityClassName string #24
      priority int32? #25
      dnsConfig PodDNSConfig? #26
      readinessGates []PodReadinessGate #28 atomic
      runtimeClassName string? #29
      enableServiceLinks bool? #30
      preemptionPolicy string? #31 enum(PreemptLowerPriority|Never)
      overhead map[quantity] #32
      topologySpreadConstraints []TopologySpreadConstraint #33 merge(topologyKey) \#
    map(topologyKey,whenUnsatisfiable)
      setHostnameAsFQDN bool? #35
      os PodOS? #36
      hostUsers bool? #37
      schedulingGates []PodSchedulingGate #38 merge(name) map(name)
      resourceClaims []PodResourceClaim #39 merge(name) retain map(name)
      resources ResourceRequirements? #40
      hostnameOverride string? #41
      schedulingGroup PodSchedulingGroup? #43
      evictionResponders []EvictionResponder #44 merge(name) map(name)
    type PodSecurityContext
      seLinuxOptions SELinuxOptions? #1
      windowsOptions WindowsSecurityContextOptions? #8
      runAsUser int64? #2
      runAsGroup int64? #6
      runAsNonRoot bool? #3
      supplementalGroups []int64 #4 atomic
      supplementalGroupsPolicy string? #12 enum(Merge|Strict)
      fsGroup int64? #5
      sysctls []Sysctl #7 atomic
      fsGroupChangePolicy string? #9 enum(OnRootMismatch|Always)
      seccompProfile SeccompProfile? #10
      appArmorProfile AppArmorProfile? #11
      seLinuxChangePolicy string? #13
    type Sysctl
      name string! #1
      value string! #2
    type Affinity
      nodeAffinity NodeAffinity? #1
      podAffinity PodAffinity? #2
      podAntiAffinity PodAntiAffinity? #3
    type NodeAffinity
      requiredDuringSchedulingIgnoredDuringExecution NodeSelector? #1
      preferredDuringSchedulingIgnoredDuringExecution []PreferredSchedulingTerm #2 atomic
    type NodeSelector
      nodeSelectorTerms []NodeSelectorTerm! #1 atomic
    type NodeSelectorTerm
      matchExpressions []NodeSelectorRequirement #1 atomic
      matchFields []NodeSelectorRequirement #2 atomic
    type NodeSelectorRequirement
      key string! #1
      operator string! #2 enum(In|NotIn|Exists|DoesNotExist|Gt|Lt)
      values []string #3 atomic
    type PreferredSchedulingTerm
      weight int32! #1
      preference NodeSelectorTerm! #2
    type PodAffinity
      requiredDuringSchedulingIgnoredDuringExecution []PodAffinityTerm #1 atomic
      preferredDuringSchedulingIgnoredDuringExecution []WeightedPodAffinityTerm #2 atomic
    type PodAffinityTerm
      labelSelector meta.LabelSelector? #1
      namespaces []string #2 atomic
      topologyKey string! #3
      namespaceSelector meta.LabelSelector? #4
      matchLabelKeys []string #5 atomic
      mismatchLabelKeys []string #6 atomic
    type WeightedPodAffinityTerm
      weight int32! #1
      podAffinityTerm PodAffinityTerm! #2
    type PodAntiAffinity
      requiredDuringSchedulingIgnoredDuringExecution []PodAffinityTerm #1 atomic
      preferredDuringSchedulingIgnoredDuringExecution []WeightedPodAffinityTerm #2 atomic
    type Toleration
      key string #1
      operator string #2 enum(Exists|Equal|Lt|Gt)
      value string #3
      effect string #4 enum(NoSchedule|PreferNoSchedule|NoExecute)
      tolerationSeconds int64? #5
    type HostAlias
      ip string! #1
      hostnames []string #2 atomic
    type PodDNSConfig
      nameservers []string #1 atomic
      searches []string #2 atomic
      options []PodDNSConfigOption #3 atomic
    type PodDNSConfigOption
      name string #1
      value string? #2
    type PodReadinessGate
      conditionType string! #1
    type TopologySpreadConstraint
      maxSkew int32! #1
      topologyKey string! #2
      whenUnsatisfiable string! #3 enum(DoNotSchedule|ScheduleAnyway)
      labelSelector meta.LabelSelector? #4
      minDomains int32? #5
      nodeAffinityPolicy string? #6 enum(Ignore|Honor)
      nodeTaintsPolicy string? #7 enum(Ignore|Honor)
      matchLabelKeys []string #8 atomic
    type PodOS
      name string! #1
    type PodSchedulingGate
      name string! #1
    type PodResourceClaim
      name string! #1
      resourceClaimName string? #3
      resourceClaimTemplateName string? #4
    type PodSchedulingGroup
      podGroupName string? #1
    type EvictionResponder
      name string! #1
      priority int32?! #2
    """#
}

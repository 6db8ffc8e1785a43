// Pods: what is asked for.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let corePodV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Pod "Containers that run together on one node.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PodSpec+ #2 "What is asked for.
      status PodStatus+ #3 "What was last observed.
    type PodTemplateSpec "What pods are made from.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PodSpec+ #2 "What is asked for.
    type PodSpec "What a pod shall run, and how.
      volumes []Volume #1 merge(name) retain map(name) "Volumes that its containers may mount.
      initContainers []Container #20 merge(name) map(name) "Run one after the other before the others start.
      containers []Container! #2 merge(name) map(name) "What it runs; at least one.
      ephemeralContainers []EphemeralContainer #34 merge(name) map(name) "Containers added to a running pod \#
    for debugging.
      restartPolicy string #3 = Always enum(Always|OnFailure|Never) "Whether containers that end are \#
    started again.
      terminationGracePeriodSeconds int64? #4 = 30 "How long it may take to stop before it is killed.
      activeDeadlineSeconds int64? #5 "How long it may run at most.
      dnsPolicy string #6 = ClusterFirst enum(ClusterFirstWithHostNet|ClusterFirst|Default|None) "Where its \#
    resolver looks.
      nodeSelector map[string] #7 atomic "Labels that its node must have.
      serviceAccountName string #8 "Who it is to the API.
      serviceAccount string #9 "The older name of serviceAccountName.
      automountServiceAccountToken bool? #21 "Whether it is given a token for the API.
      nodeName string #10 "The node it runs on; the scheduler's to fill in.
      hostNetwork bool #11 "Whether it uses the node's network.
      hostPID bool #12 "Whether it sees the node's processes.
      hostIPC bool #13 "Whether it uses the node's shared memory and semaphores.
      shareProcessNamespace bool? #27 "Whether its containers see each other's processes.
      securityContext PodSecurityContext? #14 = {} "Users, groups and rights of all its containers.
      imagePullSecrets []LocalObjectReference #15 merge(name) map(name) "Secrets with which its images are \#
    pulled.
      hostname string #16 "Its host name; its own name when empty.
      subdomain string #17 "The middle of its full name, HOST.SUBDOMAIN.NAMESPACE.svc.
      affinity Affinity? #18 "Near or far from what it wants to run.
      schedulerName string #19 = default-scheduler "The scheduler that places it.
      tolerations []Toleration #22 atomic "Taints of nodes that it does not mind.
      hostAliases []HostAlias #23 merge(ip) map(ip) "Lines for its /etc/hosts.
      priorityClassName string #24 "How important it is, by name.
      priority int32? #25 "How important it is; follows from the class.
      dnsConfig PodDNSConfig? #26 "Settings of its resolver, beside those of dnsPolicy.
      readinessGates []PodReadinessGate #28 atomic "Conditions that must hold before it is ready.
      runtimeClassName string? #29 "The RuntimeClass that runs it.
      enableServiceLinks bool? #30 "Whether Services are told to it in environment variables.
      preemptionPolicy string? #31 enum(PreemptLowerPriority|Never) "Whether it may push less important \#
    pods away.
      overhead map[quantity] #32 "What running it costs beside its containers.
      topologySpreadConstraints []TopologySpreadConstraint #33 merge(topologyKey) \#
    map(topologyKey,whenUnsatisfiable) "How equal pods are spread over the cluster.
      setHostnameAsFQDN bool? #35 "Whether its host name is its full name.
      os PodOS? #36 "The operating system it needs.
      hostUsers bool? #37 "Whether its users are those of the node.
      schedulingGates []PodSchedulingGate #38 merge(name) map(name) "While there is one it is not placed.
      resourceClaims []PodResourceClaim #39 merge(name) retain map(name) "Claims on devices that its \#
    containers may use.
      resources ResourceRequirements? #40 "Resources of all its containers together.
      hostnameOverride string? #41 "The host name, whatever else is set.
      schedulingGroup PodSchedulingGroup? #43 "The group of pods that it is placed with.
      evictionResponders []EvictionResponder #44 merge(name) map(name) "Who is asked before it is evicted.
    type PodSecurityContext "Users, groups and rights of all containers of a pod.
      seLinuxOptions SELinuxOptions? #1 "SELinux labels of its containers.
      windowsOptions WindowsSecurityContextOptions? #8 "Settings that only Windows knows.
      runAsUser int64? #2 "The user id that processes start with.
      runAsGroup int64? #6 "The group id that processes start with.
      runAsNonRoot bool? #3 "Whether user 0 is refused.
      supplementalGroups []int64 #4 atomic "Further groups of its processes.
      supplementalGroupsPolicy string? #12 enum(Merge|Strict) "Whether groups of the image count too.
      fsGroup int64? #5 "The group that owns its volumes.
      sysctls []Sysctl #7 atomic "Kernel settings of its namespaces.
      fsGroupChangePolicy string? #9 enum(OnRootMismatch|Always) "Whether ownership of volumes is always \#
    changed or only when it is wrong.
      seccompProfile SeccompProfile? #10 "Which system calls are allowed.
      appArmorProfile AppArmorProfile? #11 "Which AppArmor profile confines it.
      seLinuxChangePolicy string? #13 "How the SELinux label gets onto its volumes.
    type Sysctl "A kernel setting.
      name string! #1 "Its name.
      value string! #2 "Its value.
    type Affinity "Near or far from what a pod wants to run.
      nodeAffinity NodeAffinity? #1 "Which nodes it wants.
      podAffinity PodAffinity? #2 "Which pods it wants to be near.
      podAntiAffinity PodAntiAffinity? #3 "Which pods it wants to be far from.
    type NodeAffinity "Which nodes a pod wants.
      requiredDuringSchedulingIgnoredDuringExecution NodeSelector? #1 "What a node must fulfil when the pod \#
    is placed.
      preferredDuringSchedulingIgnoredDuringExecution []PreferredSchedulingTerm #2 atomic "What is better \#
    to have, with weights.
    type NodeSelector atomic "Selects nodes.
      nodeSelectorTerms []NodeSelectorTerm! #1 atomic "One of them must hold.
    type NodeSelectorTerm atomic "Demands on a node that must all hold.
      matchExpressions []NodeSelectorRequirement #1 atomic "Demands on labels.
      matchFields []NodeSelectorRequirement #2 atomic "Demands on fields, such as metadata.name.
    type NodeSelectorRequirement "One demand on a node.
      key string! #1 "The label or field it is about.
      operator string! #2 enum(In|NotIn|Exists|DoesNotExist|Gt|Lt) "How it relates to the values.
      values []string #3 atomic "The values; none for Exists and DoesNotExist, one number for Gt and Lt.
    type PreferredSchedulingTerm "A wish about nodes.
      weight int32! #1 "How much it counts, from 1 to 100.
      preference NodeSelectorTerm! #2 "The nodes it is about.
    type PodAffinity "Which pods a pod wants to be near.
      requiredDuringSchedulingIgnoredDuringExecution []PodAffinityTerm #1 atomic "What a node must fulfil \#
    when the pod is placed.
      preferredDuringSchedulingIgnoredDuringExecution []WeightedPodAffinityTerm #2 atomic "What is better \#
    to have, with weights.
    type PodAffinityTerm "Some pods, and what near means.
      labelSelector meta.LabelSelector? #1 "The pods, by labels.
      namespaces []string #2 atomic "The namespaces they are in; the pod's own when nothing is said.
      topologyKey string! #3 "Nodes with the same value of this label are near each other.
      namespaceSelector meta.LabelSelector? #4 "The namespaces they are in, by labels.
      matchLabelKeys []string #5 atomic "Labels in which they must equal this pod.
      mismatchLabelKeys []string #6 atomic "Labels in which they must differ from this pod.
    type WeightedPodAffinityTerm "A wish about pods.
      weight int32! #1 "How much it counts, from 1 to 100.
      podAffinityTerm PodAffinityTerm! #2 "The pods it is about.
    type PodAntiAffinity "Which pods a pod wants to be far from.
      requiredDuringSchedulingIgnoredDuringExecution []PodAffinityTerm #1 atomic "What a node must fulfil \#
    when the pod is placed.
      preferredDuringSchedulingIgnoredDuringExecution []WeightedPodAffinityTerm #2 atomic "What is better \#
    to have, with weights.
    type Toleration "A taint that a pod does not mind.
      key string #1 "The taint's key; all when empty.
      operator string #2 enum(Exists|Equal|Lt|Gt) "Exists, Equal, or for numbers Lt and Gt.
      value string #3 "The taint's value.
      effect string #4 enum(NoSchedule|PreferNoSchedule|NoExecute) "The taint's effect; all when empty.
      tolerationSeconds int64? #5 "How long the pod stays when the effect is NoExecute.
    type HostAlias "A line for /etc/hosts.
      ip string! #1 "The address.
      hostnames []string #2 atomic "Its names.
    type PodDNSConfig "Settings of a pod's resolver.
      nameservers []string #1 atomic "Servers that it asks.
      searches []string #2 atomic "Domains that it tries for short names.
      options []PodDNSConfigOption #3 atomic "Further options.
    type PodDNSConfigOption "An option of the resolver.
      name string #1 "Its name, such as ndots.
      value string? #2 "Its value.
    type PodReadinessGate "A condition that must hold before a pod is ready.
      conditionType string! #1 "The type of the condition.
    type TopologySpreadConstraint "How equal pods are spread.
      maxSkew int32! #1 "How many more one place may have than another.
      topologyKey string! #2 "Nodes with the same value of this label are one place.
      whenUnsatisfiable string! #3 enum(DoNotSchedule|ScheduleAnyway) "Whether it is a demand or a wish.
      labelSelector meta.LabelSelector? #4 "The pods that count.
      minDomains int32? #5 "How many places there must be.
      nodeAffinityPolicy string? #6 enum(Ignore|Honor) "Whether nodes that the pod does not want count.
      nodeTaintsPolicy string? #7 enum(Ignore|Honor) "Whether nodes that the pod does not tolerate count.
      matchLabelKeys []string #8 atomic "Labels in which counted pods must equal this one.
    type PodOS "An operating system.
      name string! #1 "linux or windows.
    type PodSchedulingGate "Holds a pod back.
      name string! #1 "Who holds it.
    type PodResourceClaim "A claim on devices.
      name string! #1 "What containers call it.
      resourceClaimName string? #3 "The ResourceClaim.
      resourceClaimTemplateName string? #4 "The template from which one is made for this pod.
    type PodSchedulingGroup "A group of pods that are placed together.
      podGroupName string? #1 "The PodGroup.
    type EvictionResponder atomic "Who is asked before a pod is evicted.
      name string! #1 "Who.
      priority int32?! #2 "The highest is asked first.
    """#
}

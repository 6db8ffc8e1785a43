// Nodes.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreNodeV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Node
      metadata meta.ObjectMeta #1
      spec NodeSpec+ #2
      status NodeStatus+ #3
    type NodeSpec
      podCIDR string #1
      podCIDRs []string #7 merge set
      providerID string #3
      unschedulable bool #4
      taints []Taint #5 atomic
      configSource NodeConfigSource? #6
      externalID string #2
      podPreemptionPolicy NodePodPreemptionPolicy? #8
    type Taint
      key string! #1
      value string #2
      effect string! #3 enum(NoSchedule|PreferNoSchedule|NoExecute)
      timeAdded time? #4
    type NodeConfigSource
      configMap ConfigMapNodeConfigSource? #2
    type ConfigMapNodeConfigSource
      namespace string! #1
      name string! #2
      uid string #3
      resourceVersion string #4
      kubeletConfigKey string! #5
    type NodePodPreemptionPolicy
      disableResizePreemption []string #1 set
    type NodeStatus
      capacity map[quantity] #1
      allocatable map[quantity] #2
      phase string #3 enum(Pending|Running|Terminated)
      conditions []NodeCondition #4 merge(type) map(type)
      addresses []NodeAddress #5 merge(type) map(type)
      daemonEndpoints NodeDaemonEndpoints+ #6
      nodeInfo NodeSystemInfo+ #7
      images []ContainerImage #8 atomic
      volumesInUse []string #9 atomic
      volumesAttached []AttachedVolume #10 atomic
      config NodeConfigStatus? #11
      runtimeHandlers []NodeRuntimeHandler #12 atomic
      features NodeFeatures? #13
      declaredFeatures []string #14 atomic
    type NodeCondition
      type string! #1
      status string! #2
      lastHeartbeatTime time #3
      lastTransitionTime time #4
      reason string #5
      message string #6
    type NodeAddress
      type string! #1
      address string! #2
    type NodeDaemonEndpoints
      kubeletEndpoint DaemonEndpoint+ #1
    type DaemonEndpoint
      Port int32! #1
    type NodeSystemInfo
      machineID string! #1
      systemUUID string! #2
      bootID string! #3
      kernelVersion string! #4
      osImage string! #5
      containerRuntimeVersion string! #6
      kubeletVersion string! #7
      kubeProxyVersion string! #8
      operatingSystem string! #9
      architecture string! #10
      swap NodeSwapStatus? #11
      runningInUserNamespace bool? #12
    type NodeSwapStatus
      capacity int64? #1
    type ContainerImage
      names []string+ #1 atomic
      sizeBytes int64 #2
    type AttachedVolume
      name string! #1
      devicePath string! #2
    type NodeConfigStatus
      assigned NodeConfigSource? #1
      active NodeConfigSource? #2
      lastKnownGood NodeConfigSource? #3
      error string #4
    type NodeRuntimeHandler
      name string+ #1
      features NodeRuntimeHandlerFeatures? #2
    type NodeRuntimeHandlerFeatures
      recursiveReadOnlyMounts bool? #1
      userNamespaces bool? #2
    type NodeFeatures
      supplementalGroupsPolicy bool? #1
    """#
}

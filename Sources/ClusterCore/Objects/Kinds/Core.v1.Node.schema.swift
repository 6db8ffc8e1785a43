// Nodes.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreNodeV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Node "A machine that runs pods.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec NodeSpec+ #2 "What is asked for.
      status NodeStatus+ #3 "What was last observed.
    type NodeSpec "What is asked of a node.
      podCIDR string #1 "The addresses of its pods, first family.
      podCIDRs []string #7 merge set "The addresses of its pods, one range a family.
      providerID string #3 "What the cloud calls the machine.
      unschedulable bool #4 "Whether new pods stay away.
      taints []Taint #5 atomic "Marks that keep pods away which do not tolerate them.
      configSource NodeConfigSource? #6 "Once named the node agent's configuration; no longer used.
      externalID string #2 "Once named the machine; no longer used.
      podPreemptionPolicy NodePodPreemptionPolicy? #8 "For whom pods of this node may be preempted.
    type Taint "Keeps pods away from a node.
      key string! #1 "Its name.
      value string #2 "Its value.
      effect string! #3 enum(NoSchedule|PreferNoSchedule|NoExecute) "What becomes of pods that do not \#
    tolerate it.
      timeAdded time? #4 "When it was added.
    type NodeConfigSource "Where a node agent's configuration was; no longer used.
      configMap ConfigMapNodeConfigSource? #2 "The ConfigMap.
    type ConfigMapNodeConfigSource "A ConfigMap with a node agent's configuration; no longer used.
      namespace string! #1 "Its namespace.
      name string! #2 "Its name.
      uid string #3 "Its uid.
      resourceVersion string #4 "Its version.
      kubeletConfigKey string! #5 "The key of the configuration.
    type NodePodPreemptionPolicy "For whom pods may be preempted.
      disableResizePreemption []string #1 set "Reasons for which a resize may preempt nobody.
    type NodeStatus "How a node stands.
      capacity map[quantity] #1 "All resources of the machine.
      allocatable map[quantity] #2 "Resources that pods may use.
      phase string #3 enum(Pending|Running|Terminated) "No longer used.
      conditions []NodeCondition #4 merge(type) map(type) "What was last observed, one entry a type.
      addresses []NodeAddress #5 merge(type) map(type) "Addresses and names it is reached by.
      daemonEndpoints NodeDaemonEndpoints+ #6 "Ports of its own programs.
      nodeInfo NodeSystemInfo+ #7 "What it is and runs.
      images []ContainerImage #8 atomic "Images that it has.
      volumesInUse []string #9 atomic "Volumes that its pods use.
      volumesAttached []AttachedVolume #10 atomic "Volumes that are attached to it.
      config NodeConfigStatus? #11 "How its configuration stood; no longer used.
      runtimeHandlers []NodeRuntimeHandler #12 atomic "The ways in which it runs containers.
      features NodeFeatures? #13 "What its runtime can do.
      declaredFeatures []string #14 atomic "Features that it says it has.
    type NodeCondition "One thing observed of a node.
      type string! #1 "Which condition this is.
      status string! #2 "True, False or Unknown.
      lastHeartbeatTime time #3 "When it last said so.
      lastTransitionTime time #4 "When the status last changed.
      reason string #5 "One word for why, for programs.
      message string #6 "What happened, for people.
    type NodeAddress "One address of a node.
      type string! #1 "Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS.
      address string! #2 "The address or name.
    type NodeDaemonEndpoints "Ports of a node's own programs.
      kubeletEndpoint DaemonEndpoint+ #1 "Where the node agent listens.
    type DaemonEndpoint "A port of a program.
      Port int32! #1 "The port.
    type NodeSystemInfo "What a node is and runs.
      machineID string! #1 "The id of the installation.
      systemUUID string! #2 "The id of the machine.
      bootID string! #3 "The id of this boot.
      kernelVersion string! #4 "Its kernel.
      osImage string! #5 "Its operating system, for people.
      containerRuntimeVersion string! #6 "Its container runtime.
      kubeletVersion string! #7 "Its node agent.
      kubeProxyVersion string! #8 "No longer used.
      operatingSystem string! #9 "linux or windows.
      architecture string! #10 "Its processor, such as amd64.
      swap NodeSwapStatus? #11 "Its swap space.
      runningInUserNamespace bool? #12 "Whether the node agent runs in a user namespace.
    type NodeSwapStatus "Swap space of a node.
      capacity int64? #1 "Bytes of it.
    type ContainerImage "An image on a node.
      names []string+ #1 atomic "The names it is known by.
      sizeBytes int64 #2 "Bytes it takes.
    type AttachedVolume "A volume attached to a node.
      name string! #1 "The volume.
      devicePath string! #2 "The device that it is.
    type NodeConfigStatus "How a node's configuration stood; no longer used.
      assigned NodeConfigSource? #1 "The one it was given.
      active NodeConfigSource? #2 "The one it used.
      lastKnownGood NodeConfigSource? #3 "The one it went back to.
      error string #4 "What was wrong with it.
    type NodeRuntimeHandler "A way in which a node runs containers.
      name string+ #1 "Its name; empty for the usual one.
      features NodeRuntimeHandlerFeatures? #2 "What it can do.
    type NodeRuntimeHandlerFeatures "What a runtime handler can do.
      recursiveReadOnlyMounts bool? #1 "Whether read-only mounts may cover what is mounted below.
      userNamespaces bool? #2 "Whether pods may have users of their own.
    type NodeFeatures "What a node's runtime can do.
      supplementalGroupsPolicy bool? #1 "Whether it honours supplementalGroupsPolicy.
    """#
}

// Pods: what is reported.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let corePodStatusV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type PodStatus "How a pod stands.
      observedGeneration int64 #17 "The generation that this was observed at.
      phase string #1 = Pending enum(Pending|Running|Succeeded|Failed|Unknown) "Pending, Running, \#
    Succeeded, Failed or Unknown.
      conditions []PodCondition #2 merge(type) map(type) "What was last observed, one entry a type.
      message string #3 "What happened, for people.
      reason string #4 "One word for why, for programs.
      nominatedNodeName string #11 "The node that is being made free for it.
      hostIP string #5 "The address of its node.
      hostIPs []HostIP #16 merge(ip) atomic "The addresses of its node.
      podIP string #6 "Its address.
      podIPs []PodIP #12 merge(ip) map(ip) "Its addresses, one a family.
      startTime time? #7 "When its node took it up.
      initContainerStatuses []ContainerStatus #10 atomic "How its init containers stand.
      containerStatuses []ContainerStatus #8 atomic "How its containers stand.
      qosClass string #9 enum(Guaranteed|Burstable|BestEffort) "Guaranteed, Burstable or BestEffort; who \#
    goes first when memory is short.
      ephemeralContainerStatuses []ContainerStatus #13 atomic "How its containers for debugging stand.
      resize string #14 "How a change of its resources stands; conditions say it now.
      resourceClaimStatuses []PodResourceClaimStatus #15 merge(name) retain map(name) "Which ResourceClaims \#
    were made for it.
      extendedResourceClaimStatus PodExtendedResourceClaimStatus? #18 "The claim that its extended \#
    resources became.
      allocatedResources map[quantity] #19 "What its node gave it as a whole.
      resources ResourceRequirements? #20 "What it has in force as a whole.
      nodeAllocatableResourceClaimStatuses []NodeAllocatableResourceClaimStatus #21 \#
    merge(resourceClaimName) map(resourceClaimName) "What its claims take of the node's own resources.
      volumeHealth []PodVolumeHealth #22 map(name) "How its volumes stand.
    type PodCondition "One thing observed of a pod.
      type string! #1 "Which condition this is.
      observedGeneration int64 #7 "The generation that this was observed at.
      status string! #2 "True, False or Unknown.
      lastProbeTime time #3 "When it was last looked at.
      lastTransitionTime time #4 "When the status last changed.
      reason string #5 "One word for why, for programs.
      message string #6 "What happened, for people.
    type HostIP "An address of a node.
      ip string! #1 "The address.
    type PodIP "An address of a pod.
      ip string! #1 "The address.
    type ContainerStatus "How a container stands.
      name string! #1 "The container.
      state ContainerState+ #2 "What it does now.
      lastState ContainerState+ #3 "How it ended before.
      ready bool! #4 "Whether it is ready.
      restartCount int32! #5 "How often it was started again.
      image string! #6 "The image it runs.
      imageID string! #7 "The exact image it runs.
      containerID string #8 "The runtime's id of it.
      started bool? #9 "Whether it has passed its startup probe and its postStart hook.
      allocatedResources map[quantity] #10 "What its node gave it.
      resources ResourceRequirements? #11 "What it has in force.
      volumeMounts []VolumeMountStatus #12 merge(mountPath) map(mountPath) "How its mounts stand.
      user ContainerUser? #13 "The user it runs as.
      allocatedResourcesStatus []ResourceStatus #14 merge(name) map(name) "How its devices stand.
      stopSignal string? #15 "The signal that stops it.
    type ContainerState "What a container does; one of the three.
      waiting ContainerStateWaiting? #1 "It has not started.
      running ContainerStateRunning? #2 "It runs.
      terminated ContainerStateTerminated? #3 "It has ended.
    type ContainerStateWaiting "A container that has not started.
      reason string #1 "One word for why, for programs.
      message string #2 "What happened, for people.
    type ContainerStateRunning "A container that runs.
      startedAt time #1 "Since when.
    type ContainerStateTerminated "A container that has ended.
      exitCode int32! #1 "Its exit status.
      signal int32 #2 "The signal that ended it.
      reason string #3 "One word for why, for programs.
      message string #4 "What happened, for people.
      startedAt time #5 "When it started.
      finishedAt time #6 "When it ended.
      containerID string #7 "The runtime's id of it.
    type VolumeMountStatus "How a mount stands.
      name string! #1 "The volume.
      mountPath string! #2 "Where it is mounted.
      readOnly bool #3 "Whether it may only be read.
      recursiveReadOnly string? #4 "Whether what is mounted below is read-only too.
      volumeStatus VolumeStatus? #5 "More about the volume.
    type VolumeStatus "More about a mounted volume.
      image ImageVolumeStatus? #1 "For volumes of images.
    type ImageVolumeStatus "The image of a volume.
      imageRef string! #1 "The exact image.
    type ContainerUser "The user that a container started as.
      linux LinuxContainerUser? #1 "On Linux.
    type LinuxContainerUser "Ids that a process started with.
      uid int64! #1 "The user.
      gid int64! #2 "The group.
      supplementalGroups []int64 #3 atomic "Further groups.
    type ResourceStatus "How devices of a container stand.
      name string! #1 "The resource, or the claim.
      resources []ResourceHealth #2 map(resourceID) "Each of the devices.
    type ResourceHealth "How a device stands.
      resourceID string! #1 "The device.
      health string #2 "Healthy, Unhealthy or Unknown.
      message string? #6 "What happened, for people.
    type PodResourceClaimStatus "A ResourceClaim made for a pod.
      name string! #1 "What the pod calls it.
      resourceClaimName string? #2 "The ResourceClaim.
    type PodExtendedResourceClaimStatus "The claim that a pod's extended resources became.
      requestMappings []ContainerExtendedResourceRequest! #1 atomic "Which request stands for which resource.
      resourceClaimName string! #2 "The ResourceClaim.
    type ContainerExtendedResourceRequest "Which request stands for a container's resource.
      containerName string! #1 "The container.
      resourceName string! #2 "The resource.
      requestName string! #3 "The request in the claim.
    type NodeAllocatableResourceClaimStatus "What a claim takes of a node's own resources.
      resourceClaimName string! #1 "The ResourceClaim.
      containers []string #2 set "Containers that use it.
      mapping []NodeAllocatableMappedResources #4 merge(name) map(name) "How much of each resource.
      overhead []NodeAllocatableOverheadResources #5 merge(name) map(name) "How much more it costs.
    type NodeAllocatableMappedResources "An amount of a resource.
      name string! #1 "The resource.
      quantity quantity?! #2 "The amount.
    type NodeAllocatableOverheadResources "What using a device costs beside it.
      name string! #1 "The resource.
      perPod quantity? #2 "For the pod.
      perContainer quantity? #3 "For each container.
    type PodVolumeHealth "How a volume of a pod stands.
      name string! #1 "The volume.
      healthConditions []VolumeHealthCondition #2 merge(status) map(status,reason) "What is wrong with it.
      lastTransitionTime time #3 "When the status last changed.
    type VolumeHealthCondition "Something wrong with a volume.
      status string! #1 enum(Inaccessible|DataLoss|Degraded) "Inaccessible, DataLoss or Degraded.
      reason string! #2 "One word for why, for programs.
      message string #3 "What happened, for people.
    """#
}

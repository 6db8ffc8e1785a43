// Pods: what is reported.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let corePodStatusV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type PodStatus
      observedGeneration int64 #17
      phase string #1 = Pending enum(Pending|Running|Succeeded|Failed|Unknown)
      conditions []PodCondition #2 merge(type) map(type)
      message string #3
      reason string #4
      nominatedNodeName string #11
      hostIP string #5
      hostIPs []HostIP #16 merge(ip) atomic
      podIP string #6
      podIPs []PodIP #12 merge(ip) map(ip)
      startTime time? #7
      initContainerStatuses []ContainerStatus #10 atomic
      containerStatuses []ContainerStatus #8 atomic
      qosClass string #9 enum(Guaranteed|Burstable|BestEffort)
      ephemeralContainerStatuses []ContainerStatus #13 atomic
      resize string #14
      resourceClaimStatuses []PodResourceClaimStatus #15 merge(name) retain map(name)
      extendedResourceClaimStatus PodExtendedResourceClaimStatus? #18
      allocatedResources map[quantity] #19
      resources ResourceRequirements? #20
      nodeAllocatableResourceClaimStatuses []NodeAllocatableResourceClaimStatus #21 \#
    merge(resourceClaimName) map(resourceClaimName)
      volumeHealth []PodVolumeHealth #22 map(name)
    type PodCondition
      type string! #1
      observedGeneration int64 #7
      status string! #2
      lastProbeTime time #3
      lastTransitionTime time #4
      reason string #5
      message string #6
    type HostIP
      ip string! #1
    type PodIP
      ip string! #1
    type ContainerStatus
      name string! #1
      state ContainerState+ #2
      lastState ContainerState+ #3
      ready bool! #4
      restartCount int32! #5
      image string! #6
      imageID string! #7
      containerID string #8
      started bool? #9
      allocatedResources map[quantity] #10
      resources ResourceRequirements? #11
      volumeMounts []VolumeMountStatus #12 merge(mountPath) map(mountPath)
      user ContainerUser? #13
      allocatedResourcesStatus []ResourceStatus #14 merge(name) map(name)
      stopSignal string? #15
    type ContainerState
      waiting ContainerStateWaiting? #1
      running ContainerStateRunning? #2
      terminated ContainerStateTerminated? #3
    type ContainerStateWaiting
      reason string #1
      message string #2
    type ContainerStateRunning
      startedAt time #1
    type ContainerStateTerminated
      exitCode int32! #1
      signal int32 #2
      reason string #3
      message string #4
      startedAt time #5
      finishedAt time #6
      containerID string #7
    type VolumeMountStatus
      name string! #1
      mountPath string! #2
      readOnly bool #3
      recursiveReadOnly string? #4
      volumeStatus VolumeStatus? #5
    type VolumeStatus
      image ImageVolumeStatus? #1
    type ImageVolumeStatus
      imageRef string! #1
    type ContainerUser
      linux LinuxContainerUser? #1
    type LinuxContainerUser
      uid int64! #1
      gid int64! #2
      supplementalGroups []int64 #3 atomic
    type ResourceStatus
      name string! #1
      resources []ResourceHealth #2 map(resourceID)
    type ResourceHealth
      resourceID string! #1
      health string #2
      message string? #6
    type PodResourceClaimStatus
      name string! #1
      resourceClaimName string? #2
    type PodExtendedResourceClaimStatus
      requestMappings []ContainerExtendedResourceRequest! #1 atomic
      resourceClaimName string! #2
    type ContainerExtendedResourceRequest
      containerName string! #1
      resourceName string! #2
      requestName string! #3
    type NodeAllocatableResourceClaimStatus
      resourceClaimName string! #1
      containers []string #2 set
      mapping []NodeAllocatableMappedResources #4 merge(name) map(name)
      overhead []NodeAllocatableOverheadResources #5 merge(name) map(name)
    type NodeAllocatableMappedResources
      name string! #1
      quantity quantity?! #2
    type NodeAllocatableOverheadResources
      name string! #1
      perPod quantity? #2
      perContainer quantity? #3
    type PodVolumeHealth
      name string! #1
      healthConditions []VolumeHealthCondition #2 merge(status) map(status,reason)
      lastTransitionTime time #3
    type VolumeHealthCondition
      status string! #1 enum(Inaccessible|DataLoss|Degraded)
      reason string! #2
      message string #3
    """#
}

// Storage classes, CSI drivers and what they attach.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let storageV1 = #"""
    group storage storage.k8s.io v1 io.k8s.api.storage.v1
    kind StorageClass storageclasses short=sc
    kind VolumeAttachment volumeattachments sub=status
    kind CSIDriver csidrivers
    kind CSINode csinodes sub=status
    kind CSIStorageCapacity csistoragecapacities ns
    kind VolumeAttributesClass volumeattributesclasses short=vac
    type StorageClass
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      provisioner string! #2
      parameters map[string] #3
      reclaimPolicy string? #4 = Delete enum(Recycle|Delete|Retain)
      mountOptions []string #5 atomic
      allowVolumeExpansion bool? #6
      volumeBindingMode string? #7 = Immediate enum(Immediate|WaitForFirstConsumer)
      allowedTopologies []core.TopologySelectorTerm #8 atomic
    type VolumeAttachment
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec VolumeAttachmentSpec! #2
      status VolumeAttachmentStatus+ #3
    type VolumeAttachmentSpec
      attacher string! #1
      source VolumeAttachmentSource! #2
      nodeName string! #3
    type VolumeAttachmentSource
      persistentVolumeName string? #1
      inlineVolumeSpec core.PersistentVolumeSpec? #2
    type VolumeAttachmentStatus
      attached bool! #1
      attachmentMetadata map[string] #2
      attachError VolumeError? #3
      detachError VolumeError? #4
    type VolumeError
      time time #1
      message string #2
      errorCode int32? #3
    type CSIDriver
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CSIDriverSpec! #2
    type CSIDriverSpec
      attachRequired bool? #1 = true
      podInfoOnMount bool? #2 = false
      volumeLifecycleModes []string #3 = Persistent set
      storageCapacity bool? #4 = false
      fsGroupPolicy string? #5 = ReadWriteOnceWithFSType
      tokenRequests []TokenRequest #6 atomic
      requiresRepublish bool? #7 = false
      seLinuxMount bool? #8 = false
      nodeAllocatableUpdatePeriodSeconds int64? #9
      serviceAccountTokenInSecrets bool? #10
      preventPodSchedulingIfMissing bool? #11
    type TokenRequest
      audience string! #1
      expirationSeconds int64? #2
    type CSINode
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CSINodeSpec! #2
      status CSINodeStatus+ #3
    type CSINodeSpec
      drivers []CSINodeDriver! #1 merge(name) map(name)
    type CSINodeDriver
      name string! #1
      nodeID string! #2
      topologyKeys []string+ #3 atomic
      allocatable VolumeNodeResources? #4
    type VolumeNodeResources
      count int32? #1
    type CSINodeStatus
      storageHealth []StorageHealth #1 merge(name) map(name)
    type StorageHealth
      name string! #1
      healthConditions []StorageHealthCondition #2 atomic
    type StorageHealthCondition
      status string! #1 enum(StorageUnreachable|StorageDegraded)
      reason string! #2
      message string #3
      accessMode string? #4
      volumeMode string? #5
      lastTransitionTime time #6
    type CSIStorageCapacity
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      nodeTopology meta.LabelSelector? #2
      storageClassName string! #3
      capacity quantity? #4
      maximumVolumeSize quantity? #5
    type VolumeAttributesClass
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      driverName string! #2
      parameters map[string] #3
    group core - v1 io.k8s.api.core.v1
    type TopologySelectorTerm atomic
      matchLabelExpressions []TopologySelectorLabelRequirement #1 atomic
    type TopologySelectorLabelRequirement
      key string! #1
      values []string! #2 atomic
    """#
}

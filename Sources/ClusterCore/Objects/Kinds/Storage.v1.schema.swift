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
    type StorageClass "A kind of storage that claims can ask for by name.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      provisioner string! #2 "The driver that makes the volumes; it never changes.
      parameters map[string] #3 "Settings for the driver; they never change.
      reclaimPolicy string? #4 = Delete enum(Recycle|Delete|Retain) \#
    "What becomes of a volume that nobody claims any more: Delete or Retain.
      mountOptions []string #5 atomic "Options for mounting the volumes; nobody checks them before.
      allowVolumeExpansion bool? #6 "Whether claims may grow.
      volumeBindingMode string? #7 = Immediate enum(Immediate|WaitForFirstConsumer) \#
    "Immediate, or WaitForFirstConsumer: when a pod's node is known.
      allowedTopologies []core.TopologySelectorTerm #8 atomic "Where volumes may be made; none is everywhere.
    type VolumeAttachment "A volume that is to be attached to a node.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec VolumeAttachmentSpec! #2 "Which volume to which node; it never changes.
      status VolumeAttachmentStatus+ #3 "Whether it is there.
    type VolumeAttachmentSpec "Which volume to which node.
      attacher string! #1 "The driver that attaches it.
      source VolumeAttachmentSource! #2 "The volume.
      nodeName string! #3 "The node.
    type VolumeAttachmentSource "A volume, in one of two ways.
      persistentVolumeName string? #1 "A PersistentVolume.
      inlineVolumeSpec core.PersistentVolumeSpec? #2 "A volume that no object stands for.
    type VolumeAttachmentStatus "Whether a volume is attached.
      attached bool! #1 "It is; the driver says so.
      attachmentMetadata map[string] #2 "What the driver needs to know when it mounts.
      attachError VolumeError? #3 "Why attaching failed last.
      detachError VolumeError? #4 "Why detaching failed last.
    type VolumeError "What went wrong with a volume.
      time time #1 "When.
      message string #2 "What people read.
      errorCode int32? #3 "The gRPC code of it.
    type CSIDriver "A storage driver and what it needs.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CSIDriverSpec! #2 "What the driver needs.
    type CSIDriverSpec "What a storage driver needs.
      attachRequired bool? #1 = true "Whether volumes are attached before they are mounted; it never changes.
      podInfoOnMount bool? #2 = false "Whether it is told which pod a mount is for.
      volumeLifecycleModes []string #3 = Persistent set "Persistent, Ephemeral or both; they never change.
      storageCapacity bool? #4 = false "Whether pods wait until it says that there is room.
      fsGroupPolicy string? #5 = ReadWriteOnceWithFSType \#
    "When ownership is changed: None, File or ReadWriteOnceWithFSType.
      tokenRequests []TokenRequest #6 atomic "Tokens of the pod's service account that it gets.
      requiresRepublish bool? #7 = false "Whether mounts are renewed now and then.
      seLinuxMount bool? #8 = false "Whether it mounts with an SELinux context.
      nodeAllocatableUpdatePeriodSeconds int64? #9 "How often nodes ask how much they can hold; ten at least.
      serviceAccountTokenInSecrets bool? #10 "Gives tokens as secrets, not among the attributes.
      preventPodSchedulingIfMissing bool? #11 "Keeps pods off nodes that the driver does not run on.
    type TokenRequest "A token that a driver gets.
      audience string! #1 "Whom it is for; empty is the API server.
      expirationSeconds int64? #2 "How long it is valid.
    type CSINode "The storage drivers on a node; it is named after the node.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CSINodeSpec! #2 "The drivers.
      status CSINodeStatus+ #3 "How storage is on the node.
    type CSINodeSpec "The drivers on a node.
      drivers []CSINodeDriver! #1 merge(name) map(name) \#
    "One entry each; an entry goes before it comes back changed.
    type CSINodeDriver "A driver on a node.
      name string! #1 "The driver's name.
      nodeID string! #2 "What the driver calls the node.
      topologyKeys []string+ #3 atomic "Labels that say where the node is, as the driver sees it.
      allocatable VolumeNodeResources? #4 "How much the node can hold.
    type VolumeNodeResources "How much a node can hold.
      count int32? #1 "How many volumes; none is no limit.
    type CSINodeStatus "How storage is on a node.
      storageHealth []StorageHealth #1 merge(name) map(name) "What drivers report.
    type StorageHealth "What one driver reports.
      name string! #1 "The driver.
      healthConditions []StorageHealthCondition #2 atomic "What is wrong.
    type StorageHealthCondition "One thing that is wrong with storage.
      status string! #1 enum(StorageUnreachable|StorageDegraded) "StorageUnreachable or StorageDegraded.
      reason string! #2 "One word for why.
      message string #3 "What people read.
      accessMode string? #4 "The access that suffers.
      volumeMode string? #5 "The kind of volume that suffers.
      lastTransitionTime time #6 "Since when.
    type CSIStorageCapacity "How much room a driver has for a class in some part of the cluster.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      nodeTopology meta.LabelSelector? #2 "The nodes that can reach it; none is no node.
      storageClassName string! #3 "The class; it never changes.
      capacity quantity? #4 "How much is left.
      maximumVolumeSize quantity? #5 "How large one volume may be.
    type VolumeAttributesClass "Settings of a volume that may change while it is used.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      driverName string! #2 "The driver that knows them; it never changes.
      parameters map[string] #3 "The settings; they never change, a claim takes another class.
    group core - v1 io.k8s.api.core.v1
    type TopologySelectorTerm atomic "A part of the cluster: all its conditions hold there.
      matchLabelExpressions []TopologySelectorLabelRequirement #1 atomic "Labels that nodes there have.
    type TopologySelectorLabelRequirement "A label and the values it may have.
      key string! #1 "The label.
      values []string! #2 atomic "Values of which one must be there.
    """#
}

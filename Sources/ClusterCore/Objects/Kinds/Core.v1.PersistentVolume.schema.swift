// Persistent volumes and claims on them.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let corePersistentVolumeV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type PersistentVolumeClaim
      apiVersion string #0 "Group and version of this object's form.
      kind string #0 "What this object is.
      metadata meta.ObjectMeta #1
      spec PersistentVolumeClaimSpec+ #2
      status PersistentVolumeClaimStatus+ #3
    type PersistentVolumeClaimSpec
      accessModes []string #1 atomic enum(ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod)
      selector meta.LabelSelector? #4
      resources VolumeResourceRequirements+ #2
      volumeName string #3
      storageClassName string? #5
      volumeMode string? #6 = Filesystem enum(Block|Filesystem)
      dataSource TypedLocalObjectReference? #7
      dataSourceRef TypedObjectReference? #8
      volumeAttributesClassName string? #9
    type VolumeResourceRequirements
      limits map[quantity] #1
      requests map[quantity] #2
    type TypedLocalObjectReference
      apiGroup string? #1
      kind string! #2 "What this object is.
      name string! #3
    type TypedObjectReference
      apiGroup string? #1
      kind string! #2 "What this object is.
      name string! #3
      namespace string? #4
    type PersistentVolumeClaimStatus
      phase string #1 = Pending enum(Pending|Bound|Lost)
      accessModes []string #2 atomic enum(ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod)
      capacity map[quantity] #3
      conditions []PersistentVolumeClaimCondition #4 merge(type) map(type)
      allocatedResources map[quantity] #5
      allocatedResourceStatuses map[string] #7 granular
      currentVolumeAttributesClassName string? #8
      modifyVolumeStatus ModifyVolumeStatus? #9
      healthStatus VolumeHealthStatus? #10
    type PersistentVolumeClaimCondition
      type string! #1
      status string! #2
      lastProbeTime time #3
      lastTransitionTime time #4
      reason string #5
      message string #6
    type ModifyVolumeStatus
      targetVolumeAttributesClassName string #1
      status string! #2 enum(Pending|InProgress|Infeasible)
    type VolumeHealthStatus
      healthConditions []VolumeHealthCondition #1 merge(status) map(status,reason)
      lastTransitionTime time #2
    type PersistentVolume
      metadata meta.ObjectMeta #1
      spec PersistentVolumeSpec+ #2
      status PersistentVolumeStatus+ #3
    type PersistentVolumeSpec
      capacity map[quantity] #1
      ~ PersistentVolumeSource #2
      accessModes []string #3 atomic enum(ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod)
      claimRef ObjectReference? #4 granular
      persistentVolumeReclaimPolicy string #5 = Retain enum(Recycle|Delete|Retain)
      storageClassName string #6
      mountOptions []string #7 atomic
      volumeMode string? #8 = Filesystem enum(Block|Filesystem)
      nodeAffinity VolumeNodeAffinity? #9
      volumeAttributesClassName string? #10
    type PersistentVolumeStatus
      phase string #1 = Pending enum(Pending|Available|Bound|Released|Failed)
      message string #2
      reason string #3
      lastPhaseTransitionTime time? #4
    type VolumeNodeAffinity
      required NodeSelector? #1
    type SecretReference
      name string #1
      namespace string #2
    type PersistentVolumeSource
      gcePersistentDisk GCEPersistentDiskVolumeSource? #1
      awsElasticBlockStore AWSElasticBlockStoreVolumeSource? #2
      hostPath HostPathVolumeSource? #3
      glusterfs GlusterfsPersistentVolumeSource? #4
      nfs NFSVolumeSource? #5
      rbd RBDPersistentVolumeSource? #6
      iscsi ISCSIPersistentVolumeSource? #7
      cinder CinderPersistentVolumeSource? #8
      cephfs CephFSPersistentVolumeSource? #9
      fc FCVolumeSource? #10
      flocker FlockerVolumeSource? #11
      flexVolume FlexPersistentVolumeSource? #12
      azureFile AzureFilePersistentVolumeSource? #13
      vsphereVolume VsphereVirtualDiskVolumeSource? #14
      quobyte QuobyteVolumeSource? #15
      azureDisk AzureDiskVolumeSource? #16
      photonPersistentDisk PhotonPersistentDiskVolumeSource? #17
      portworxVolume PortworxVolumeSource? #18
      scaleIO ScaleIOPersistentVolumeSource? #19
      local LocalVolumeSource? #20
      storageos StorageOSPersistentVolumeSource? #21
      csi CSIPersistentVolumeSource? #22
    type LocalVolumeSource
      path string! #1
      fsType string? #2
    type CSIPersistentVolumeSource
      driver string! #1
      volumeHandle string! #2
      readOnly bool #3
      fsType string #4
      volumeAttributes map[string] #5
      controllerPublishSecretRef SecretReference? #6
      nodeStageSecretRef SecretReference? #7
      nodePublishSecretRef SecretReference? #8
      controllerExpandSecretRef SecretReference? #9
      nodeExpandSecretRef SecretReference? #10
    type GlusterfsPersistentVolumeSource
      endpoints string! #1
      path string! #2
      readOnly bool #3
      endpointsNamespace string? #4
    type RBDPersistentVolumeSource
      monitors []string! #1 atomic
      image string! #2
      fsType string #3
      pool string #4 = rbd
      user string #5 = admin
      keyring string #6 = /etc/ceph/keyring
      secretRef SecretReference? #7
      readOnly bool #8
    type ISCSIPersistentVolumeSource
      targetPortal string! #1
      iqn string! #2
      lun int32! #3
      iscsiInterface string #4 = default
      fsType string #5
      readOnly bool #6
      portals []string #7 atomic
      chapAuthDiscovery bool #8
      chapAuthSession bool #11
      secretRef SecretReference? #10
      initiatorName string? #12
    type CinderPersistentVolumeSource
      volumeID string! #1
      fsType string #2
      readOnly bool #3
      secretRef SecretReference? #4
    type CephFSPersistentVolumeSource
      monitors []string! #1 atomic
      path string #2
      user string #3
      secretFile string #4
      secretRef SecretReference? #5
      readOnly bool #6
    type FlexPersistentVolumeSource
      driver string! #1
      fsType string #2
      secretRef SecretReference? #3
      readOnly bool #4
      options map[string] #5
    type AzureFilePersistentVolumeSource
      secretName string! #1
      shareName string! #2
      readOnly bool #3
      secretNamespace string? #4
    type ScaleIOPersistentVolumeSource
      gateway string! #1
      system string! #2
      secretRef SecretReference?! #3
      sslEnabled bool #4
      protectionDomain string #5
      storagePool string #6
      storageMode string #7 = ThinProvisioned
      volumeName string #8
      fsType string #9 = xfs
      readOnly bool #10
    type StorageOSPersistentVolumeSource
      volumeName string #1
      volumeNamespace string #2
      fsType string #3
      readOnly bool #4
      secretRef ObjectReference? #5
    """#
}

// Volumes and where their content comes from.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreVolumeV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Volume
      name string! #1
      ~ VolumeSource #2
    type VolumeSource
      hostPath HostPathVolumeSource? #1
      emptyDir EmptyDirVolumeSource? #2
      gcePersistentDisk GCEPersistentDiskVolumeSource? #3
      awsElasticBlockStore AWSElasticBlockStoreVolumeSource? #4
      gitRepo GitRepoVolumeSource? #5
      secret SecretVolumeSource? #6
      nfs NFSVolumeSource? #7
      iscsi ISCSIVolumeSource? #8
      glusterfs GlusterfsVolumeSource? #9
      persistentVolumeClaim PersistentVolumeClaimVolumeSource? #10
      rbd RBDVolumeSource? #11
      flexVolume FlexVolumeSource? #12
      cinder CinderVolumeSource? #13
      cephfs CephFSVolumeSource? #14
      flocker FlockerVolumeSource? #15
      downwardAPI DownwardAPIVolumeSource? #16
      fc FCVolumeSource? #17
      azureFile AzureFileVolumeSource? #18
      configMap ConfigMapVolumeSource? #19
      vsphereVolume VsphereVirtualDiskVolumeSource? #20
      quobyte QuobyteVolumeSource? #21
      azureDisk AzureDiskVolumeSource? #22
      photonPersistentDisk PhotonPersistentDiskVolumeSource? #23
      projected ProjectedVolumeSource? #26
      portworxVolume PortworxVolumeSource? #24
      scaleIO ScaleIOVolumeSource? #25
      storageos StorageOSVolumeSource? #27
      csi CSIVolumeSource? #28
      ephemeral EphemeralVolumeSource? #29
      image ImageVolumeSource? #30
    type HostPathVolumeSource
      path string! #1
      type string? #2 = "" \#
    enum(|DirectoryOrCreate|Directory|FileOrCreate|File|Socket|CharDevice|BlockDevice)
    type EmptyDirVolumeSource
      medium string #1
      sizeLimit quantity? #2
      mode int32? #3
    type GCEPersistentDiskVolumeSource
      pdName string! #1
      fsType string #2
      partition int32 #3
      readOnly bool #4
    type AWSElasticBlockStoreVolumeSource
      volumeID string! #1
      fsType string #2
      partition int32 #3
      readOnly bool #4
    type GitRepoVolumeSource
      repository string! #1
      revision string #2
      directory string #3
    type SecretVolumeSource
      secretName string #1
      items []KeyToPath #2 atomic
      defaultMode int32? #3 = 420
      optional bool? #4
      defaultUser int64? #5
    type KeyToPath
      key string! #1
      path string! #2
      mode int32? #3
      user int64? #4
    type NFSVolumeSource
      server string! #1
      path string! #2
      readOnly bool #3
    type ISCSIVolumeSource
      targetPortal string! #1
      iqn string! #2
      lun int32! #3
      iscsiInterface string #4 = default
      fsType string #5
      readOnly bool #6
      portals []string #7 atomic
      chapAuthDiscovery bool #8
      chapAuthSession bool #11
      secretRef LocalObjectReference? #10
      initiatorName string? #12
    type LocalObjectReference
      name string #1
    type GlusterfsVolumeSource
      endpoints string! #1
      path string! #2
      readOnly bool #3
    type PersistentVolumeClaimVolumeSource
      claimName string! #1
      readOnly bool #2
    type RBDVolumeSource
      monitors []string! #1 atomic
      image string! #2
      fsType string #3
      pool string #4 = rbd
      user string #5 = admin
      keyring string #6 = /etc/ceph/keyring
      secretRef LocalObjectReference? #7
      readOnly bool #8
    type FlexVolumeSource
      driver string! #1
      fsType string #2
      secretRef LocalObjectReference? #3
      readOnly bool #4
      options map[string] #5
    type CinderVolumeSource
      volumeID string! #1
      fsType string #2
      readOnly bool #3
      secretRef LocalObjectReference? #4
    type CephFSVolumeSource
      monitors []string! #1 atomic
      path string #2
      user string #3
      secretFile string #4
      secretRef LocalObjectReference? #5
      readOnly bool #6
    type FlockerVolumeSource
      datasetName string #1
      datasetUUID string #2
    type DownwardAPIVolumeSource
      items []DownwardAPIVolumeFile #1 atomic
      defaultMode int32? #2 = 420
      defaultUser int64? #3
    type DownwardAPIVolumeFile
      path string! #1
      fieldRef ObjectFieldSelector? #2
      resourceFieldRef ResourceFieldSelector? #3
      mode int32? #4
      user int64? #5
    type ObjectFieldSelector
      apiVersion string #1 = v1
      fieldPath string! #2
    type ResourceFieldSelector
      containerName string #1
      resource string! #2
      divisor quantity #3 = 0
    type FCVolumeSource
      targetWWNs []string #1 atomic
      lun int32? #2
      fsType string #3
      readOnly bool #4
      wwids []string #5 atomic
    type AzureFileVolumeSource
      secretName string! #1
      shareName string! #2
      readOnly bool #3
    type ConfigMapVolumeSource
      ~ LocalObjectReference #1
      items []KeyToPath #2 atomic
      defaultMode int32? #3 = 420
      optional bool? #4
      defaultUser int64? #5
    type VsphereVirtualDiskVolumeSource
      volumePath string! #1
      fsType string #2
      storagePolicyName string #3
      storagePolicyID string #4
    type QuobyteVolumeSource
      registry string! #1
      volume string! #2
      readOnly bool #3
      user string #4
      group string #5
      tenant string #6
    type AzureDiskVolumeSource
      diskName string! #1
      diskURI string! #2
      cachingMode string? #3 = ReadWrite enum(None|ReadOnly|ReadWrite)
      fsType string? #4 = ext4
      readOnly bool? #5 = false
      kind string? #6 = Shared enum(Shared|Dedicated|Managed)
    type PhotonPersistentDiskVolumeSource
      pdID string! #1
      fsType string #2
    type ProjectedVolumeSource
      sources []VolumeProjection+ #1 atomic
      defaultMode int32? #2 = 420
      defaultUser int64? #3
    type VolumeProjection
      secret SecretProjection? #1
      downwardAPI DownwardAPIProjection? #2
      configMap ConfigMapProjection? #3
      serviceAccountToken ServiceAccountTokenProjection? #4
      clusterTrustBundle ClusterTrustBundleProjection? #5
      podCertificate PodCertificateProjection? #6
    type SecretProjection
      ~ LocalObjectReference #1
      items []KeyToPath #2 atomic
      optional bool? #4
    type DownwardAPIProjection
      items []DownwardAPIVolumeFile #1 atomic
    type ConfigMapProjection
      ~ LocalObjectReference #1
      items []KeyToPath #2 atomic
      optional bool? #4
    type ServiceAccountTokenProjection
      audience string #1
      expirationSeconds int64? #2 = 3600
      path string! #3
      user int64? #4
    type ClusterTrustBundleProjection
      name string? #1
      signerName string? #2
      labelSelector meta.LabelSelector? #3
      optional bool? #5
      path string! #4
      user int64? #6
    type PodCertificateProjection
      signerName string! #1
      keyType string! #2
      maxExpirationSeconds int32? #3 = 86400
      credentialBundlePath string #4
      keyPath string #5
      certificateChainPath string #6
      userAnnotations map[string] #7
      user int64? #8
    type PortworxVolumeSource
      volumeID string! #1
      fsType string #2
      readOnly bool #3
    type ScaleIOVolumeSource
      gateway string! #1
      system string! #2
      secretRef LocalObjectReference?! #3
      sslEnabled bool #4
      protectionDomain string #5
      storagePool string #6
      storageMode string #7 = ThinProvisioned
      volumeName string #8
      fsType string #9 = xfs
      readOnly bool #10
    type StorageOSVolumeSource
      volumeName string #1
      volumeNamespace string #2
      fsType string #3
      readOnly bool #4
      secretRef LocalObjectReference? #5
    type CSIVolumeSource
      driver string! #1
      readOnly bool? #2
      fsType string? #3
      volumeAttributes map[string] #4
      nodePublishSecretRef LocalObjectReference? #5
    type EphemeralVolumeSource
      volumeClaimTemplate PersistentVolumeClaimTemplate? #1
    type PersistentVolumeClaimTemplate
      metadata meta.ObjectMeta #1
      spec PersistentVolumeClaimSpec! #2
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
      kind string! #2
      name string! #3
    type TypedObjectReference
      apiGroup string? #1
      kind string! #2
      name string! #3
      namespace string? #4
    type ImageVolumeSource
      reference string #1
      pullPolicy string #2 enum(Always|Never|IfNotPresent)
    """#
}

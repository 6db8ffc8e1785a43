// Volumes of pods that other systems keep.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreStorageV1 = #"""
    group core - v1 io.k8s.api.core.v1
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
    type FCVolumeSource
      targetWWNs []string #1 atomic
      lun int32? #2
      fsType string #3
      readOnly bool #4
      wwids []string #5 atomic
    type RBDVolumeSource
      monitors []string! #1 atomic
      image string! #2
      fsType string #3
      pool string #4 = rbd
      user string #5 = admin
      keyring string #6 = /etc/ceph/keyring
      secretRef LocalObjectReference? #7
      readOnly bool #8
    type CephFSVolumeSource
      monitors []string! #1 atomic
      path string #2
      user string #3
      secretFile string #4
      secretRef LocalObjectReference? #5
      readOnly bool #6
    type CinderVolumeSource
      volumeID string! #1
      fsType string #2
      readOnly bool #3
      secretRef LocalObjectReference? #4
    type GlusterfsVolumeSource
      endpoints string! #1
      path string! #2
      readOnly bool #3
    type FlexVolumeSource
      driver string! #1
      fsType string #2
      secretRef LocalObjectReference? #3
      readOnly bool #4
      options map[string] #5
    type FlockerVolumeSource
      datasetName string #1
      datasetUUID string #2
    type GitRepoVolumeSource
      repository string! #1
      revision string #2
      directory string #3
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
    type AzureFileVolumeSource
      secretName string! #1
      shareName string! #2
      readOnly bool #3
    type AzureDiskVolumeSource
      diskName string! #1
      diskURI string! #2
      cachingMode string? #3 = ReadWrite enum(None|ReadOnly|ReadWrite)
      fsType string? #4 = ext4
      readOnly bool? #5 = false
      kind string? #6 = Shared enum(Shared|Dedicated|Managed) "What this object is.
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
    type PhotonPersistentDiskVolumeSource
      pdID string! #1
      fsType string #2
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
    """#
}

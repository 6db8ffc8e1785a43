// Volumes of pods: where their content comes from.
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
      type string? #2 = "" enum(|DirectoryOrCreate|Directory|FileOrCreate|File|Socket|CharDevice|BlockDevice)
    type EmptyDirVolumeSource
      medium string #1
      sizeLimit quantity? #2
      mode int32? #3
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
    type LocalObjectReference
      name string #1
    type PersistentVolumeClaimVolumeSource
      claimName string! #1
      readOnly bool #2
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
      apiVersion string #1 = v1 "Group and version of this object's form.
      fieldPath string! #2
    type ResourceFieldSelector
      containerName string #1
      resource string! #2
      divisor quantity #3 = 0
    type ConfigMapVolumeSource
      ~ LocalObjectReference #1
      items []KeyToPath #2 atomic
      defaultMode int32? #3 = 420
      optional bool? #4
      defaultUser int64? #5
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
    type ImageVolumeSource
      reference string #1
      pullPolicy string #2 enum(Always|Never|IfNotPresent)
    """#
}

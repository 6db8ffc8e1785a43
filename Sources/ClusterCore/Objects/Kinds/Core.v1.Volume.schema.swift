// Volumes of pods: where their content comes from.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreVolumeV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Volume "A volume of a pod.
      name string! #1 "Its name in the pod.
      ~ VolumeSource #2
    type VolumeSource "Where a volume's content comes from; one of them.
      hostPath HostPathVolumeSource? #1 "A file or folder of the node.
      emptyDir EmptyDirVolumeSource? #2 "A folder that lives as long as the pod.
      gcePersistentDisk GCEPersistentDiskVolumeSource? #3 "A disk of Google Cloud.
      awsElasticBlockStore AWSElasticBlockStoreVolumeSource? #4 "A disk of AWS.
      gitRepo GitRepoVolumeSource? #5 "A repository, cloned at the start.
      secret SecretVolumeSource? #6 "Files from a Secret.
      nfs NFSVolumeSource? #7 "A share of an NFS server.
      iscsi ISCSIVolumeSource? #8 "A disk by iSCSI.
      glusterfs GlusterfsVolumeSource? #9 "A volume of Gluster.
      persistentVolumeClaim PersistentVolumeClaimVolumeSource? #10 "The volume of a claim.
      rbd RBDVolumeSource? #11 "A block image of Ceph.
      flexVolume FlexVolumeSource? #12 "A volume of a program on the node.
      cinder CinderVolumeSource? #13 "A disk of OpenStack.
      cephfs CephFSVolumeSource? #14 "A folder of Ceph.
      flocker FlockerVolumeSource? #15 "A dataset of Flocker.
      downwardAPI DownwardAPIVolumeSource? #16 "Files that tell of the pod.
      fc FCVolumeSource? #17 "A disk by Fibre Channel.
      azureFile AzureFileVolumeSource? #18 "A share of Azure.
      configMap ConfigMapVolumeSource? #19 "Files from a ConfigMap.
      vsphereVolume VsphereVirtualDiskVolumeSource? #20 "A disk of vSphere.
      quobyte QuobyteVolumeSource? #21 "A volume of Quobyte.
      azureDisk AzureDiskVolumeSource? #22 "A disk of Azure.
      photonPersistentDisk PhotonPersistentDiskVolumeSource? #23 "A disk of Photon.
      projected ProjectedVolumeSource? #26 "Files from several sources in one folder.
      portworxVolume PortworxVolumeSource? #24 "A volume of Portworx.
      scaleIO ScaleIOVolumeSource? #25 "A volume of ScaleIO.
      storageos StorageOSVolumeSource? #27 "A volume of StorageOS.
      csi CSIVolumeSource? #28 "A volume that a CSI driver makes for the pod.
      ephemeral EphemeralVolumeSource? #29 "A volume claimed for the pod and deleted with it.
      image ImageVolumeSource? #30 "The files of an image.
    type HostPathVolumeSource "A file or folder of the node.
      path string! #1 "Where it is on the node.
      type string? #2 = "" \#
    enum(|DirectoryOrCreate|Directory|FileOrCreate|File|Socket|CharDevice|BlockDevice) "What must be there, \#
    or be made there.
    type EmptyDirVolumeSource "A folder that lives as long as the pod.
      medium string #1 "Memory keeps it in memory.
      sizeLimit quantity? #2 "How much it may hold.
      mode int32? #3 "Permission bits of the folder.
    type SecretVolumeSource "Files from a Secret.
      secretName string #1 "The Secret.
      items []KeyToPath #2 atomic "Which keys become which files; every key when empty.
      defaultMode int32? #3 = 420 "Permission bits of its files, unless an item says otherwise.
      optional bool? #4 "Whether the pod may start without it.
      defaultUser int64? #5 "The user that owns its files, unless an item says otherwise.
    type KeyToPath "Which key becomes which file.
      key string! #1 "The key.
      path string! #2 "The file, relative to the volume.
      mode int32? #3 "Permission bits of the file.
      user int64? #4 "The user that owns the file.
    type LocalObjectReference atomic "Names an object of the same namespace.
      name string #1 "The name of the object.
    type PersistentVolumeClaimVolumeSource "The volume of a claim.
      claimName string! #1 "The claim.
      readOnly bool #2 "Whether it may only be read.
    type DownwardAPIVolumeSource "Files that tell of the pod.
      items []DownwardAPIVolumeFile #1 atomic "The files.
      defaultMode int32? #2 = 420 "Permission bits of its files, unless an item says otherwise.
      defaultUser int64? #3 "The user that owns its files, unless an item says otherwise.
    type DownwardAPIVolumeFile "A file that tells of the pod.
      path string! #1 "The file, relative to the volume.
      fieldRef ObjectFieldSelector? #2 "A field of the pod.
      resourceFieldRef ResourceFieldSelector? #3 "A resource of a container.
      mode int32? #4 "Permission bits of the file.
      user int64? #5 "The user that owns the file.
    type ObjectFieldSelector atomic "A field of the pod.
      apiVersion string #1 = v1 "The version in which the path is written.
      fieldPath string! #2 "The field.
    type ResourceFieldSelector atomic "A resource of a container.
      containerName string #1 "The container.
      resource string! #2 "The resource, such as limits.cpu.
      divisor quantity #3 = 0 "The unit it is told in.
    type ConfigMapVolumeSource "Files from a ConfigMap.
      ~ LocalObjectReference #1
      items []KeyToPath #2 atomic "Which keys become which files; every key when empty.
      defaultMode int32? #3 = 420 "Permission bits of its files, unless an item says otherwise.
      optional bool? #4 "Whether the pod may start without it.
      defaultUser int64? #5 "The user that owns its files, unless an item says otherwise.
    type ProjectedVolumeSource "Files from several sources in one folder.
      sources []VolumeProjection+ #1 atomic "The sources.
      defaultMode int32? #2 = 420 "Permission bits of its files, unless an item says otherwise.
      defaultUser int64? #3 "The user that owns its files, unless an item says otherwise.
    type VolumeProjection "One source of a projected volume; one of them.
      secret SecretProjection? #1 "A Secret.
      downwardAPI DownwardAPIProjection? #2 "What tells of the pod.
      configMap ConfigMapProjection? #3 "A ConfigMap.
      serviceAccountToken ServiceAccountTokenProjection? #4 "A token of the pod's ServiceAccount.
      clusterTrustBundle ClusterTrustBundleProjection? #5 "Certificates of authorities that are trusted.
      podCertificate PodCertificateProjection? #6 "A certificate made for the pod.
    type SecretProjection "Files from a Secret.
      ~ LocalObjectReference #1
      items []KeyToPath #2 atomic "Which keys become which files; every key when empty.
      optional bool? #4 "Whether the pod may start without it.
    type DownwardAPIProjection "Files that tell of the pod.
      items []DownwardAPIVolumeFile #1 atomic "The files.
    type ConfigMapProjection "Files from a ConfigMap.
      ~ LocalObjectReference #1
      items []KeyToPath #2 atomic "Which keys become which files; every key when empty.
      optional bool? #4 "Whether the pod may start without it.
    type ServiceAccountTokenProjection "A file with a token of the pod's ServiceAccount.
      audience string #1 "For whom the token is; the API when empty.
      expirationSeconds int64? #2 = 3600 "How long a token lives; it is renewed before.
      path string! #3 "The file, relative to the volume.
      user int64? #4 "The user that owns the file.
    type ClusterTrustBundleProjection "A file with trusted certificates.
      name string? #1 "One ClusterTrustBundle, by name.
      signerName string? #2 "All of this signer.
      labelSelector meta.LabelSelector? #3 "Which of the signer's.
      optional bool? #5 "Whether there may be none.
      path string! #4 "The file, relative to the volume.
      user int64? #6 "The user that owns the file.
    type PodCertificateProjection "Files with a key and a certificate made for the pod.
      signerName string! #1 "Who signs.
      keyType string! #2 "Which kind of key.
      maxExpirationSeconds int32? #3 = 86400 "How long the certificate may live.
      credentialBundlePath string #4 "One file with key and certificates.
      keyPath string #5 "A file with the key.
      certificateChainPath string #6 "A file with the certificates.
      userAnnotations map[string] #7 "What the signer is told beside.
      user int64? #8 "The user that owns the files.
    type CSIVolumeSource "A volume that a CSI driver makes for the pod.
      driver string! #1 "The driver.
      readOnly bool? #2 "Whether it may only be read.
      fsType string? #3 "The file system to mount, such as ext4.
      volumeAttributes map[string] #4 "What the driver is told.
      nodePublishSecretRef LocalObjectReference? #5 "The Secret that the driver is given.
    type EphemeralVolumeSource "A volume claimed for the pod and deleted with it.
      volumeClaimTemplate PersistentVolumeClaimTemplate? #1 "The claim.
    type PersistentVolumeClaimTemplate "What a claim is made from.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PersistentVolumeClaimSpec! #2 "What is asked for.
    type ImageVolumeSource "The files of an image.
      reference string #1 "The image.
      pullPolicy string #2 enum(Always|Never|IfNotPresent) "When the image is pulled.
    """#
}

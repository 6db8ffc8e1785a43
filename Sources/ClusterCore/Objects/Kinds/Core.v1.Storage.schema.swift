// Volumes of pods that other systems keep.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreStorageV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type NFSVolumeSource "A share of an NFS server.
      server string! #1 "The server.
      path string! #2 "The exported folder.
      readOnly bool #3 "Whether it may only be read.
    type ISCSIVolumeSource "A disk by iSCSI.
      targetPortal string! #1 "The portal, HOST:PORT.
      iqn string! #2 "The target's name.
      lun int32! #3 "The unit's number.
      iscsiInterface string #4 = default "The interface that is used.
      fsType string #5 "The file system to mount, such as ext4.
      readOnly bool #6 "Whether it may only be read.
      portals []string #7 atomic "Further portals of the same target.
      chapAuthDiscovery bool #8 "Whether CHAP guards the discovery.
      chapAuthSession bool #11 "Whether CHAP guards the session.
      secretRef LocalObjectReference? #10 "The Secret with what is needed to log in.
      initiatorName string? #12 "The name under which the node logs in.
    type FCVolumeSource "A disk by Fibre Channel.
      targetWWNs []string #1 atomic "World-wide names of the targets.
      lun int32? #2 "The unit's number.
      fsType string #3 "The file system to mount, such as ext4.
      readOnly bool #4 "Whether it may only be read.
      wwids []string #5 atomic "World-wide ids, instead of names and number.
    type RBDVolumeSource "A block image of Ceph.
      monitors []string! #1 atomic "Ceph's monitors.
      image string! #2 "The image.
      fsType string #3 "The file system to mount, such as ext4.
      pool string #4 = rbd "The pool of the image.
      user string #5 = admin "The user that logs in.
      keyring string #6 = /etc/ceph/keyring "The file with the user's key.
      secretRef LocalObjectReference? #7 "The Secret with what is needed to log in.
      readOnly bool #8 "Whether it may only be read.
    type CephFSVolumeSource "A folder of Ceph.
      monitors []string! #1 atomic "Ceph's monitors.
      path string #2 "The folder.
      user string #3 "The user that logs in.
      secretFile string #4 "The file with the user's key.
      secretRef LocalObjectReference? #5 "The Secret with what is needed to log in.
      readOnly bool #6 "Whether it may only be read.
    type CinderVolumeSource "A disk of OpenStack.
      volumeID string! #1 "The name that its provider knows it by.
      fsType string #2 "The file system to mount, such as ext4.
      readOnly bool #3 "Whether it may only be read.
      secretRef LocalObjectReference? #4 "The Secret with what is needed to log in.
    type GlusterfsVolumeSource "A volume of Gluster.
      endpoints string! #1 "The Endpoints that name its servers.
      path string! #2 "The volume.
      readOnly bool #3 "Whether it may only be read.
    type FlexVolumeSource "A volume of a program on the node.
      driver string! #1 "The program.
      fsType string #2 "The file system to mount, such as ext4.
      secretRef LocalObjectReference? #3 "The Secret with what is needed to log in.
      readOnly bool #4 "Whether it may only be read.
      options map[string] #5 "What the program is told.
    type FlockerVolumeSource "A dataset of Flocker.
      datasetName string #1 "The dataset, by name.
      datasetUUID string #2 "The dataset, by id.
    type GitRepoVolumeSource "A repository, cloned at the start; no longer advised.
      repository string! #1 "Where it is.
      revision string #2 "The commit.
      directory string #3 "The folder that it is cloned into.
    type GCEPersistentDiskVolumeSource "A disk of Google Cloud.
      pdName string! #1 "The disk.
      fsType string #2 "The file system to mount, such as ext4.
      partition int32 #3 "Which partition to mount; zero means the whole device.
      readOnly bool #4 "Whether it may only be read.
    type AWSElasticBlockStoreVolumeSource "A disk of AWS.
      volumeID string! #1 "The name that its provider knows it by.
      fsType string #2 "The file system to mount, such as ext4.
      partition int32 #3 "Which partition to mount; zero means the whole device.
      readOnly bool #4 "Whether it may only be read.
    type AzureFileVolumeSource "A share of Azure.
      secretName string! #1 "The Secret with the account and its key.
      shareName string! #2 "The share.
      readOnly bool #3 "Whether it may only be read.
    type AzureDiskVolumeSource "A disk of Azure.
      diskName string! #1 "The disk.
      diskURI string! #2 "Where the disk is.
      cachingMode string? #3 = ReadWrite enum(None|ReadOnly|ReadWrite) "How the host caches it.
      fsType string? #4 = ext4 "The file system to mount, such as ext4.
      readOnly bool? #5 = false "Whether it may only be read.
      kind string? #6 = Shared enum(Shared|Dedicated|Managed) "How disks share an account.
    type VsphereVirtualDiskVolumeSource "A disk of vSphere.
      volumePath string! #1 "The disk's file.
      fsType string #2 "The file system to mount, such as ext4.
      storagePolicyName string #3 "The name of its storage policy.
      storagePolicyID string #4 "The id of its storage policy.
    type QuobyteVolumeSource "A volume of Quobyte.
      registry string! #1 "Its registries, HOST:PORT, separated by commas.
      volume string! #2 "The volume.
      readOnly bool #3 "Whether it may only be read.
      user string #4 "The user that mounts it.
      group string #5 "The group that mounts it.
      tenant string #6 "Whose volume it is.
    type PhotonPersistentDiskVolumeSource "A disk of Photon.
      pdID string! #1 "The disk.
      fsType string #2 "The file system to mount, such as ext4.
    type PortworxVolumeSource "A volume of Portworx.
      volumeID string! #1 "The name that its provider knows it by.
      fsType string #2 "The file system to mount, such as ext4.
      readOnly bool #3 "Whether it may only be read.
    type ScaleIOVolumeSource "A volume of ScaleIO.
      gateway string! #1 "The address of its gateway.
      system string! #2 "The storage system.
      secretRef LocalObjectReference?! #3 "The Secret with what is needed to log in.
      sslEnabled bool #4 "Whether the gateway is spoken to with TLS.
      protectionDomain string #5 "The protection domain.
      storagePool string #6 "The storage pool.
      storageMode string #7 = ThinProvisioned "Whether space is taken at once: ThickProvisioned, or \#
    ThinProvisioned.
      volumeName string #8 "The volume.
      fsType string #9 = xfs "The file system to mount, such as ext4.
      readOnly bool #10 "Whether it may only be read.
    type StorageOSVolumeSource "A volume of StorageOS.
      volumeName string #1 "The volume.
      volumeNamespace string #2 "The volume's namespace in StorageOS.
      fsType string #3 "The file system to mount, such as ext4.
      readOnly bool #4 "Whether it may only be read.
      secretRef LocalObjectReference? #5 "The Secret with what is needed to log in.
    """#
}

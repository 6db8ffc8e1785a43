// Persistent volumes and claims on them.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let corePersistentVolumeV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type PersistentVolumeClaim "A wish for storage that outlives pods.
      apiVersion string #0 "Group and version of this object's form.
      kind string #0 "What this object is.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PersistentVolumeClaimSpec+ #2 "What is asked for.
      status PersistentVolumeClaimStatus+ #3 "What was last observed.
    type PersistentVolumeClaimSpec "What storage is wished for.
      accessModes []string #1 atomic enum(ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod) "How \#
    it must be mountable.
      selector meta.LabelSelector? #4 "Labels that the volume must have.
      resources VolumeResourceRequirements+ #2 "How much it must hold.
      volumeName string #3 "The volume that it got.
      storageClassName string? #5 "The class it is made by; empty for none.
      volumeMode string? #6 = Filesystem enum(Block|Filesystem) "A file system or a bare device.
      dataSource TypedLocalObjectReference? #7 "What it begins as a copy of.
      dataSourceRef TypedObjectReference? #8 "What it begins as a copy of, of any kind.
      volumeAttributesClassName string? #9 "The class of its further attributes.
    type VolumeResourceRequirements "How much a volume must and may hold.
      limits map[quantity] #1 "The most.
      requests map[quantity] #2 "The least.
    type TypedLocalObjectReference atomic "Names an object of some kind in the same namespace.
      apiGroup string? #1 "The object's group; empty for the core group.
      kind string! #2 "What the object is.
      name string! #3 "The object's name.
    type TypedObjectReference "Names an object of some kind.
      apiGroup string? #1 "The object's group; empty for the core group.
      kind string! #2 "What the object is.
      name string! #3 "The object's name.
      namespace string? #4 "The object's namespace; the own one when empty.
    type PersistentVolumeClaimStatus "How a claim stands.
      phase string #1 = Pending enum(Pending|Bound|Lost) "Pending, Bound or Lost.
      accessModes []string #2 atomic enum(ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod) "How \#
    its volume may be mounted.
      capacity map[quantity] #3 "How much its volume holds.
      conditions []PersistentVolumeClaimCondition #4 merge(type) map(type) "What was last observed, one \#
    entry a type.
      allocatedResources map[quantity] #5 "How much it is being given.
      allocatedResourceStatuses map[string] #7 granular "How the growth of its volume stands.
      currentVolumeAttributesClassName string? #8 "The attributes' class in force.
      modifyVolumeStatus ModifyVolumeStatus? #9 "How a change of attributes stands.
      healthStatus VolumeHealthStatus? #10 "How its volume stands.
    type PersistentVolumeClaimCondition "One thing observed of a claim.
      type string! #1 "Which condition this is.
      status string! #2 "True, False or Unknown.
      lastProbeTime time #3 "When it was last looked at.
      lastTransitionTime time #4 "When the status last changed.
      reason string #5 "One word for why, for programs.
      message string #6 "What happened, for people.
    type ModifyVolumeStatus "How a change of a volume's attributes stands.
      targetVolumeAttributesClassName string #1 "The class it shall be of.
      status string! #2 enum(Pending|InProgress|Infeasible) "Pending, InProgress or Infeasible.
    type VolumeHealthStatus "How a volume stands.
      healthConditions []VolumeHealthCondition #1 merge(status) map(status,reason) "What is wrong with it.
      lastTransitionTime time #2 "When the status last changed.
    type PersistentVolume "Storage of the cluster that a claim may get.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PersistentVolumeSpec+ #2 "What is asked for.
      status PersistentVolumeStatus+ #3 "What was last observed.
    type PersistentVolumeSpec "What a volume is and whose.
      capacity map[quantity] #1 "How much it holds.
      ~ PersistentVolumeSource #2
      accessModes []string #3 atomic enum(ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod) "How \#
    it may be mounted.
      claimRef ObjectReference? #4 granular "The claim that has it.
      persistentVolumeReclaimPolicy string #5 = Retain enum(Recycle|Delete|Retain) "What becomes of it when \#
    its claim goes.
      storageClassName string #6 "The class it is of.
      mountOptions []string #7 atomic "Options that it is mounted with.
      volumeMode string? #8 = Filesystem enum(Block|Filesystem) "A file system or a bare device.
      nodeAffinity VolumeNodeAffinity? #9 "Nodes that can reach it.
      volumeAttributesClassName string? #10 "The class of its further attributes.
    type PersistentVolumeStatus "How a volume stands.
      phase string #1 = Pending enum(Pending|Available|Bound|Released|Failed) "Pending, Available, Bound, \#
    Released or Failed.
      message string #2 "What happened, for people.
      reason string #3 "One word for why, for programs.
      lastPhaseTransitionTime time? #4 "When the phase last changed.
    type VolumeNodeAffinity "Nodes that can reach a volume.
      required NodeSelector? #1 "What such a node must fulfil.
    type SecretReference atomic "Names a Secret of any namespace.
      name string #1 "The Secret.
      namespace string #2 "The Secret's namespace.
    type PersistentVolumeSource "Where a persistent volume's content is; one of them.
      gcePersistentDisk GCEPersistentDiskVolumeSource? #1 "A disk of Google Cloud.
      awsElasticBlockStore AWSElasticBlockStoreVolumeSource? #2 "A disk of AWS.
      hostPath HostPathVolumeSource? #3 "A file or folder of the node.
      glusterfs GlusterfsPersistentVolumeSource? #4 "A volume of Gluster.
      nfs NFSVolumeSource? #5 "A share of an NFS server.
      rbd RBDPersistentVolumeSource? #6 "A block image of Ceph.
      iscsi ISCSIPersistentVolumeSource? #7 "A disk by iSCSI.
      cinder CinderPersistentVolumeSource? #8 "A disk of OpenStack.
      cephfs CephFSPersistentVolumeSource? #9 "A folder of Ceph.
      fc FCVolumeSource? #10 "A disk by Fibre Channel.
      flocker FlockerVolumeSource? #11 "A dataset of Flocker.
      flexVolume FlexPersistentVolumeSource? #12 "A volume of a program on the node.
      azureFile AzureFilePersistentVolumeSource? #13 "A share of Azure.
      vsphereVolume VsphereVirtualDiskVolumeSource? #14 "A disk of vSphere.
      quobyte QuobyteVolumeSource? #15 "A volume of Quobyte.
      azureDisk AzureDiskVolumeSource? #16 "A disk of Azure.
      photonPersistentDisk PhotonPersistentDiskVolumeSource? #17 "A disk of Photon.
      portworxVolume PortworxVolumeSource? #18 "A volume of Portworx.
      scaleIO ScaleIOPersistentVolumeSource? #19 "A volume of ScaleIO.
      local LocalVolumeSource? #20 "A disk or folder of one node.
      storageos StorageOSPersistentVolumeSource? #21 "A volume of StorageOS.
      csi CSIPersistentVolumeSource? #22 "A volume of a CSI driver.
    type LocalVolumeSource "A disk or folder of one node.
      path string! #1 "Where it is on the node.
      fsType string? #2 "The file system to mount, such as ext4.
    type CSIPersistentVolumeSource "A volume of a CSI driver.
      driver string! #1 "The driver.
      volumeHandle string! #2 "What the driver calls the volume.
      readOnly bool #3 "Whether it may only be read.
      fsType string #4 "The file system to mount, such as ext4.
      volumeAttributes map[string] #5 "What the driver is told.
      controllerPublishSecretRef SecretReference? #6 "The Secret for attaching and detaching.
      nodeStageSecretRef SecretReference? #7 "The Secret for mounting it on the node.
      nodePublishSecretRef SecretReference? #8 "The Secret for mounting it into pods.
      controllerExpandSecretRef SecretReference? #9 "The Secret for growing it.
      nodeExpandSecretRef SecretReference? #10 "The Secret for growing it on the node.
    type GlusterfsPersistentVolumeSource "A volume of Gluster.
      endpoints string! #1 "The Endpoints that name its servers.
      path string! #2 "The volume.
      readOnly bool #3 "Whether it may only be read.
      endpointsNamespace string? #4 "The namespace of the Endpoints.
    type RBDPersistentVolumeSource "A block image of Ceph.
      monitors []string! #1 atomic "Ceph's monitors.
      image string! #2 "The image.
      fsType string #3 "The file system to mount, such as ext4.
      pool string #4 = rbd "The pool of the image.
      user string #5 = admin "The user that logs in.
      keyring string #6 = /etc/ceph/keyring "The file with the user's key.
      secretRef SecretReference? #7 "The Secret with what is needed to log in.
      readOnly bool #8 "Whether it may only be read.
    type ISCSIPersistentVolumeSource "A disk by iSCSI.
      targetPortal string! #1 "The portal, HOST:PORT.
      iqn string! #2 "The target's name.
      lun int32! #3 "The unit's number.
      iscsiInterface string #4 = default "The interface that is used.
      fsType string #5 "The file system to mount, such as ext4.
      readOnly bool #6 "Whether it may only be read.
      portals []string #7 atomic "Further portals of the same target.
      chapAuthDiscovery bool #8 "Whether CHAP guards the discovery.
      chapAuthSession bool #11 "Whether CHAP guards the session.
      secretRef SecretReference? #10 "The Secret with what is needed to log in.
      initiatorName string? #12 "The name under which the node logs in.
    type CinderPersistentVolumeSource "A disk of OpenStack.
      volumeID string! #1 "The name that its provider knows it by.
      fsType string #2 "The file system to mount, such as ext4.
      readOnly bool #3 "Whether it may only be read.
      secretRef SecretReference? #4 "The Secret with what is needed to log in.
    type CephFSPersistentVolumeSource "A folder of Ceph.
      monitors []string! #1 atomic "Ceph's monitors.
      path string #2 "The folder.
      user string #3 "The user that logs in.
      secretFile string #4 "The file with the user's key.
      secretRef SecretReference? #5 "The Secret with what is needed to log in.
      readOnly bool #6 "Whether it may only be read.
    type FlexPersistentVolumeSource "A volume of a program on the node.
      driver string! #1 "The program.
      fsType string #2 "The file system to mount, such as ext4.
      secretRef SecretReference? #3 "The Secret with what is needed to log in.
      readOnly bool #4 "Whether it may only be read.
      options map[string] #5 "What the program is told.
    type AzureFilePersistentVolumeSource "A share of Azure.
      secretName string! #1 "The Secret with the account and its key.
      shareName string! #2 "The share.
      readOnly bool #3 "Whether it may only be read.
      secretNamespace string? #4 "Where the Secret is; the claim's namespace when nothing is said.
    type ScaleIOPersistentVolumeSource "A volume of ScaleIO.
      gateway string! #1 "The address of its gateway.
      system string! #2 "The storage system.
      secretRef SecretReference?! #3 "The Secret with what is needed to log in.
      sslEnabled bool #4 "Whether the gateway is spoken to with TLS.
      protectionDomain string #5 "The protection domain.
      storagePool string #6 "The storage pool.
      storageMode string #7 = ThinProvisioned "Whether space is taken at once: ThickProvisioned, or \#
    ThinProvisioned.
      volumeName string #8 "The volume.
      fsType string #9 = xfs "The file system to mount, such as ext4.
      readOnly bool #10 "Whether it may only be read.
    type StorageOSPersistentVolumeSource "A volume of StorageOS.
      volumeName string #1 "The volume.
      volumeNamespace string #2 "The volume's namespace in StorageOS.
      fsType string #3 "The file system to mount, such as ext4.
      readOnly bool #4 "Whether it may only be read.
      secretRef ObjectReference? #5 "The Secret with what is needed to log in.
    """#
}

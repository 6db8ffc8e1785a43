// Which rules hold for the kinds that serve the cluster itself: access, admission, storage, sharing.

extension Validator {
  static func rulesOfServices(for gvk: GroupVersionKind) -> Rules? {
    switch gvk.group {
    case "rbac.authorization.k8s.io":
      [
        "Role": role, "ClusterRole": clusterRole, "RoleBinding": roleBinding,
        "ClusterRoleBinding": clusterRoleBinding,
      ][gvk.kind]
    case "certificates.k8s.io":
      [
        "CertificateSigningRequest": certificateRequest, "ClusterTrustBundle": trustBundle,
        "PodCertificateRequest": podCertificateRequest,
      ][gvk.kind]
    case "storage.k8s.io":
      [
        "StorageClass": storageClass, "VolumeAttachment": volumeAttachment, "CSIDriver": csiDriver,
        "CSINode": csiNode, "CSIStorageCapacity": storageCapacity,
        "VolumeAttributesClass": volumeAttributesClass,
      ][gvk.kind]
    case "admissionregistration.k8s.io":
      [
        "MutatingWebhookConfiguration": mutatingWebhooks,
        "ValidatingWebhookConfiguration": validatingWebhooks,
        "ValidatingAdmissionPolicy": validatingPolicy, "MutatingAdmissionPolicy": mutatingPolicy,
        "ValidatingAdmissionPolicyBinding": validatingPolicyBinding,
        "MutatingAdmissionPolicyBinding": mutatingPolicyBinding,
      ][gvk.kind]
    case "flowcontrol.apiserver.k8s.io":
      ["FlowSchema": flowSchema, "PriorityLevelConfiguration": priorityLevel][gvk.kind]
    case "networking.k8s.io": ["ServiceCIDR": serviceCIDR, "IPAddress": ipAddress][gvk.kind]
    case "apiregistration.k8s.io": apiService
    case "scheduling.k8s.io": gvk.kind == "PriorityClass" ? priorityClass : nil
    case "node.k8s.io": runtimeClass
    default: nil
    }
  }
}

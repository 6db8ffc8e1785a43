// Requests for certificates, and bundles of roots.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let certificatesV1 = #"""
    group certificates certificates.k8s.io v1 io.k8s.api.certificates.v1
    kind CertificateSigningRequest certificatesigningrequests short=csr sub=approval,status
    kind ClusterTrustBundle clustertrustbundles
    kind PodCertificateRequest podcertificaterequests ns sub=status
    type CertificateSigningRequest
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CertificateSigningRequestSpec! #2
      status CertificateSigningRequestStatus+ #3
    type CertificateSigningRequestSpec
      request bytes! #1
      signerName string! #7
      expirationSeconds int32? #8
      usages []string #5 enum(signing|digital_signature|content_commitment|key_encipherment|key_agreement|\
          data_encipherment|cert_sign|crl_sign|encipher_only|decipher_only|any|server_auth|client_auth|\
          code_signing|email_protection|s/mime|ipsec_end_system|ipsec_tunnel|ipsec_user|timestamping|\
          ocsp_signing|microsoft_sgc|netscape_sgc) atomic
      username string #2
      uid string #3
      groups []string #4 atomic
      extra map[[]string] #6
    type CertificateSigningRequestStatus
      conditions []CertificateSigningRequestCondition #1 map(type)
      certificate bytes #2
    type CertificateSigningRequestCondition
      type string! #1
      status string! #6
      reason string #2
      message string #3
      lastUpdateTime time #4
      lastTransitionTime time #5
    type ClusterTrustBundle
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ClusterTrustBundleSpec! #2
    type ClusterTrustBundleSpec
      signerName string #1
      trustBundle string! #2
    type PodCertificateRequest
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PodCertificateRequestSpec! #2
      status PodCertificateRequestStatus+ #3
    type PodCertificateRequestSpec
      signerName string! #1
      podName string! #2
      podUID string! #3
      serviceAccountName string! #4
      serviceAccountUID string! #5
      nodeName string! #6
      nodeUID string! #7
      maxExpirationSeconds int32? #8 = 86400
      stubPKCS10Request bytes! #12
      unverifiedUserAnnotations map[string] #11
    type PodCertificateRequestStatus
      conditions []meta.Condition #1 merge(type) map(type)
      certificateChain string #2
      notBefore time? #4
      beginRefreshAt time? #5
      notAfter time? #6
    """#
}

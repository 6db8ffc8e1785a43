// Requests for certificates, and bundles of roots.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let certificatesV1 = #"""
    group certificates certificates.k8s.io v1 io.k8s.api.certificates.v1
    kind CertificateSigningRequest certificatesigningrequests short=csr sub=approval,status
    kind ClusterTrustBundle clustertrustbundles
    kind PodCertificateRequest podcertificaterequests ns sub=status
    type CertificateSigningRequest "Asks a signer for a certificate. Somebody approves it, then it is signed.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec CertificateSigningRequestSpec! #2 "What is asked for; it never changes.
      status CertificateSigningRequestStatus+ #3 "The verdict and the certificate.
    type CertificateSigningRequestSpec "A request, its signer, and who asks.
      request bytes! #1 "A PKCS#10 request in PEM.
      signerName string! #7 "Who is to sign it, such as kubernetes.io/kubelet-serving.
      expirationSeconds int32? #8 "How long it is to be valid; 600 at least. The signer may give less.
      usages []string #5 enum(signing|digital_signature|content_commitment|key_encipherment|key_agreement|\#
    data_encipherment|cert_sign|crl_sign|encipher_only|decipher_only|any|server_auth|client_auth|\#
    code_signing|email_protection|s/mime|ipsec_end_system|ipsec_tunnel|ipsec_user|timestamping|\#
    ocsp_signing|microsoft_sgc|netscape_sgc) atomic "What the key is for.
      username string #2 "Who asks; written by the server.
      uid string #3 "The asker's uid; written by the server.
      groups []string #4 atomic "The asker's groups; written by the server.
      extra map[[]string] #6 "What else is known of the asker; written by the server.
    type CertificateSigningRequestStatus "The verdict and the certificate.
      conditions []CertificateSigningRequestCondition #1 map(type) \#
    "Approved, Denied or Failed; what came does not go.
      certificate bytes #2 "The certificate and its chain in PEM.
    type CertificateSigningRequestCondition "A verdict, or a failure.
      type string! #1 "Approved, Denied, Failed, or another word.
      status string! #6 "True; others also False and Unknown.
      reason string #2 "One word for why.
      message string #3 "What people read.
      lastUpdateTime time #4 "When it was written last.
      lastTransitionTime time #5 "When its status changed last.
    type ClusterTrustBundle "Roots that pods may trust.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ClusterTrustBundleSpec! #2 "The roots.
    type ClusterTrustBundleSpec "The roots and whose they are.
      signerName string #1 "Whose roots they are; the bundle's name begins with it. It never changes.
      trustBundle string! #2 "Certificates in PEM, each once.
    type PodCertificateRequest "A node's request for a certificate of one of its pods.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec PodCertificateRequestSpec! #2 "What is asked for; it never changes.
      status PodCertificateRequestStatus+ #3 "The certificate.
    type PodCertificateRequestSpec "A pod, its key, and the signer.
      signerName string! #1 "Who is to sign it.
      podName string! #2 "The pod.
      podUID string! #3 "The pod's uid.
      serviceAccountName string! #4 "The pod's service account.
      serviceAccountUID string! #5 "The service account's uid.
      nodeName string! #6 "The pod's node.
      nodeUID string! #7 "The node's uid.
      maxExpirationSeconds int32? #8 = 86400 "How long it may be valid; an hour at least.
      stubPKCS10Request bytes! #12 "A PKCS#10 request in DER that shows the key and signs for it.
      unverifiedUserAnnotations map[string] #11 "What the pod's author says; nobody checked it.
    type PodCertificateRequestStatus "The certificate, or why there is none.
      conditions []meta.Condition #1 merge(type) map(type) "Issued, Denied or Failed; one of them.
      certificateChain string #2 "The certificate and its chain in PEM.
      notBefore time? #4 "When it begins to be valid.
      beginRefreshAt time? #5 "When to ask for the next one.
      notAfter time? #6 "When it ends.
    """#
}

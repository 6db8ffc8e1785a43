// Who may have certificates approved and signed, by signer: `approve` and `sign` on `signers` of
// certificates.k8s.io, named in full or by domain (`example.com/*`).

import ClusterClient
import ClusterObjects
import SwiftASN1
import X509

/// Asks about one signer.
enum SignerPermission {
  static let kind = GroupResource("certificates.k8s.io", "certificatesigningrequests")

  static func isGiven(
    _ verb: String, signer: String, to identity: Identity, by access: Access
  ) async -> Bool {
    let domain = signer.split(separator: "/", maxSplits: 1).first.map(String.init) ?? signer
    for name in [signer, "\(domain)/*"] {
      let asked = AccessAttributes(
        identity: identity, verb: verb, group: "certificates.k8s.io", version: "*", resource: "signers",
        name: name)
      if case .allow = await access.decide(asked) { return true }
    }
    return false
  }
}

/// Whoever approves or denies must hold `approve` for the request's signer.
struct CertificateApproval: AdmissionPlugin {
  let name = "CertificateApproval"
  let interest = AdmissionInterest.validating(
    [SignerPermission.kind], [.update], subresources: ["approval"])
  let access: Access

  func validate(_ request: inout AdmissionRequest) async throws {
    let signer = request.old?.at("spec", "signerName")?.string ?? ""
    let identity = request.identity
    if await SignerPermission.isGiven("approve", signer: signer, to: identity, by: access) { return }
    throw request.forbidden("user not permitted to approve requests with signerName \"\(signer)\"")
  }
}

/// Whoever writes the certificate, or that there will be none, must hold `sign` for the request's signer.
struct CertificateSigning: AdmissionPlugin {
  let name = "CertificateSigning"
  let interest = AdmissionInterest.validating(
    [SignerPermission.kind], [.update], subresources: ["status"])
  let access: Access

  func validate(_ request: inout AdmissionRequest) async throws {
    let (old, new) = (request.old?.status ?? .null, request.object?.status ?? .null)
    if old["certificate"] == new["certificate"], old["conditions"] == new["conditions"] { return }
    let signer = request.old?.at("spec", "signerName")?.string ?? ""
    let identity = request.identity
    if await SignerPermission.isGiven("sign", signer: signer, to: identity, by: access) { return }
    throw request.forbidden("user not permitted to sign requests with signerName \"\(signer)\"")
  }
}

/// No certificate of a client makes its holder a member of `system:masters`.
struct CertificateSubjectRestriction: AdmissionPlugin {
  let name = "CertificateSubjectRestriction"
  let interest = AdmissionInterest.validating([SignerPermission.kind], [.create])
  private static let signer = "kubernetes.io/kube-apiserver-client"

  func validate(_ request: inout AdmissionRequest) async throws {
    guard let spec = request.object?.spec, spec["signerName"]?.string == Self.signer else { return }
    guard let bytes = Base64.decode(spec["request"]?.string ?? ""),
      let asked = try? CertificateSigningRequest(pemEncoded: String(decoding: bytes, as: UTF8.self))
    else {
      throw Failure.invalid(
        request.kind, request.name,
        [
          FieldError.invalid(
            "spec.request", spec["request"] ?? "", "PEM block type must be CERTIFICATE REQUEST")
        ])
    }
    for attribute in asked.subject.flatMap({ $0 }) where attribute.type == .RDNAttributeType.organizationName
    {
      guard "\(attribute.value)" == SystemMasters.group else { continue }
      throw request.forbidden(
        "use of \(Self.signer) signer with \(SystemMasters.group) group is not allowed")
    }
  }
}

// The authority signs what others ask for: subject, names and key are theirs, everything else is ours.

import ClusterObjects
import Crypto
import Diagnostics
import FoundationEssentials
import FuzzLab
import SwiftASN1
import Testing
import X509

@testable import ClusterServer

@Suite struct CertificateRequestTests {
  /// A request in PEM for a fresh key.
  func request(
    _ name: String, organization: String, names: [GeneralName] = []
  ) throws -> (pem: [UInt8], key: Certificate.PrivateKey) {
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    var attributes = CertificateSigningRequest.Attributes()
    if !names.isEmpty {
      let wanted = try Certificate.Extensions { SubjectAlternativeNames(names) }
      attributes.insert(try .init(ExtensionRequest(extensions: wanted)))
    }
    let made = try CertificateSigningRequest(
      version: .v1,
      subject: DistinguishedName {
        OrganizationName(organization)
        CommonName(name)
      }, privateKey: key, attributes: attributes)
    return (Array(try made.serializeAsPEM().pemString.utf8), key)
  }

  @Test(arguments: [
    (["client auth"], 3600), (["digital signature", "key encipherment", "server auth"], 86_400),
  ])
  func `a certificate is for the key, the name and the time that were asked for`(
    usages: [String], seconds: Int
  ) async throws {
    try await withFolder { folder in
      let authority = try CertificateAuthority(folder: folder)
      let (pem, key) = try request(
        "system:node:n1", organization: "system:nodes",
        names: [.dnsName("n1"), .ipAddress(ASN1OctetString(contentBytes: [192, 0, 2, 1]))])
      let content = try CertificateAuthority.inspect(request: pem)
      #expect(content.commonName == "system:node:n1" && content.organizations == ["system:nodes"])
      #expect(content.dnsNames == ["n1"] && content.addresses == 1 && !content.hasOtherNames)
      let text = try authority.sign(request: pem, usages: usages, seconds: seconds)
      let made = try Certificate(pemEncoded: text)
      let root = try Certificate(pemEncoded: authority.pem)
      #expect(root.publicKey.isValidSignature(made.signature, for: made))
      #expect(made.publicKey == key.publicKey && made.issuer == root.subject)
      let lifetime = made.notValidAfter.timeIntervalSince(made.notValidBefore)
      #expect(lifetime == Double(seconds) + 300)
      #expect(try made.extensions.subjectAlternativeNames?.count == 2)
      #expect(
        try made.extensions.extendedKeyUsage?.contains(
          usages.contains("client auth") ? .clientAuth : .serverAuth)
          == true)
      // An empty key usage is none: Go refuses it.
      #expect(try made.extensions.keyUsage?.digitalSignature == (usages.count > 1 ? true : nil))
      #expect(try made.extensions.basicConstraints == .notCertificateAuthority)
    }
  }

  @Test func `nothing outlives the authority`() async throws {
    try await withFolder { folder in
      let authority = try CertificateAuthority(folder: folder)
      let (pem, _) = try request("x", organization: "y")
      let made = try Certificate(
        pemEncoded: authority.sign(request: pem, usages: ["client auth"], seconds: 20 * 365 * 86_400))
      #expect(made.notValidAfter == (try Certificate(pemEncoded: authority.pem)).notValidAfter)
    }
  }

  @Test func `no bytes make the reader fail, and a changed request is not signed by its key`() throws {
    let (pem, _) = try request("jane", organization: "dev", names: [.dnsName("a")])
    #expect(throws: (any Error).self) { try CertificateAuthority.inspect(request: []) }
    for bytes in mutations(of: pem, count: 400, seed: 3) where bytes != pem {
      guard let content = try? CertificateAuthority.inspect(request: bytes) else { continue }
      // Only what stands around the encoded bytes may differ.
      #expect(content.commonName == "jane" && content.dnsNames == ["a"])
    }
  }
}

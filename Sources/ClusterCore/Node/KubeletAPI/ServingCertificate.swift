// What the node agent shows to the API server: a certificate of its own, made anew at each start, or with `serverTLSBootstrap`
// one that the cluster signed. The Node object carries its digest, and who may write the Node is whom the API server believes.

import Addresses
import Crypto
import Diagnostics
import FoundationEssentials
import NIOSSL
import SwiftASN1
import X509

struct ServingCertificate: Sendable {
  /// As the API server looks for it on the Node.
  static let annotation = "weft.dev/kubelet-certificate-sha256"
  private static let validSeconds: Int64 = 10 * 365 * 86_400

  /// The certificate first.
  let chain: [NIOSSLCertificate]
  let key: NIOSSLPrivateKey
  /// SHA-256 of the certificate, in hexadecimal.
  let digest: String

  /// One that the cluster signed. Throws what the TLS library says of it.
  init(_ issued: NodeCertificate) throws {
    chain = try NIOSSLCertificate.fromPEMBytes(Array(issued.certificate.utf8))
    key = try NIOSSLPrivateKey(bytes: Array(issued.key.utf8), format: .pem)
    digest = issued.digest
  }

  init(nodeName: String, addresses: [IPAddress]) throws(WeftError) {
    do {
      let key = P256.Signing.PrivateKey()
      let signing = Certificate.PrivateKey(key)
      let name = try DistinguishedName {
        OrganizationName("system:nodes")
        CommonName("system:node:\(nodeName)")
      }
      let now = Timestamp.now().seconds
      let names =
        [GeneralName.dnsName(nodeName)]
        + addresses.map { .ipAddress(ASN1OctetString(contentBytes: $0.bytes[...])) }
      let made = try Certificate(
        version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: signing.publicKey,
        notValidBefore: Date(timeIntervalSince1970: Double(now - 3600)),
        notValidAfter: Date(timeIntervalSince1970: Double(now + Self.validSeconds)), issuer: name,
        subject: name, signatureAlgorithm: .ecdsaWithSHA256,
        extensions: try Certificate.Extensions {
          Critical(BasicConstraints.notCertificateAuthority)
          Critical(KeyUsage(digitalSignature: true))
          try ExtendedKeyUsage([.serverAuth])
          SubjectAlternativeNames(names)
        }, issuerPrivateKey: signing)
      let bytes = try made.serializeAsPEM().derBytes
      chain = [try NIOSSLCertificate(bytes: bytes, format: .der)]
      self.key = try NIOSSLPrivateKey(bytes: Array(key.derRepresentation), format: .der)
      digest = sha256Text(bytes)
    } catch {
      throw WeftError(
        "API0051", object: "node \(nodeName)", cause: "no certificate could be made for the node agent",
        next: "report this with -v", underlying: error)
    }
  }
}

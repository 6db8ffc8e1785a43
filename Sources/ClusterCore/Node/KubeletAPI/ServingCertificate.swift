// What the node agent shows to the API server: a certificate of its own, made anew at each start. The Node object carries
// its digest, and who may write the Node is whom the API server believes.

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

  let certificate: NIOSSLCertificate
  let key: NIOSSLPrivateKey
  /// SHA-256 of the certificate, in hexadecimal.
  let digest: String

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
      certificate = try NIOSSLCertificate(bytes: bytes, format: .der)
      self.key = try NIOSSLPrivateKey(bytes: Array(key.derRepresentation), format: .der)
      digest = SHA256.hash(data: bytes).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    } catch {
      throw WeftError(
        "API0051", object: "node \(nodeName)", cause: "no certificate could be made for the node agent",
        next: "report this with -v", underlying: error)
    }
  }
}

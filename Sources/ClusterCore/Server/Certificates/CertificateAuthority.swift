// The cluster's own certificate authority: who is trusted, and what the server and its clients show.
//
//   <folder>/ca.crt ca.key             ten years, made once
//            server.crt server.key     one year; made anew when it runs out, or names are missing
//            admin.crt admin.key       one year, O=system:masters
//
// Keys are P-256: a pair takes well under a millisecond, so nothing is prepared ahead of time.

import Crypto
import Diagnostics
import Glibc
import SwiftASN1
import X509

/// A certificate and its key, as PEM text.
public struct CertifiedKey: Sendable {
  public var certificate: String
  public var key: String
  public init(certificate: String, key: String) {
    self.certificate = certificate
    self.key = key
  }
}

/// Issues certificates. Reads its folder once; files are written whole or not at all, keys with mode 0600.
public struct CertificateAuthority: Sendable {
  private let folder: String
  private let key: Certificate.PrivateKey
  private let certificate: Certificate
  /// The authority's own certificate, what clients trust.
  public let pem: String

  private static let year: Int64 = 365 * 86_400
  /// A certificate with less than this left is made anew at start.
  private static let renewBefore: Int64 = 30 * 86_400

  /// Opens the authority in `folder`, or makes one. Errors: `API0003` a file cannot be read or written.
  public init(folder: String, name commonName: String = "weft-ca") throws(WeftError) {
    self.folder = folder
    if mkdir(folder, 0o700) != 0, errno != EEXIST { throw PrivateFile.unusable(folder, errno) }
    if let certificateText = try PrivateFile.read(folder + "/ca.crt"),
      let keyText = try PrivateFile.read(folder + "/ca.key")
    {
      do {
        key = try Certificate.PrivateKey(pemEncoded: keyText)
        certificate = try Certificate(pemEncoded: certificateText)
      } catch {
        throw WeftError(
          "API0003", object: folder + "/ca.key", cause: "not a certificate and its key",
          next: "restore both files, or remove \(folder) to make new ones (all kubeconfigs become invalid)",
          underlying: error)
      }
      pem = certificateText
      return
    }
    let issued: (Certificate.PrivateKey, Certificate, String)
    do {
      let fresh = Certificate.PrivateKey(P256.Signing.PrivateKey())
      let name = try DistinguishedName { CommonName(commonName) }
      let now = Timestamp.now().seconds
      let extensions = try Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
        Critical(KeyUsage(digitalSignature: true, keyCertSign: true, cRLSign: true))
        SubjectKeyIdentifier(hash: fresh.publicKey)
      }
      let made = try Certificate(
        version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: fresh.publicKey,
        notValidBefore: Self.date(now - 3600), notValidAfter: Self.date(now + 10 * Self.year), issuer: name,
        subject: name, signatureAlgorithm: .ecdsaWithSHA256, extensions: extensions, issuerPrivateKey: fresh)
      issued = (fresh, made, try made.serializeAsPEM().pemString + "\n")
      try PrivateFile.write(folder + "/ca.key", try fresh.serializeAsPEM().pemString + "\n", mode: 0o600)
    } catch let error as WeftError {
      throw error
    } catch {
      throw Self.failed(folder, error)
    }
    (key, certificate, pem) = issued
    try PrivateFile.write(folder + "/ca.crt", pem, mode: 0o644)
  }

  /// What is served: valid for all of `names` and `addresses`. Kept across starts while it is valid for all
  /// of them.
  public func server(names: [String], addresses: [[UInt8]]) throws(WeftError) -> CertifiedKey {
    let wanted =
      names.map(GeneralName.dnsName) + addresses.map { .ipAddress(ASN1OctetString(contentBytes: $0[...])) }
    return try kept("server", covers: wanted) { () throws in
      try issue(
        subject: DistinguishedName { CommonName("kube-apiserver") }, usage: .serverAuth, names: wanted)
    }
  }

  /// A client's certificate: user `user` in `groups`. Kept in the folder under `file` across starts.
  public func client(file: String, user: String, groups: [String]) throws(WeftError) -> CertifiedKey {
    try kept(file, covers: []) { () throws in
      try issue(
        subject: DistinguishedName {
          for group in groups { OrganizationName(group) }
          CommonName(user)
        }, usage: .clientAuth, names: [])
    }
  }

  private func kept(
    _ file: String, covers names: [GeneralName], make: () throws -> CertifiedKey
  ) throws(WeftError) -> CertifiedKey {
    let path = "\(folder)/\(file)"
    if let certificateText = try PrivateFile.read(path + ".crt"),
      let keyText = try PrivateFile.read(path + ".key"),
      let found = try? Certificate(pemEncoded: certificateText), found.issuer == certificate.subject,
      certificate.publicKey.isValidSignature(found.signature, for: found),
      Self.date(Timestamp.now().seconds + Self.renewBefore) < found.notValidAfter
    {
      let present = (try? found.extensions.subjectAlternativeNames).map { Set($0) } ?? []
      if present.isSuperset(of: names) { return CertifiedKey(certificate: certificateText, key: keyText) }
    }
    let made: CertifiedKey
    do { made = try make() } catch { throw Self.failed(path, error) }
    try PrivateFile.write(path + ".key", made.key, mode: 0o600)
    try PrivateFile.write(path + ".crt", made.certificate, mode: 0o644)
    return made
  }

  private func issue(
    subject: DistinguishedName, usage: ExtendedKeyUsage.Usage, names: [GeneralName]
  ) throws -> CertifiedKey {
    let fresh = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let now = Timestamp.now().seconds
    let extensions = try Certificate.Extensions {
      Critical(BasicConstraints.notCertificateAuthority)
      Critical(KeyUsage(digitalSignature: true))
      try ExtendedKeyUsage([usage])
      SubjectKeyIdentifier(hash: fresh.publicKey)
      if !names.isEmpty { SubjectAlternativeNames(names) }
    }
    let made = try issue(
      key: fresh.publicKey, subject: subject, from: now - 3600, until: now + Self.year, extensions: extensions
    )
    return CertifiedKey(certificate: made, key: try fresh.serializeAsPEM().pemString + "\n")
  }

  /// A certificate in PEM for a key; times are seconds since 1970.
  func issue(
    key subjectKey: Certificate.PublicKey, subject: DistinguishedName, from start: Int64, until end: Int64,
    extensions: Certificate.Extensions
  ) throws -> String {
    // Nothing outlives the authority.
    let last = min(Self.date(end), certificate.notValidAfter)
    let made = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: subjectKey,
      notValidBefore: Self.date(start), notValidAfter: last, issuer: certificate.subject, subject: subject,
      signatureAlgorithm: .ecdsaWithSHA256, extensions: extensions, issuerPrivateKey: key)
    return try made.serializeAsPEM().pemString + "\n"
  }

  private static func failed(_ object: String, _ error: any Error) -> WeftError {
    WeftError(
      "API0004", object: object, cause: "no certificate could be made", next: "report this with -v",
      underlying: error)
  }
}

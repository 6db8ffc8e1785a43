// The cluster's own certificate authority: who is trusted, and what the server and its clients show.
//
//   <folder>/ca.crt ca.key             ten years; the certificate of ca.key signs, others beside it are trusted too
//            server.crt server.key     one year; made anew in its last third, or when names are missing
//            admin.crt admin.key       one year, O=system:masters
//
// Keys are P-256: a pair takes well under a millisecond, so nothing is prepared ahead of time.

import ClusterClient
import Crypto
import Diagnostics
import Glibc
import SwiftASN1
import X509

/// A certificate and its key, as PEM text.
public struct CertifiedKey: Sendable, Hashable {
  public var certificate: String
  public var key: String
  public init(certificate: String, key: String) {
    self.certificate = certificate
    self.key = key
  }
}

/// Issues certificates. Reads its folder once; files are written whole or not at all, keys with mode 0600.
public struct CertificateAuthority: Sendable {
  let folder: String
  let key: Certificate.PrivateKey
  /// The one that signs.
  let certificate: Certificate
  /// What clients trust: the authority's own certificate, and while one takes another's place, both.
  public let pem: String
  let now: @Sendable () -> Int64

  static let year: Int64 = 365 * 86_400
  /// An authority's life, in seconds.
  static let life = 10 * year

  /// Opens the authority in `folder`, or makes one. One that signed itself and has less than a third of its life left is
  /// renewed with the same name and key, so that whoever trusts the old certificate trusts what the new one signs. Errors:
  /// `API0003` a file cannot be read or written.
  /// - Parameter now: seconds since 1970.
  public init(
    folder: String, name commonName: String = "weft-ca",
    now: @escaping @Sendable () -> Int64 = { Timestamp.now().seconds }
  ) throws(WeftError) {
    self.folder = folder
    self.now = now
    if mkdir(folder, 0o700) != 0, errno != EEXIST { throw PrivateFile.unusable(folder, errno) }
    if let bundle = try PrivateFile.read(folder + "/ca.crt"),
      let keyText = try PrivateFile.read(folder + "/ca.key")
    {
      let found = try Self.signer(bundle, keyText, folder: folder)
      key = found.key
      guard found.certificate.issuer == found.certificate.subject, found.certificate.isLate(at: now()) else {
        (certificate, pem) = (found.certificate, bundle)
        return
      }
      let old = found.certificate
      do {
        let made = try Self.selfSigned(key, subject: old.subject, now: now())
        // Those beside it stay.
        let rest = PEM.blocks(bundle).filter { (try? Certificate(pemEncoded: $0)) != old }
        (certificate, pem) = (made.certificate, made.pem + rest.joined())
      } catch { throw Self.failed(folder, error) }
      try PrivateFile.write(folder + "/ca.crt", pem, mode: 0o644)
      return
    }
    let made: (certificate: Certificate, pem: String)
    do {
      key = Certificate.PrivateKey(P256.Signing.PrivateKey())
      made = try Self.selfSigned(key, subject: DistinguishedName { CommonName(commonName) }, now: now())
      try PrivateFile.write(folder + "/ca.key", try key.pem(), mode: 0o600)
    } catch let error as WeftError {
      throw error
    } catch {
      throw Self.failed(folder, error)
    }
    (certificate, pem) = made
    try PrivateFile.write(folder + "/ca.crt", pem, mode: 0o644)
  }

  /// The key, and its certificate among those of the bundle.
  private static func signer(
    _ bundle: String, _ keyText: String, folder: String
  ) throws(WeftError) -> (key: Certificate.PrivateKey, certificate: Certificate) {
    var underlying: (any Error)?
    do {
      let key = try Certificate.PrivateKey(pemEncoded: keyText)
      for block in PEM.blocks(bundle) {
        let certificate = try Certificate(pemEncoded: block)
        if certificate.publicKey == key.publicKey { return (key, certificate) }
      }
    } catch { underlying = error }
    throw WeftError(
      "API0003", object: folder + "/ca.key", cause: "not a certificate and its key",
      next: "restore both files, or remove \(folder) to make new ones (all kubeconfigs become invalid)",
      underlying: underlying)
  }

  /// A new authority's certificate.
  static func selfSigned(
    _ key: Certificate.PrivateKey, subject: DistinguishedName, now: Int64
  ) throws -> (certificate: Certificate, pem: String) {
    let extensions = try Certificate.Extensions {
      Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
      Critical(KeyUsage(digitalSignature: true, keyCertSign: true, cRLSign: true))
      SubjectKeyIdentifier(hash: key.publicKey)
    }
    let made = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
      notValidBefore: date(now - 3600), notValidAfter: date(now + life), issuer: subject,
      subject: subject, signatureAlgorithm: .ecdsaWithSHA256, extensions: extensions, issuerPrivateKey: key)
    return (made, try made.pem())
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
      certificate.publicKey.isValidSignature(found.signature, for: found), !found.isLate(at: now()),
      // Two writers at once may have left one's key beside the other's certificate.
      (try? Certificate.PrivateKey(pemEncoded: keyText))?.publicKey == found.publicKey
    {
      let present = (try? found.extensions.subjectAlternativeNames).map { Set($0) } ?? []
      if present.isSuperset(of: names) { return CertifiedKey(certificate: certificateText, key: keyText) }
    }
    let made: CertifiedKey
    do { made = try make() } catch { throw Self.failed(path, error) }
    try write(made, file)
    return made
  }

  func write(_ made: CertifiedKey, _ file: String) throws(WeftError) {
    try PrivateFile.write("\(folder)/\(file).key", made.key, mode: 0o600)
    try PrivateFile.write("\(folder)/\(file).crt", made.certificate, mode: 0o644)
  }

  private func issue(
    subject: DistinguishedName, usage: ExtendedKeyUsage.Usage, names: [GeneralName]
  ) throws -> CertifiedKey {
    let fresh = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let now = now()
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
    return CertifiedKey(certificate: made, key: try fresh.pem())
  }

  /// A certificate in PEM for a key; times are seconds since 1970.
  func issue(
    key subjectKey: Certificate.PublicKey, subject: DistinguishedName, from start: Int64, until end: Int64,
    extensions: Certificate.Extensions
  ) throws -> String {
    // Nothing outlives the authority.
    let last = min(Self.date(end), certificate.notValidAfter)
    var extensions = extensions
    // Readers that trust several authorities find the right one by it.
    if let identifier = try certificate.extensions.subjectKeyIdentifier {
      try extensions.append(
        Certificate.Extension(
          AuthorityKeyIdentifier(keyIdentifier: identifier.keyIdentifier), critical: false))
    }
    let made = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: subjectKey,
      notValidBefore: Self.date(start), notValidAfter: last, issuer: certificate.subject, subject: subject,
      signatureAlgorithm: .ecdsaWithSHA256, extensions: extensions, issuerPrivateKey: key)
    return try made.pem()
  }

  static func failed(_ object: String, _ error: any Error) -> WeftError {
    WeftError(
      "API0004", object: object, cause: "no certificate could be made", next: "report this with -v",
      underlying: error)
  }
}

extension Certificate {
  /// The certificate's text.
  func pem() throws -> String { try serializeAsPEM().pemString + "\n" }
}

extension Certificate.PrivateKey {
  /// The key's text.
  func pem() throws -> String { try serializeAsPEM().pemString + "\n" }
}

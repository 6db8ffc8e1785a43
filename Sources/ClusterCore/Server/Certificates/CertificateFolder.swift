// Certificates of a server as its owner looks after them: when they end, all of them anew, another authority. Works on the files
// alone, whether a server runs or not; one that runs takes up what it finds within a minute.

import ClusterClient
import Crypto
import Diagnostics
import Glibc
import SwiftASN1
import X509

/// The folder `certificates` of a data directory.
public struct CertificateFolder: Sendable {
  /// One certificate of the folder.
  public struct Life: Sendable, Hashable {
    /// The file's name without its ending.
    public var name: String
    /// Seconds since 1970.
    public var end: Int64
    /// The name of who signed it; its own of an authority.
    public var authority: String
    public var isAuthority: Bool
    /// Whether it is in the last third of its life.
    public var isLate: Bool
  }

  /// A step of putting another authority in the first one's place. Between two of them everybody takes up what is trusted now.
  public enum RotationStep: String, Sendable, CaseIterable {
    /// Another authority is made and trusted, and signs nothing yet.
    case trust
    /// It signs; what the first one signed is still trusted.
    case sign
    /// The first one is trusted no more.
    case finish
  }

  private let path: String
  private let now: @Sendable () -> Int64
  private var nextKey: String { path + "/ca-next.key" }

  /// Errors: `API0061` there are no certificates.
  public init(
    dataFolder: String, now: @escaping @Sendable () -> Int64 = { Timestamp.now().seconds }
  ) throws(WeftError) {
    path = dataFolder + "/certificates"
    self.now = now
    guard try PrivateFile.read(path + "/ca.key") != nil else {
      throw WeftError(
        "API0061", object: path, cause: "holds no authority",
        next: "give the --data-dir of weft server or weft up")
    }
  }

  /// Folders of an authority each: the cluster's, and that of requests passed on to other API servers.
  private var authorityFolders: [(path: String, prefix: String)] {
    [(path, "")]
      + (access(path + "/front-proxy/ca.key", F_OK) == 0 ? [(path + "/front-proxy", "front-proxy/")] : [])
  }

  /// Names of certificates.
  static func names(_ folder: String) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(".crt") { names.append(String(name.dropLast(4))) }
    }
    return names.sorted()
  }

  /// Every certificate, the authorities first. Errors: `API0003`.
  public func lives() throws(WeftError) -> [Life] {
    var lives: [Life] = []
    for (folder, prefix) in authorityFolders {
      for name in Self.names(folder) {
        guard let text = try PrivateFile.read("\(folder)/\(name).crt") else { continue }
        for block in PEM.blocks(text) {
          guard let certificate = try? Certificate(pemEncoded: block) else { continue }
          lives.append(
            Life(
              name: prefix + name, end: certificate.end, authority: Self.commonName(certificate.issuer),
              isAuthority: name == "ca", isLate: certificate.isLate(at: now())))
        }
      }
    }
    return lives.filter(\.isAuthority) + lives.filter { !$0.isAuthority }
  }

  private static func commonName(_ name: DistinguishedName) -> String {
    name.flatMap { $0 }.first { $0.type == .RDNAttributeType.commonName }.map { "\($0.value)" } ?? "\(name)"
  }

  /// Every certificate but those of authorities is made anew, with a new key; of an authority in its last third, or ended, the
  /// certificate, with the same key. Returns the names. Errors: `API0003`, `API0004`.
  @discardableResult public func renew() throws(WeftError) -> [String] {
    var renewed: [String] = []
    for (folder, prefix) in authorityFolders {
      let before = try PrivateFile.read(folder + "/ca.crt")
      // Opening it renews it.
      let authority = try CertificateAuthority(folder: folder, now: now)
      if authority.pem != before { renewed.append(prefix + "ca") }
      for name in Self.names(folder) where name != "ca" {
        guard let text = try PrivateFile.read("\(folder)/\(name).crt") else { continue }
        try authority.write(try authority.again(text, "\(folder)/\(name).crt"), name)
        renewed.append(prefix + name)
      }
    }
    return renewed
  }

  /// Goes one step on the way to another authority of the cluster. Errors: `API0062` it is not this step's turn, `API0003`,
  /// `API0004`.
  public func rotate(_ step: RotationStep) throws(WeftError) {
    let authority = try CertificateAuthority(folder: path, now: now)
    let next = try PrivateFile.read(nextKey)
    let trusted = PEM.blocks(authority.pem)
    switch step {
    case .trust:
      guard next == nil, trusted.count == 1 else { throw wrong(step, has: next != nil, trusted.count) }
      do {
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        // Another name: readers look for an issuer by its name first.
        let name = try DistinguishedName { CommonName("weft-ca@\(now())") }
        let made = try CertificateAuthority.selfSigned(key, subject: name, now: now())
        try PrivateFile.write(nextKey, try key.pem(), mode: 0o600)
        try PrivateFile.write(path + "/ca.crt", authority.pem + made.pem, mode: 0o644)
      } catch let error as WeftError { throw error } catch { throw CertificateAuthority.failed(path, error) }
    case .sign:
      guard let next, trusted.count > 1 else { throw wrong(step, has: next != nil, trusted.count) }
      try PrivateFile.write(path + "/ca-old.key", (try? authority.key.pem()) ?? "", mode: 0o600)
      try PrivateFile.write(path + "/ca.key", next, mode: 0o600)
      unlink(nextKey)
      try renew()
    case .finish:
      guard next == nil, trusted.count > 1 else { throw wrong(step, has: next != nil, trusted.count) }
      do {
        try PrivateFile.write(path + "/ca.crt", try authority.certificate.pem(), mode: 0o644)
      } catch let error as WeftError { throw error } catch { throw CertificateAuthority.failed(path, error) }
      unlink(path + "/ca-old.key")
    }
  }

  private func wrong(_ step: RotationStep, has next: Bool, _ trusted: Int) -> WeftError {
    let turn: RotationStep = next ? .sign : trusted > 1 ? .finish : .trust
    return WeftError(
      "API0062", object: path,
      cause: "\(trusted) authorities are trusted: it is not the turn of \"\(step.rawValue)\"",
      next: "weft server certs rotate-ca \(turn.rawValue)")
  }
}

extension CertificateAuthority {
  /// The same certificate for another key.
  fileprivate func again(_ text: String, _ path: String) throws(WeftError) -> CertifiedKey {
    do {
      let old = try Certificate(pemEncoded: text)
      let fresh = Certificate.PrivateKey(P256.Signing.PrivateKey())
      var extensions = try Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        Critical(KeyUsage(digitalSignature: true))
        SubjectKeyIdentifier(hash: fresh.publicKey)
      }
      if let usage = try old.extensions.extendedKeyUsage {
        try extensions.append(Certificate.Extension(usage, critical: false))
      }
      if let names = try old.extensions.subjectAlternativeNames {
        try extensions.append(Certificate.Extension(names, critical: false))
      }
      let made = try issue(
        key: fresh.publicKey, subject: old.subject, from: now() - 3600, until: now() + Self.year,
        extensions: extensions)
      return CertifiedKey(certificate: made, key: try fresh.pem())
    } catch { throw Self.failed(path, error) }
  }
}

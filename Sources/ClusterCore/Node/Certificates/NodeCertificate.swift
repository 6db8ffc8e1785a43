// A certificate of this node with its key: as it lies in a file, and when it is to be replaced.

import Crypto
import Diagnostics
import FoundationEssentials
import Glibc
import SwiftASN1
import X509

/// Certificate and key in PEM, as one file holds them (`kubelet-client-current.pem`), the certificate first.
public struct NodeCertificate: Sendable, Hashable {
  /// The certificate, and what of its chain came with it.
  public let certificate: String
  public let key: String
  /// Seconds since 1970.
  public let begin: Int64
  public let end: Int64
  /// SHA-256 of the certificate, in hexadecimal.
  public let digest: String
  /// Whose it is.
  public let commonName: String

  /// Nil when either cannot be read, or the key is another certificate's.
  public init?(certificate: String, key: String) {
    guard let documents = try? PEMDocument.parseMultiple(pemString: certificate), let first = documents.first,
      let keyDocument = try? PEMDocument(pemString: key),
      let parsed = try? Certificate(derEncoded: first.derBytes),
      let own = try? Certificate.PrivateKey(pemEncoded: key), own.publicKey == parsed.publicKey
    else { return nil }
    self.certificate = documents.map { $0.pemString + "\n" }.joined()
    self.key = keyDocument.pemString + "\n"
    begin = Int64(parsed.notValidBefore.timeIntervalSince1970)
    end = Int64(parsed.notValidAfter.timeIntervalSince1970)
    digest = sha256Text(first.derBytes)
    let names = parsed.subject.flatMap { $0 }.filter { $0.type == .RDNAttributeType.commonName }
    commonName = names.first.map { "\($0.value)" } ?? ""
  }

  /// From one file's text.
  public init?(pem: String) {
    guard let documents = try? PEMDocument.parseMultiple(pemString: pem) else { return nil }
    let certificates = documents.filter { $0.discriminator == "CERTIFICATE" }
    guard let key = documents.first(where: { $0.discriminator.hasSuffix("PRIVATE KEY") }) else { return nil }
    self.init(certificate: certificates.map(\.pemString).joined(separator: "\n"), key: key.pemString)
  }

  public var pem: String { certificate + key }

  /// The file's, when it is there, whole and not over.
  public static func read(_ path: String, now: Int64) -> NodeCertificate? {
    guard let text = Files.readText(path, bytesMax: 1 << 20), let found = NodeCertificate(pem: text),
      found.end > now
    else { return nil }
    return found
  }

  /// For nobody else to read; never half there.
  public func write(_ path: String) throws(WeftError) {
    if let slash = path.lastIndex(of: "/") { try Files.makeDirectory(String(path[..<slash]), mode: 0o700) }
    try Files.write(path, pem.utf8, mode: 0o600, atomically: true)
  }

  /// When to ask for the next: after 70 to 90 percent of its life, as `share` from 0 to 1 says, so that nodes that began
  /// together do not ask together.
  func renewal(share: Double) -> Int64 {
    begin + Int64(Double(max(end - begin, 0)) * (0.7 + 0.2 * min(max(share, 0), 1)))
  }
}

/// SHA-256 in hexadecimal.
func sha256Text(_ bytes: [UInt8]) -> String {
  SHA256.hash(data: bytes).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

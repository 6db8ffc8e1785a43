// A certificate with its key: as the bytes that a Secret holds, and as what a connection is served with.

import COpenSSL
import ClusterObjects

/// PEM text of a chain and of the key of its first certificate, as in a Secret of type kubernetes.io/tls.
public struct TLSCertificate: Sendable, Hashable {
  public var chain: [UInt8]
  public var key: [UInt8]

  public init(chain: [UInt8], key: [UInt8]) {
    self.chain = chain
    self.key = key
  }
}

/// Why a certificate cannot be served, in words for its owner.
public struct CertificateUnusable: Error, Sendable, Hashable, CustomStringConvertible {
  public var description: String
}

/// A certificate read and checked. Shared by threads: it never changes.
public final class LoadedCertificate: @unchecked Sendable {
  /// Counted atomically by OpenSSL; a connection that is being made keeps its own count of the parts.
  let pointer: OpaquePointer
  /// Seconds since 1970.
  public let notBefore: Int64
  public let notAfter: Int64

  /// - Throws: for text that is no certificate, a key that is not its own, or one that no client would accept.
  public init(_ certificate: TLSCertificate) throws(CertificateUnusable) {
    var facts = weft_certificate_facts()
    var reason = [CChar](repeating: 0, count: 256)
    let found = certificate.chain.withUnsafeBytes { chain in
      certificate.key.withUnsafeBytes { key in
        weft_certificate_read(
          chain.baseAddress, chain.count, key.baseAddress, key.count, &facts, &reason, reason.count)
      }
    }
    guard let found else {
      let text = reason.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      throw CertificateUnusable(description: String(decoding: text, as: UTF8.self))
    }
    pointer = found
    notBefore = facts.not_before
    notAfter = facts.not_after
  }

  private init(selfSigned pointer: OpaquePointer) {
    self.pointer = pointer
    notBefore = 0
    notAfter = .max
  }

  /// For names that nobody serves, so that a client gets an answer over HTTP instead of a broken handshake. Nil without
  /// memory or randomness.
  static func selfSigned() -> LoadedCertificate? {
    weft_certificate_self_signed("Weft Ingress Default Certificate").map(LoadedCertificate.init(selfSigned:))
  }

  deinit { weft_certificate_release(pointer) }

  /// Whether a client that asks for `host` accepts the names in it: `*.` in front stands for any one label.
  public func isFor(host: String) -> Bool {
    let name = host.hasPrefix("*.") ? "any-label" + host.dropFirst() : host
    return Array(name.utf8CString).withUnsafeBufferPointer {
      weft_certificate_is_for(pointer, $0.baseAddress, $0.count - 1) == 1
    }
  }
}

/// What a Secret that an Ingress names turned out to be. Parsed once, when the Secret changes.
public struct TLSSecret: Sendable {
  public let certificate: TLSCertificate
  public let loaded: Result<LoadedCertificate, CertificateUnusable>

  public init(_ certificate: TLSCertificate) {
    self.certificate = certificate
    do throws(CertificateUnusable) {
      loaded = .success(try LoadedCertificate(certificate))
    } catch {
      loaded = .failure(error)
    }
  }

  /// From the object: `data["tls.crt"]` and `data["tls.key"]`.
  public init(secret tree: JSON) {
    var parts: [[UInt8]] = []
    for name in ["tls.crt", "tls.key"] {
      guard let text = tree.at("data", name)?.string, !text.isEmpty else {
        self.init(unusable: "it has no \(name)")
        return
      }
      guard let bytes = Base64.decode(text) else {
        self.init(unusable: "its \(name) is not base64")
        return
      }
      parts.append(bytes)
    }
    self.init(TLSCertificate(chain: parts[0], key: parts[1]))
  }

  private init(unusable reason: String) {
    certificate = TLSCertificate(chain: [], key: [])
    loaded = .failure(CertificateUnusable(description: reason))
  }
}

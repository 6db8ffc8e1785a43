// Certificate and key of `tls`, as they are read: what an encrypted port shows, and whom it lets in.

import Addresses
import Diagnostics
import NIOSSL

/// A port served over TLS or HTTPS.
public struct EncryptedPort: Sendable, Hashable {
  public var endpoint: SocketEndpoint
  /// `tls` or `https`.
  public var transport: ServerBlock.Transport
  public var credentials: TLSCredentials

  public init(
    _ endpoint: SocketEndpoint, _ transport: ServerBlock.Transport, _ credentials: TLSCredentials
  ) {
    self.endpoint = endpoint
    self.transport = transport
    self.credentials = credentials
  }
}

/// A certificate chain with its key, PEM, and the authority clients must be of.
public struct TLSCredentials: Sendable, Hashable {
  public var certificate: String
  public var key: String
  /// PEM; with `isClientVerified` clients must show a certificate of this authority.
  public var authority: String?
  public var isClientVerified: Bool

  public init(certificate: String, key: String, authority: String? = nil, isClientVerified: Bool = false) {
    self.certificate = certificate
    self.key = key
    self.authority = authority
    self.isClientVerified = isClientVerified
  }

  /// A server's context. `protocols` are offered by ALPN.
  /// - Throws: `DNS0021` when the texts are no certificate and key, or do not belong together.
  func context(protocols: [String], object: String) throws(WeftError) -> NIOSSLContext {
    do {
      var tls = TLSConfiguration.makeServerConfiguration(
        certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8)).map {
          .certificate($0)
        },
        privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem)))
      tls.minimumTLSVersion = .tlsv12
      tls.applicationProtocols = protocols
      if isClientVerified {
        tls.certificateVerification = .noHostnameVerification
        if let authority {
          tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8)))
        }
      }
      return try NIOSSLContext(configuration: tls)
    } catch {
      throw WeftError(
        "DNS0021", object: object, cause: "certificate and key cannot be used: \(error)",
        next: "name a PEM certificate chain and the key that belongs to it: tls CERTIFICATE KEY")
    }
  }
}

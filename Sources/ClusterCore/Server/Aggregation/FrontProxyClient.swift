// How other API servers know that a request comes from this one: a client certificate of an authority made for
// nothing else. Whom the request is from is said in headers, which they believe for that certificate alone.

import ClusterClient
import ClusterObjects
import Diagnostics
import NIOSSL
import Synchronization

final class FrontProxyClient: Sendable {
  static let commonName = "front-proxy-client"
  /// Contexts kept, one for each set of trusted roots; past it all are made anew.
  static let contextsMax = 64

  private let folder: String
  /// What is shown, and what other API servers are told to trust.
  private struct Shown {
    var authority: String
    var client: CertifiedKey
    var certificate: [NIOSSLCertificate]
    var key: NIOSSLPrivateKey
  }
  private let shown: Mutex<Shown>
  var authorityPEM: String { shown.withLock { $0.authority } }
  private struct Trust: Hashable {
    var authority: [UInt8]
    var isInsecure: Bool
  }
  private let contexts = Mutex<[Trust: NIOSSLContext]>([:])

  /// Errors: `API0003` files, `API0004` certificates.
  init(folder: String) throws(WeftError) {
    self.folder = folder
    shown = Mutex(try Self.read(folder))
  }

  /// Reads the folder again; what ends soon is made anew. Errors: `API0003`, `API0004`.
  func refresh() throws(WeftError) {
    let found = try Self.read(folder)
    let isOther = shown.withLock { shown in
      defer { shown = found }
      return shown.client != found.client
    }
    if isOther { contexts.withLock { $0 = [:] } }
  }

  private static func read(_ folder: String) throws(WeftError) -> Shown {
    let authority = try CertificateAuthority(folder: folder, name: "weft-front-proxy-ca")
    let client = try authority.client(file: commonName, user: commonName, groups: [])
    do {
      return Shown(
        authority: authority.pem, client: client,
        certificate: try NIOSSLCertificate.fromPEMBytes(Array(client.certificate.utf8)),
        key: try NIOSSLPrivateKey(bytes: Array(client.key.utf8), format: .pem))
    } catch {
      throw WeftError(
        "API0004", object: commonName, cause: "its certificate cannot be used",
        next: "remove \(folder) and start again: new ones are made", underlying: error)
    }
  }

  /// TLS to another API server. Throws for a caBundle that is no certificate.
  func context(_ remote: RemoteAPI) throws -> NIOSSLContext {
    let trust = Trust(authority: remote.authority, isInsecure: remote.isInsecure)
    if let made = contexts.withLock({ $0[trust] }) { return made }
    var tls = TLSConfiguration.makeClientConfiguration()
    let shown = shown.withLock { $0 }
    tls.certificateChain = shown.certificate.map { .certificate($0) }
    tls.privateKey = .privateKey(shown.key)
    tls.applicationProtocols = ["http/1.1"]
    if remote.isInsecure {
      tls.certificateVerification = .none
    } else if !remote.authority.isEmpty {
      tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(remote.authority))
    }
    let context = try NIOSSLContext(configuration: tls)
    contexts.withLock { contexts in
      if contexts.count >= Self.contextsMax { contexts = [:] }
      contexts[trust] = context
    }
    return context
  }

  /// The headers that say whom a request is from.
  static func headers(_ identity: Identity) -> [(String, String)] {
    var headers = [("x-remote-user", identity.user)]
    if !identity.uid.isEmpty { headers.append(("x-remote-uid", identity.uid)) }
    headers += identity.groups.map { ("x-remote-group", $0) }
    for (key, values) in identity.extra.sorted(by: { $0.key < $1.key }) {
      headers += values.map { ("x-remote-extra-\(encode(key))", $0) }
    }
    // A line's end in a name would begin a header of its own.
    return headers.filter { _, value in !value.utf8.contains { $0 < 0x20 || $0 == 0x7f } }
  }

  /// `%` before what a header's name cannot hold.
  private static func encode(_ key: String) -> String {
    let token = Set("!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz".utf8)
    var text = ""
    for byte in key.lowercased().utf8 {
      if token.contains(byte) {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        let digits = String(byte, radix: 16, uppercase: true)
        text += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return text
  }
}

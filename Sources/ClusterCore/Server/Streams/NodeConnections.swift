// How the API server talks to node agents: as `kube-apiserver-kubelet-client`, to the certificate that the node has
// written into its Node object.

import ClusterClient
import ClusterObjects
import ClusterStreams
import Crypto
import Diagnostics
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization

/// Shared by all requests. Nothing is opened before it is used.
public final class NodeConnections: Sendable {
  /// SHA-256 of the certificate that the node agent serves with, in hexadecimal: who may write the Node may say it. Two with a
  /// comma between them while one takes the other's place.
  public static let certificateAnnotation = "weft.dev/kubelet-certificate-sha256"
  /// Whom node agents let in.
  public static let user = "kube-apiserver-kubelet-client"

  private struct Shown {
    var client: CertifiedKey
    var authority: String
    var context: NIOSSLContext
  }
  private let shown: Mutex<Shown>

  /// Errors: `API0004` the certificate does not load.
  init(_ authority: CertificateAuthority) throws(WeftError) {
    shown = Mutex(try Self.shown(try Self.client(authority), authority.pem))
  }

  /// Takes this authority, and a certificate of it, if they are others than before. Errors: `API0003`, `API0004`.
  func refresh(_ authority: CertificateAuthority) throws(WeftError) {
    let client = try Self.client(authority)
    guard shown.withLock({ $0.client != client || $0.authority != authority.pem }) else { return }
    let new = try Self.shown(client, authority.pem)
    shown.withLock { $0 = new }
  }

  private static func client(_ authority: CertificateAuthority) throws(WeftError) -> CertifiedKey {
    try authority.client(file: user, user: user, groups: ["system:masters"])
  }

  private static func shown(_ client: CertifiedKey, _ authority: String) throws(WeftError) -> Shown {
    do {
      var tls = TLSConfiguration.makeClientConfiguration()
      tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(client.certificate.utf8)).map {
        .certificate($0)
      }
      tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(client.key.utf8), format: .pem))
      tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8)))
      // Names are not compared: nodes are dialled by address. An own certificate is compared whole instead, below.
      tls.certificateVerification = .noHostnameVerification
      tls.applicationProtocols = ["http/1.1"]
      return Shown(client: client, authority: authority, context: try NIOSSLContext(configuration: tls))
    } catch {
      throw WeftError(
        "API0004", object: Self.user, cause: "its certificate cannot be used", next: "report this with -v",
        underlying: error)
    }
  }

  /// The node's agent, for `uri` there. Throws `APIStatusError` when the node says no address.
  func target(_ node: JSON, method: String, uri: String) throws -> RelayTarget {
    let addresses = node.status["addresses"]?.elements ?? []
    func address(_ type: String) -> String? {
      addresses.first { $0["type"]?.string == type }?["address"]?.string
    }
    guard let host = address("InternalIP") ?? address("ExternalIP") ?? address("Hostname"), !host.isEmpty
    else {
      throw APIStatusError(
        code: 503, reason: "ServiceUnavailable", message: "no preferred addresses found; known addresses: []")
    }
    let port = node.status.at("daemonEndpoints", "kubeletEndpoint", "Port")?.int ?? 10250
    let context = shown.withLock { $0.context }
    let pins = node.annotations[Self.certificateAnnotation].map { text in
      Set(text.lowercased().split(separator: ",").map(String.init))
    }
    return RelayTarget(
      host: host, port: port,
      tls: {
        guard let pins else { return try NIOSSLClientHandler(context: context, serverHostname: nil) }
        return try NIOSSLClientHandler(context: context, serverHostname: nil) { shown, verdict in
          let bytes = (try? shown.first?.toDERBytes()) ?? []
          let digest = SHA256.hash(data: bytes).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
          }.joined()
          verdict.succeed(pins.contains(digest) ? .certificateVerified : .failed)
        }
      }, uri: uri, method: .init(rawValue: method))
  }
}

// Client certificates: CN is the user, each O a group, an attribute of Kubernetes' own the uid.

import ClusterClient
import Diagnostics
import FoundationEssentials
import NIOCore
import NIOSSL
import Synchronization
import SwiftASN1
import X509

/// What the other side of a connection showed. One a connection; what was found out about it is kept.
final class Peer: Sendable {
  /// Certificates of one chain that are looked at.
  static let chainMax = 8

  private struct State {
    var chain: [Certificate]?
    var verdicts: [Authorities.Version: Verdict] = [:]
    /// Being found out: requests that come together wait for one.
    var pending: [Authorities.Version: Task<Verdict, Never>] = [:]
  }
  enum Verdict: Sendable {
    /// Valid until the first of the chain ends, in seconds since 1970.
    case valid(until: Int64)
    case invalid(String)
  }
  private let shown: Mutex<[[UInt8]]>
  private let state = Mutex(State())

  init(shown: [[UInt8]] = []) { self.shown = Mutex(shown) }

  func show(_ certificates: [[UInt8]]) { shown.withLock { $0 = Array(certificates.prefix(Self.chainMax)) } }
  var isEmpty: Bool { shown.withLock { $0.isEmpty } }

  /// The certificates, the peer's own first. Empty when they cannot be read.
  var chain: [Certificate] {
    if let chain = state.withLock({ $0.chain }) { return chain }
    let bytes = shown.withLock { $0 }
    var chain: [Certificate] = []
    for der in bytes {
      guard let certificate = try? Certificate(derEncoded: der) else {
        chain = []
        break
      }
      chain.append(certificate)
    }
    state.withLock { $0.chain = chain }
    return chain
  }

  /// What `authorities` say, found out once for each version of them.
  func verdict(
    of id: Authorities.Version, find: @escaping @Sendable () async -> Verdict
  ) async -> Verdict {
    if let known = state.withLock({ $0.verdicts[id] }) { return known }
    let pending = state.withLock { state in
      if let pending = state.pending[id] { return pending }
      let task = Task { await find() }
      state.pending[id] = task
      return task
    }
    let verdict = await pending.value
    keep(verdict, of: id)
    return verdict
  }

  func keep(_ verdict: Verdict, of id: Authorities.Version) {
    state.withLock { state in
      // Of earlier versions nobody asks any more.
      state.verdicts = state.verdicts.filter { $0.key.authorities != id.authorities }
      state.verdicts[id] = verdict
      state.pending[id] = nil
    }
  }
}

/// Authorities that vouch for clients. Others may take their place. Thread-safe.
final class Authorities: Sendable {
  /// Which authorities, and how often others took their place.
  struct Version: Hashable, Sendable {
    var authorities: ObjectIdentifier
    var number: Int
  }
  private struct State {
    var pem: String
    var roots: [Certificate]
    var number = 0
  }
  private let state: Mutex<State>
  /// What the TLS library names to clients that have several certificates to choose from.
  var pem: String { state.withLock { $0.pem } }
  var version: Version { Version(authorities: ObjectIdentifier(self), number: state.withLock { $0.number }) }

  /// Errors: `API0011` no certificate in the text.
  init(pem: String, path: String) throws(WeftError) {
    state = Mutex(State(pem: pem, roots: try Self.roots(pem, path)))
  }

  /// Every verdict is found anew from now on. Errors: `API0011`.
  func use(pem: String, path: String) throws(WeftError) {
    let roots = try Self.roots(pem, path)
    state.withLock { state in
      guard state.pem != pem else { return }
      state = State(pem: pem, roots: roots, number: state.number + 1)
    }
  }

  private static func roots(_ pem: String, _ path: String) throws(WeftError) -> [Certificate] {
    var roots: [Certificate] = []
    for block in PEM.blocks(pem) where block.hasPrefix("-----BEGIN CERTIFICATE") {
      if let root = try? Certificate(pemEncoded: block) { roots.append(root) }
    }
    guard !roots.isEmpty else {
      throw WeftError(
        "API0011", object: path, cause: "holds no certificate in PEM form",
        next: "give a file of authorities, such as certificates/ca.crt of the data directory")
    }
    return roots
  }

  convenience init(path: String) throws(WeftError) {
    guard let text = try PrivateFile.read(path) else {
      throw WeftError(
        "API0011", object: path, cause: "there is no such file", next: "give the path of a PEM file")
    }
    try self.init(pem: text, path: path)
  }

  /// Whether the chain leads here, is for clients, and is valid now. Signatures are checked once a connection
  /// (about a millisecond), its end at every request.
  func verify(_ peer: Peer) async -> Peer.Verdict {
    let (version, roots) = (version, state.withLock { $0.roots })
    let verdict = await peer.verdict(of: version) { await Self.verify(peer.chain, roots) }
    if case .valid(let until) = verdict, until < Timestamp.now().seconds {
      return .invalid("x509: certificate has expired or is not yet valid")
    }
    return verdict
  }

  private static func verify(_ chain: [Certificate], _ roots: [Certificate]) async -> Peer.Verdict {
    guard let leaf = chain.first else { return .invalid("x509: malformed certificate") }
    if let usage = try? leaf.extensions.extendedKeyUsage,
      !usage.contains(.clientAuth) && !usage.contains(.any)
    {
      return .invalid("x509: certificate specifies an incompatible key usage")
    }
    var verifier = Verifier(rootCertificates: CertificateStore(roots)) { RFC5280Policy() }
    switch await verifier.validate(leaf: leaf, intermediates: CertificateStore(chain.dropFirst())) {
    case .validCertificate(let path):
      let end = path.map(\.notValidAfter).min() ?? leaf.notValidAfter
      return .valid(until: Int64(end.timeIntervalSince1970))
    case .couldNotValidate:
      let now = Timestamp.now().seconds
      let isOld = Int64(leaf.notValidAfter.timeIntervalSince1970) < now
      return .invalid(
        isOld
          ? "x509: certificate has expired or is not yet valid"
          : "x509: certificate signed by unknown authority")
    }
  }
}

/// Users by their certificates.
struct ClientCertificates: Sendable {
  /// The uid of a user (kubernetes.io's arc: 1.3.6.1.4.1.57683.2).
  static let uidAttribute: ASN1ObjectIdentifier = [1, 3, 6, 1, 4, 1, 57683, 2]

  let authorities: Authorities
  private let expirations = Metrics.shared.histogram(
    "apiserver_client_certificate_expiration_seconds", "Life left of the certificates shown with requests.",
    bounds: [
      0, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 345_600, 604_800, 2_592_000, 7_776_000,
      15_552_000, 31_104_000,
    ]
  ).child()

  init(authorities: Authorities) { self.authorities = authorities }

  func identity(_ peer: Peer) async -> Finding {
    if peer.isEmpty { return .notMine }
    switch await authorities.verify(peer) {
    case .invalid(let problem): return .wrong(problem)
    case .valid:
      guard let leaf = peer.chain.first, let identity = Self.identity(leaf.subject) else { return .notMine }
      let left = Int64(leaf.notValidAfter.timeIntervalSince1970) - Timestamp.now().seconds
      expirations.observe(Double(left))
      return .found(identity)
    }
  }

  /// Nil without a common name.
  static func identity(_ subject: DistinguishedName) -> Identity? {
    var identity = Identity(user: "", groups: [])
    for part in subject {
      for attribute in part {
        switch attribute.type {
        case .RDNAttributeType.commonName: identity.user = "\(attribute.value)"
        case .RDNAttributeType.organizationName: identity.groups.append("\(attribute.value)")
        case uidAttribute: identity.uid = "\(attribute.value)"
        default: break
        }
      }
    }
    return identity.user.isEmpty ? nil : identity.authenticated
  }
}

// Client certificates: CN is the user, each O a group, an attribute of Kubernetes' own the uid.

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
    var verdicts: [ObjectIdentifier: Verdict] = [:]
    /// Being found out: requests that come together wait for one.
    var pending: [ObjectIdentifier: Task<Verdict, Never>] = [:]
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

  /// What `authorities` say, found out once.
  func verdict(
    of authorities: Authorities, find: @escaping @Sendable () async -> Verdict
  ) async -> Verdict {
    let id = ObjectIdentifier(authorities)
    if let known = state.withLock({ $0.verdicts[id] }) { return known }
    let pending = state.withLock { state in
      if let pending = state.pending[id] { return pending }
      let task = Task { await find() }
      state.pending[id] = task
      return task
    }
    let verdict = await pending.value
    keep(verdict, of: authorities)
    return verdict
  }

  func keep(_ verdict: Verdict, of authorities: Authorities) {
    let id = ObjectIdentifier(authorities)
    state.withLock { state in
      state.verdicts[id] = verdict
      state.pending[id] = nil
    }
  }
}

/// Authorities that vouch for clients.
final class Authorities: Sendable {
  private let roots: [Certificate]
  /// What the TLS library names to clients that have several certificates to choose from.
  let pem: String

  /// Errors: `API0011` no certificate in the text.
  init(pem: String, path: String) throws(WeftError) {
    self.pem = pem
    var roots: [Certificate] = []
    for block in PEM.blocks(pem) where block.hasPrefix("-----BEGIN CERTIFICATE") {
      if let root = try? Certificate(pemEncoded: block) { roots.append(root) }
    }
    guard !roots.isEmpty else {
      throw WeftError(
        "API0011", object: path, cause: "holds no certificate in PEM form",
        next: "give a file of authorities, such as certificates/ca.crt of the data directory")
    }
    self.roots = roots
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
    let verdict = await peer.verdict(of: self) { await self.verifyChain(peer.chain) }
    if case .valid(let until) = verdict, until < Timestamp.now().seconds {
      return .invalid("x509: certificate has expired or is not yet valid")
    }
    return verdict
  }

  private func verifyChain(_ chain: [Certificate]) async -> Peer.Verdict {
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

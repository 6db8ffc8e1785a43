// Certificates of a server that runs: looked at again each minute. What is in its last third is made anew, and what somebody
// else made (`weft server certs`) is taken over, so that nothing has to be started again.

import Diagnostics
import Logging
import SwiftASN1
import Synchronization
import X509

/// What a server shows and whom it trusts, now. Thread-safe.
final class ServerCertificates: Sendable {
  struct Current: Sendable, Equatable {
    var authority: CertificateAuthority
    /// Of the listener.
    var serving: CertifiedKey
    /// Of `admin.kubeconfig`.
    var admin: CertifiedKey

    static func == (one: Current, other: Current) -> Bool {
      one.authority.pem == other.authority.pem && one.authority.certificate == other.authority.certificate
        && one.serving == other.serving && one.admin == other.admin
    }
  }
  private let folder: String
  private let names: [String]
  private let addresses: [[UInt8]]
  private let state: Mutex<Current>
  private let ends = Metrics.shared.gauge(
    "weft_certificate_expiration_timestamp_seconds",
    "When certificates of the server end, in seconds since 1970.", labels: ["certificate"])
  private let log = Logger(label: "apiserver")
  /// So long before the authority's end it is told each time.
  private static let warning: Int64 = 90 * 86_400

  /// Errors: `API0003` files, `API0004` certificates.
  init(folder: String, names: [String], addresses: [[UInt8]]) throws(WeftError) {
    self.folder = folder
    self.names = names
    self.addresses = addresses
    let current = try Self.read(folder, names, addresses)
    state = Mutex(current)
    tell(current)
  }

  private static func read(
    _ folder: String, _ names: [String], _ addresses: [[UInt8]]
  ) throws(WeftError) -> Current {
    let authority = try CertificateAuthority(folder: folder)
    return Current(
      authority: authority, serving: try authority.server(names: names, addresses: addresses),
      admin: try authority.client(file: "admin", user: "weft-admin", groups: ["system:masters"]))
  }

  var current: Current { state.withLock { $0 } }
  var authority: CertificateAuthority { current.authority }

  /// Reads the folder again. Whether anything is other than before.
  func refresh() throws(WeftError) -> Bool {
    let found = try Self.read(folder, names, addresses)
    tell(found)
    return state.withLock { current in
      defer { current = found }
      return current != found
    }
  }

  private func tell(_ current: Current) {
    let authority = current.authority
    ends.child("ca").set(Double(authority.certificate.end))
    for (name, made) in [("server", current.serving), ("admin", current.admin)] {
      if let certificate = try? Certificate(pemEncoded: made.certificate) {
        ends.child(name).set(Double(certificate.end))
      }
    }
    let left = authority.certificate.end - authority.now()
    if left < Self.warning {
      log.warning(
        "the cluster's authority ends soon: put another in its place",
        metadata: ["days": "\(left / 86_400)", "folder": "\(folder)"])
    }
  }
}

/// Takes certificates into use. One task at a time calls.
struct CertificateUpkeep: Sendable {
  let certificates: ServerCertificates
  let authentication: Authentication
  let settings: AuthenticationSettings
  let listener: HTTPListener
  let nodes: NodeConnections
  let remotes: RemoteAPIs
  let info: ClusterInfo
  let address: String
  let kubeconfigPath: String
  let log = Logger(label: "apiserver")

  init(
    certificates: ServerCertificates, authentication: Authentication, settings: AuthenticationSettings,
    listener: HTTPListener, nodes: NodeConnections, remotes: RemoteAPIs, info: ClusterInfo, address: String,
    kubeconfigPath: String
  ) {
    self.certificates = certificates
    self.authentication = authentication
    self.settings = settings
    self.listener = listener
    self.nodes = nodes
    self.remotes = remotes
    self.info = info
    self.address = address
    self.kubeconfigPath = kubeconfigPath
  }

  /// Connections that are open stay. Errors: `API0003` files, `API0004` certificates; what was in use stays in use then.
  func refresh() async throws {
    try nodes.refresh(certificates.authority)
    try remotes.client.refresh()
    guard try certificates.refresh() else { return }
    let current = certificates.current
    // Trusted first, shown then.
    try authentication.certificates?.authorities.use(
      pem: try settings.clientAuthorities(current.authority.pem), path: settings.clientAuthorityFile)
    try nodes.refresh(current.authority)
    try listener.use(current.serving, authority: authentication.authoritiesPEM)
    try Kubeconfig(server: address, authority: current.authority.pem, client: current.admin).write(
      to: kubeconfigPath)
    await remotes.publish(clientAuthority: current.authority.pem)
    await info.publish(authority: current.authority.pem)
    log.notice("certificates were replaced", metadata: ["address": "\(address)"])
  }
}

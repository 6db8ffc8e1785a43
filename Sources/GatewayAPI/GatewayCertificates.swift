// Certificates of a plan's listeners that end TLS, by port and name, beside those of Ingresses.

import ClusterObjects
import Ingress

extension GatewayPlan {
  /// The table of Ingresses with the certificates of this plan's listeners before it. A listener's name gets its first certificate; a
  /// route's name the first that is for it.
  /// - Parameters:
  ///   - input: the Secrets.
  ///   - shared: ports that Ingresses are served on: their certificates are served there too.
  public func certificateTable(
    input: GatewayInput, beside ingress: TLSTable = TLSTable(), shared: Set<UInt16> = []
  ) -> TLSTable {
    var book = CertificateBook(input: input, certificates: ingress.certificates)
    var ports: [UInt16: [Listener]] = [:]
    for listener in servedListeners + servedStreams
    where listener.protocol == .https || listener.protocol == .tls {
      ports[listener.port, default: []].append(listener)
    }
    let tables = ports.sorted { $0.key < $1.key }.map { port, listeners in
      book.port(port, listeners, shares: shared.contains(port))
    }
    return TLSTable(
      certificates: book.certificates, names: ingress.names, defaultCertificate: ingress.defaultCertificate,
      ports: tables, authorities: ingress.authorities, asks: ingress.asks)
  }
}

private struct CertificateBook {
  let input: GatewayInput
  private(set) var certificates: [TLSCertificate]
  private var places: [ObjectKey: Int] = [:]

  init(input: GatewayInput, certificates: [TLSCertificate]) {
    self.input = input
    self.certificates = certificates
  }

  /// - Parameter listeners: of one port; of two with the same name the first counts.
  mutating func port(_ port: UInt16, _ listeners: [GatewayPlan.Listener], shares: Bool) -> TLSPort {
    var names: [String: Int] = [:]
    for listener in listeners {
      let name = listener.hostname ?? ""
      if names[name] == nil, let first = keys(of: listener).first { names[name] = place(first) }
    }
    let own = Array(names.keys)
    for listener in listeners where keys(of: listener).count > 1 {
      for host in listener.hosts where names[host.name] == nil {
        // A listener with a name that fits better has the clients of this host.
        guard Self.nearest(own, to: host.name) == listener.hostname ?? "",
          let fit = keys(of: listener).first(where: { isFor(host.name, $0) })
        else { continue }
        names[host.name] = place(fit)
      }
    }
    let fallback = names.removeValue(forKey: "")
    return TLSPort(
      port, names: names.sorted { $0.key < $1.key }.map { TLSName($0.key, .certificate($0.value)) },
      defaultCertificate: fallback, shares: shares)
  }

  private func keys(of listener: GatewayPlan.Listener) -> [ObjectKey] {
    guard case .terminate(let keys, _)? = listener.tls else { return [] }
    return keys.filter { input.secrets[$0] != nil }
  }

  private func isFor(_ host: String, _ key: ObjectKey) -> Bool {
    guard case .success(let loaded)? = input.secrets[key]?.loaded else { return false }
    return loaded.isFor(host: host)
  }

  private static func nearest(_ names: [String], to host: String) -> String? {
    names.filter { $0.isEmpty || $0 == host || $0.hasPrefix("*.") && host.hasSuffix($0.dropFirst()) }
      .max { ($0 == host ? Int.max : $0.utf8.count) < ($1 == host ? Int.max : $1.utf8.count) }
  }

  private mutating func place(_ key: ObjectKey) -> Int {
    if let found = places[key] { return found }
    guard let certificate = input.secrets[key]?.certificate else { return 0 }
    certificates.append(certificate)
    places[key] = certificates.count - 1
    return certificates.count - 1
  }
}

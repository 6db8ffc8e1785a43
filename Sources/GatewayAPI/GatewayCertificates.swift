// Certificates of a plan's listeners that end TLS, by port, address and name, beside those of Ingresses.

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
    var book = CertificateBook(
      input: input, certificates: ingress.certificates, authorities: ingress.authorities)
    // Those of HTTPS first: of two with the same name the first counts.
    let sealed = listeners.filter { $0.protocol == .https } + listeners.filter { $0.protocol == .tls }
    let tables = sealed.places.map { book.port($0, shares: shared.contains($0.reach.port)) }
    return TLSTable(
      certificates: book.certificates, names: ingress.names, defaultCertificate: ingress.defaultCertificate,
      ports: tables, authorities: book.authorities, asks: ingress.asks)
  }
}

extension GatewayPlan.Listener {
  /// Who has to have signed the certificates of its clients; nil: they are not asked.
  func authority(_ input: GatewayInput) -> TLSAuthority? {
    guard case .terminate(_, let clients?)? = tls else { return nil }
    // One behind the other, each on lines of its own.
    let bundles = clients.authorities.compactMap { input.authorities[$0]?.certificates }
    return TLSAuthority(
      source: clients.authorities.map(\.description).joined(separator: " "),
      pem: Array(bundles.joined(separator: [UInt8(ascii: "\n")])), depth: 100, isRequired: !clients.isInsecure
    )
  }
}

private struct CertificateBook {
  let input: GatewayInput
  private(set) var certificates: [TLSCertificate]
  private(set) var authorities: [TLSAuthority]
  private var places: [ObjectKey: Int] = [:]

  init(input: GatewayInput, certificates: [TLSCertificate], authorities: [TLSAuthority]) {
    self.input = input
    self.certificates = certificates
    self.authorities = authorities
  }

  /// Of two listeners with the same name the first counts.
  mutating func port(_ here: GatewayPlace, shares: Bool) -> TLSPort {
    let listeners = here.listeners
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
      here.reach.port, addresses: here.reach.addresses,
      names: names.sorted { $0.key < $1.key }.map { TLSName($0.key, .certificate($0.value)) },
      defaultCertificate: fallback, shares: shares, asks: asks(listeners))
  }

  /// Every listener's name: one that does not ask is no more a client's way around another's question than the other way about.
  private mutating func asks(_ listeners: [GatewayPlan.Listener]) -> [TLSAsk] {
    var asks: [String: Int] = [:]
    for listener in listeners {
      guard case .terminate? = listener.tls, asks[listener.hostname ?? ""] == nil else { continue }
      asks[listener.hostname ?? ""] = listener.authority(input).map { place($0) } ?? TLSAsk.nobody
    }
    guard asks.values.contains(where: { $0 != TLSAsk.nobody }) else { return [] }
    return asks.sorted { $0.key < $1.key }.map { TLSAsk($0.key, $0.value) }
  }

  private mutating func place(_ authority: TLSAuthority) -> Int {
    if let found = authorities.firstIndex(of: authority) { return found }
    authorities.append(authority)
    return authorities.count - 1
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

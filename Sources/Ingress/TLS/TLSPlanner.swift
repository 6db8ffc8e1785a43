// Whose certificate a name gets. Hosts belong to the namespace whose Ingress claimed them first, by a rule or by `spec.tls`:
// nobody else's certificate is ever served for them.

import ClusterObjects
import ClusterView

/// What planning needs besides the view when HTTPS is served.
public struct TLSInput: Sendable {
  /// The Secrets that exist, of those that `planSecretReferences` names.
  public var secrets: [ObjectKey: TLSSecret]
  /// For names that nobody claims, and for `spec.tls` without a Secret.
  public var defaultSecret: ObjectKey?
  /// Value of Strict-Transport-Security for hosts with TLS; empty for none.
  public var strictTransportSecurity: String

  public init(
    secrets: [ObjectKey: TLSSecret] = [:], defaultSecret: ObjectKey? = nil,
    strictTransportSecurity: String = ""
  ) {
    self.secrets = secrets
    self.defaultSecret = defaultSecret
    self.strictTransportSecurity = strictTransportSecurity
  }
}

/// A certificate in use.
public struct ServedCertificate: Sendable, Hashable {
  /// The Ingress that named it first; nil for the default certificate.
  public var ingress: ObjectKey?
  public var secret: ObjectKey
  /// Names it is served for, sorted.
  public var hosts: [String]
  /// Seconds since 1970.
  public var notAfter: Int64

  /// Whether less than `days` of it are left, or nothing.
  public func expires(withinDays days: Int64, of now: Int64) -> Bool {
    notAfter - now < days * 86_400
  }
}

/// The outcome of one planning; without TLS all of it is empty.
struct TLSPlan {
  private(set) var table = TLSTable()
  private(set) var certificates: [ServedCertificate] = []
  private(set) var problems: [RouteProblem] = []
  /// Hosts that were asked to have TLS and have it.
  private(set) var secured: Set<String> = []
  private var isServed = false

  private struct Claim {
    var order: Int
    var ingress: ObjectKey
  }
  private var claims: [String: Claim] = [:]
  private var actions: [String: TLSAction] = [:]
  private var order: [ObjectKey] = []
  private var inUse: [ObjectKey: (index: Int, served: ServedCertificate)] = [:]

  init() {}

  /// - Parameter served: the oldest first.
  init(served: [Ingress], input: TLSInput, isValid: (String) -> Bool) {
    isServed = true
    for (order, ingress) in served.enumerated() {
      for host in ingress.rules.map(\.host) + ingress.tls.flatMap(\.hosts).map({ $0.lowercased() })
      where claims[host] == nil && isValid(host) {
        claims[host] = Claim(order: order, ingress: ingress.key)
      }
    }
    for ingress in served {
      for entry in ingress.tls { take(entry, of: ingress, input, isValid) }
    }
    shield()
    var defaultCertificate: Int?
    if case .certificate(let index) = actions.removeValue(forKey: "") { defaultCertificate = index }
    if let key = input.defaultSecret, let secret = input.secrets[key],
      case .success(let loaded) = secret.loaded
    {
      defaultCertificate = use(key, loaded, of: nil, for: "")
    }
    table = TLSTable(
      certificates: order.compactMap { input.secrets[$0]?.certificate },
      names: actions.sorted { $0.key < $1.key }.map { TLSName($0.key, $0.value) },
      defaultCertificate: defaultCertificate)
    certificates = order.compactMap { inUse[$0]?.served }
    for index in certificates.indices { certificates[index].hosts.sort() }
  }

  private mutating func take(
    _ entry: Ingress.TLS, of ingress: Ingress, _ input: TLSInput, _ isValid: (String) -> Bool
  ) {
    // Without hosts it is for the hosts of the rules.
    let isNamed = !entry.hosts.isEmpty
    let hosts = isNamed ? entry.hosts.map { $0.lowercased() } : ingress.rules.map(\.host)
    guard !entry.secretName.isEmpty else {
      for host in hosts where isAllowed(host, ingress, isValid) && actions[host] == nil {
        actions[host] = .fallback
        secured.insert(host)
      }
      return
    }
    let key = ObjectKey(ingress.key.namespace, entry.secretName)
    guard let secret = input.secrets[key] else {
      return report(ingress, "secret \(key) does not exist")
    }
    let loaded: LoadedCertificate
    switch secret.loaded {
    case .success(let found): loaded = found
    case .failure(let error): return report(ingress, "secret \(key) cannot be served: \(error)")
    }
    for host in hosts where isAllowed(host, ingress, isValid) {
      guard host.isEmpty || loaded.isFor(host: host) else {
        if isNamed { report(ingress, "the certificate of secret \(key) is not for \(host)") }
        continue
      }
      if let known = actions[host] {
        if case .certificate(let index) = known, inUse[key]?.index == index { continue }
        report(ingress, "\(host) has a certificate already, of an older ingress or entry")
        continue
      }
      actions[host] = .certificate(use(key, loaded, of: ingress.key, for: host))
      secured.insert(host)
    }
  }

  private mutating func use(
    _ key: ObjectKey, _ loaded: LoadedCertificate, of ingress: ObjectKey?, for host: String
  ) -> Int {
    if inUse[key] == nil {
      let served = ServedCertificate(ingress: ingress, secret: key, hosts: [], notAfter: loaded.notAfter)
      inUse[key] = (order.count, served)
      order.append(key)
    }
    inUse[key]?.served.hosts.append(host.isEmpty ? "_" : host)
    return inUse[key]?.index ?? 0
  }

  private mutating func isAllowed(_ host: String, _ ingress: Ingress, _ isValid: (String) -> Bool) -> Bool {
    guard isValid(host) else {
      report(ingress, "host \(host) is not a DNS name")
      return false
    }
    guard let claim = claims[host], claim.ingress.namespace != ingress.key.namespace else { return true }
    report(
      ingress,
      "\(host.isEmpty ? "the default host" : host) was claimed first by ingress \(claim.ingress) of another namespace"
    )
    return false
  }

  /// A host without a certificate of its own does not get one from a wildcard of another namespace, unless that wildcard
  /// claimed it first.
  private mutating func shield() {
    for (host, claim) in claims where actions[host] == nil && !host.isEmpty && !host.hasPrefix("*.") {
      guard let dot = host.firstIndex(of: "."), actions["*\(host[dot...])"] != nil,
        let other = claims["*\(host[dot...])"]
      else { continue }
      if other.ingress.namespace != claim.ingress.namespace, other.order > claim.order {
        actions[host] = .fallback
      }
    }
  }

  private mutating func report(_ ingress: Ingress, _ reason: String) {
    problems.append(RouteProblem(ingress: ingress.key, topic: .certificate, reason: "tls: \(reason)"))
  }

  /// ingress-nginx's rules: a host with TLS redirects unless `ssl-redirect` says no or the path answers a challenge of ACME;
  /// `force-ssl-redirect` redirects where something in front of us ends TLS.
  func redirects(_ ingress: Ingress, host: String, path: String) -> Bool {
    guard isServed, !path.hasPrefix("/.well-known/acme-challenge") else { return false }
    if ingress.nginx("force-ssl-redirect") == "true" { return true }
    return secured.contains(host) && ingress.nginx("ssl-redirect") != "false"
  }
}

extension Ingress {
  /// An annotation of ingress-nginx.
  func nginx(_ name: String) -> String? { annotations["nginx.ingress.kubernetes.io/" + name] }
}

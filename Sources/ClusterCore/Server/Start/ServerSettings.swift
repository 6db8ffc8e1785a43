// What an API server is started with.

import Addresses
import Diagnostics

/// What an API server needs to know.
public struct ServerSettings: Sendable {
  /// The store, the certificates and `admin.kubeconfig` live here.
  public var dataFolder: String
  public var store = ServerStore.sqlite
  public var host = "127.0.0.1"
  /// 0 takes any free port.
  public var port = 6443
  /// Where the endpoints of Service `default/kubernetes` point: an address that pods can reach. Also in the
  /// certificate.
  public var advertiseAddress = "127.0.0.1"
  /// More names and addresses that clients may use.
  public var extraNames: [String] = []
  public var extraAddresses: [String] = []
  /// Cluster addresses of Services: an IPv4 block, and an IPv6 block where Services may have both families.
  public var serviceBlocks = [IPPrefix("10.43.0.0/16")].compactMap(\.self)
  /// Superseded versions are kept at least this long.
  public var historySeconds = 300
  /// Who is believed, and by what.
  public var authentication = AuthenticationSettings()
  /// Pods get a volume with a token of their ServiceAccount, the CA and their namespace.
  public var automountServiceAccountTokens = true
  /// Levels of Pod Security for namespaces that say nothing, and exemptions.
  public var podSecurity = PodSecuritySettings()
  /// How long clients may take to say what they want.
  public var limits = ConnectionLimits()
  /// How often nodes are asked what they and their pods use, for metrics.k8s.io.
  public var resourceMetricsPeriod: Duration = .seconds(15)
  /// What is written down of requests.
  public var audit = AuditSettings()

  public init(dataFolder: String) { self.dataFolder = dataFolder }
}

extension ServerSettings {
  /// The first block's network. Errors: `API0002` the blocks are not one of IPv4, or one of each family.
  func serviceNetwork() throws(WeftError) -> IPv4Address {
    guard let first = serviceBlocks.first, let base = first.address.v4, (8...28).contains(first.length),
      serviceBlocks.count == 1
        || (serviceBlocks.count == 2 && serviceBlocks[1].family == .v6
          && (48...124).contains(serviceBlocks[1].length))
    else {
      throw WeftError(
        "API0002", object: serviceBlocks.map(\.description).joined(separator: ","),
        cause: "not a usable range of cluster addresses",
        next: "give --service-cidr like 10.43.0.0/16, or 10.43.0.0/16,fd00:43::/108 for both families")
    }
    return base
  }

  /// The server's own certificates, with every name and address by which it is asked. Errors: `API0003`, `API0004`.
  /// - Parameter own: the address of Service `default/kubernetes`.
  func certificates(own: IPv4Address) throws(WeftError) -> ServerCertificates {
    let names = [
      "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
      "kubernetes.default.svc.cluster.local",
    ]
    let texts = ["127.0.0.1", "::1", host, advertiseAddress] + extraAddresses
    let addresses = texts.compactMap { IPv4Address($0)?.bytes } + texts.compactMap { IPv6Address($0)?.bytes }
    return try ServerCertificates(
      folder: dataFolder + "/certificates", names: names + extraNames, addresses: addresses + [own.bytes])
  }
}

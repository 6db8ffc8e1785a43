// What an operator decides about the cluster's zone. The names follow CoreDNS's `kubernetes` plugin.

import Addresses
import ClusterObjects

/// How the cluster's names are served.
public struct ZoneSettings: Sendable, Hashable {
  /// How names of pods, `10-42-0-7.demo.pod.cluster.local`, are answered.
  public enum PodNames: String, Sendable, Hashable {
    case disabled
    /// Any address in an existing namespace, as kubeadm's default has it.
    case insecure
    /// Only addresses that a pod of the namespace holds, both families.
    case verified
  }

  /// What `k8s_external` says.
  public struct ExternalZones: Sendable, Hashable {
    public var zones: [DomainName]
    public var ttl: UInt32 = 5
    /// Headless Services have their endpoints' addresses there.
    public var isHeadlessServed = false
    /// Names that are not there are asked further on.
    public var fallsThrough = false
    public init(zones: [DomainName]) { self.zones = zones.map(\.lowercased) }
  }

  /// What CoreDNS answers beyond the specification 1.1.0.
  public struct Compatibility: OptionSet, Sendable, Hashable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// SRV at the name of the Service: one for each port, unnamed ones too.
    public static let serviceRecordsAtServiceName = Self(rawValue: 1)
    /// A and AAAA at `_http._tcp.web.demo.svc...`.
    public static let addressesAtPortNames = Self(rawValue: 2)
    /// Names and PTR records for the endpoints of Services that have a cluster IP.
    public static let endpointNamesOfClusterIPs = Self(rawValue: 4)
    /// `_._tcp.web.demo.svc...` for a port without a name.
    public static let namesOfUnnamedPorts = Self(rawValue: 8)
    /// `http.tcp.web.demo.svc...` as `_http._tcp.web.demo.svc...`.
    public static let portNamesWithoutUnderscore = Self(rawValue: 16)
    public static let coreDNS: Self = [
      .serviceRecordsAtServiceName, .addressesAtPortNames, .endpointNamesOfClusterIPs, .namesOfUnnamedPorts,
      .portNamesWithoutUnderscore,
    ]
  }

  /// The zone the cluster's names end in.
  public var zone: DomainName
  /// Zones of `in-addr.arpa` and `ip6.arpa` we are asked to answer for.
  public var reverseZones: [DomainName]
  /// Zones whose unknown names go to the upstream servers instead of being denied. The root means all.
  public var fallthroughZones: [DomainName]
  /// Seconds a client may remember an answer (0...3600).
  public var ttl: UInt32
  /// Seconds a client may remember that a name is absent: short, since Services appear while clients wait.
  public var negativeTTL: UInt32
  public var pods: PodNames
  /// Endpoints without a hostname are named after their pod instead of their address.
  public var endpointPodNames: Bool
  /// Only Services of these namespaces are served; empty means all.
  public var namespaces: Set<String>
  /// Only Services of namespaces with these labels are served; nil means all.
  public var namespaceSelector: LabelSelector?
  /// Only Services with these labels are served; nil means all.
  public var serviceSelector: LabelSelector?
  /// A Service whose endpoints are all unready has no name, whatever its address.
  public var ignoresEmptyServices = false
  /// `<zone>.pin._zone.<service>` and `<zone>.prefer._zone.<service>` for headless Services.
  public var isZonal = false
  /// Zones of the cluster set, such as `clusterset.local`: ServiceImports are there as Services are in the cluster's own zone
  /// (KEP-1645). Each is among the zones of the `kubernetes` line.
  public var multiclusterZones: [DomainName] = []
  /// Zones in which Services have their external addresses, as `<service>.<namespace>.<zone>` (`k8s_external`).
  public var external: ExternalZones?
  /// Headless records are left out.
  public var isWithoutEndpoints: Bool
  public var compatibility: Compatibility
  /// Addresses at which we are asked. The zone's own name server, `ns.dns.<zone>`, has them, unless they are endpoints of Services:
  /// then it has the addresses of these.
  public var nameServerAddresses: [IPAddress]
  /// Ports at which we are asked there: a Service that leads to another port of the same address is not ours.
  public var nameServerPorts: Set<UInt16> = [53]

  public init(
    zone: DomainName = ZoneSettings.clusterLocal, reverseZones: [DomainName] = ZoneSettings.allReverse,
    fallthroughZones: [DomainName] = ZoneSettings.allReverse, ttl: UInt32 = 30, negativeTTL: UInt32 = 5,
    pods: PodNames = .insecure, endpointPodNames: Bool = false, namespaces: Set<String> = [],
    isWithoutEndpoints: Bool = false, compatibility: Compatibility = .coreDNS,
    nameServerAddresses: [IPAddress] = []
  ) {
    self.zone = zone.lowercased
    self.reverseZones = reverseZones.map(\.lowercased)
    self.fallthroughZones = fallthroughZones.map(\.lowercased)
    self.ttl = min(ttl, 3600)
    self.negativeTTL = negativeTTL
    self.pods = pods
    self.endpointPodNames = endpointPodNames
    self.namespaces = namespaces
    self.isWithoutEndpoints = isWithoutEndpoints
    self.compatibility = compatibility
    self.nameServerAddresses = nameServerAddresses
  }

  public static let clusterLocal = DomainName("cluster.local") ?? .root
  public static let allReverse = ["in-addr.arpa", "ip6.arpa"].compactMap { DomainName($0) }
}

// What kube-proxy's flags and its config file say, as far as it means anything to this proxy.

import Addresses

/// The settings of a service proxy under kube-proxy's names. A value; who reads flags or files fills it.
public struct KubeProxySettings: Sendable, Hashable {
  /// How packets reach endpoints.
  public enum Mode: String, Sendable {
    /// Rules in the kernel.
    case nftables
    /// A relay in this process, for hosts without nftables or rights.
    case userspace
  }

  /// Which traffic comes from this node's pods; what does not, and goes to a ClusterIP, is masqueraded.
  public enum DetectLocal: Sendable, Hashable {
    case clusterCIDR
    case nodeCIDR
    case bridgeInterface(String)
    case interfaceNamePrefix(String)
  }

  /// On which of the node's addresses NodePorts answer.
  public enum NodePortAddresses: Sendable, Hashable {
    case all
    /// The Node object's first internal address of each family.
    case primary
    case blocks([IPPrefix])

    /// Those of `addresses` that are meant. `primary` is what the Node object says, when it is known.
    public func choose(from addresses: [IPAddress], primary: [IPAddress]) -> [IPAddress] {
      switch self {
      case .all: return addresses
      case .primary:
        return IPFamily.allCases.compactMap { family in primary.first { $0.family == family } }
      case .blocks(let blocks):
        return addresses.filter { address in blocks.contains { $0.contains(address) } }
      }
    }
  }

  /// Kernel settings of connection tracking; nil leaves one as it is, and so does 0. Unlike kube-proxy this proxy touches
  /// none that was not asked for.
  public struct Conntrack: Sendable, Hashable {
    public var maxPerCore: Int?
    public var min: Int?
    public var tcpEstablishedSeconds: Int?
    public var tcpCloseWaitSeconds: Int?
    public var tcpBeLiberal = false
    public var udpSeconds: Int?
    public var udpStreamSeconds: Int?
    public init() {}

    /// The kernel's settings, by their path under /proc/sys; `processors` is how many there are.
    public func switches(processors: Int) -> [(name: String, value: Int)] {
      let folder = "net/netfilter/nf_conntrack_"
      var switches: [(String, Int)] = []
      let entries = maxPerCore == 0 ? 0 : Swift.max((maxPerCore ?? 0) * processors, min ?? 0)
      if entries > 0 { switches.append((folder + "max", entries)) }
      let times = [
        ("tcp_timeout_established", tcpEstablishedSeconds), ("tcp_timeout_close_wait", tcpCloseWaitSeconds),
        ("udp_timeout", udpSeconds), ("udp_timeout_stream", udpStreamSeconds),
      ]
      for (name, seconds) in times {
        if let seconds, seconds > 0 { switches.append((folder + name, seconds)) }
      }
      if tcpBeLiberal { switches.append((folder + "tcp_be_liberal", 1)) }
      return switches
    }
  }

  /// nil: credentials of the pod, or the machine's default.
  public var kubeconfig: String?
  /// Address of the API server, in place of the kubeconfig's.
  public var master: String?
  /// nil: the machine's name.
  public var hostnameOverride: String?
  public var healthzBindAddress: SocketEndpoint? = SocketEndpoint(.v4(IPv4Address(bits: 0)), 10256)
  public var metricsBindAddress: SocketEndpoint? = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 10249)
  /// A port of ours that is taken ends the process instead of a warning.
  public var bindAddressHardFail = false
  public var mode = Mode.nftables
  public var masqueradeAll = false
  public var detectLocal = DetectLocal.clusterCIDR
  public var clusterCIDRs: [IPPrefix] = []
  /// Where ClusterIPs come from; kube-proxy reads ServiceCIDR objects instead. What goes to an address there that no Service
  /// has is dropped.
  public var serviceCIDRs: [IPPrefix] = []
  public var nodePortAddresses = NodePortAddresses.all
  /// The value of `service.kubernetes.io/service-proxy-name` to serve; nil serves Services without the label.
  public var serviceProxyName: String?
  /// Rules that are late by twice this make `/healthz` fail.
  public var syncSeconds = 30
  public var oomScoreAdj: Int?
  public var conntrack = Conntrack()
  public init() {}
}

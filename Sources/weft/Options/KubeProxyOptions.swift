// kube-proxy's flags and its config file: what a DaemonSet of kube-proxy says works for `weft proxy`.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import Logging
import Proxy

struct KubeProxyOptions: ParsableArguments {
  @Option(help: "A KubeProxyConfiguration file (v1alpha1). Flags that are given win over it.")
  var config: String?
  @Option(help: "The API server's address, in place of the kubeconfig's.") var master: String?
  @Option(
    name: [.customLong("mode"), .customLong("proxy-mode")],
    help:
      "nftables: rules in the kernel. userspace: a relay in this process, for hosts without nftables or rights."
  )
  var mode: String?
  @Option(
    help: "Addresses of pods, one block for each family, with commas; what goes elsewhere is masqueraded.")
  var clusterCidr: String?
  @Option(
    help:
      "Addresses of Services, one block for each family, with commas; what goes to one that no Service has is dropped."
  )
  var serviceClusterIpRange: String?
  @Option(
    name: [.customLong("nodeport-addresses"), .customLong("nodeport-address")],
    help: "Where node ports answer: blocks with commas, or `primary`. Default: all addresses of the node.")
  var nodeportAddresses: String?
  @Option(
    name: [.customLong("metrics"), .customLong("metrics-bind-address")],
    help: "Where metrics are served; `none` for nowhere. Default: 127.0.0.1:10249.")
  var metrics: String?
  @Option(
    name: [.customLong("healthz"), .customLong("healthz-bind-address")],
    help: "Where health is served; `none` for nowhere. Default: 0.0.0.0:10256.")
  var healthz: String?
  @Flag(help: "End when a port for metrics or health is taken, instead of trying again.")
  var bindAddressHardFail = false
  @Flag(help: "Masquerade all traffic to ClusterIPs.") var masqueradeAll = false
  @Option(
    help: "How traffic of local pods is told: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix.")
  var detectLocalMode: String?
  @Option(help: "The bridge of mode BridgeInterface.") var podBridgeInterface: String?
  @Option(help: "The prefix of mode InterfaceNamePrefix.") var podInterfaceNamePrefix: String?
  @Option(help: "Rules that are late by twice this make /healthz fail, such as 30s.") var syncPeriod: String?
  @Option(help: "This process's weight when memory runs out, -1000 to 1000.") var oomScoreAdj: Int?
  @Flag(help: .hidden) var conntrackTcpBeLiberal = false
  @Option(help: .hidden) var conntrackMaxPerCore: Int?
  @Option(help: .hidden) var conntrackMin: Int?
  @Option(help: .hidden) var conntrackTcpTimeoutEstablished: String?
  @Option(help: .hidden) var conntrackTcpTimeoutCloseWait: String?
  @Option(help: .hidden) var conntrackUdpTimeout: String?
  @Option(help: .hidden) var conntrackUdpTimeoutStream: String?
  @OptionGroup var ignored: IgnoredKubeProxyOptions

  /// What the file and then the flags say. Warnings go to the log.
  func settings() throws(WeftError) -> KubeProxySettings {
    var settings = KubeProxySettings()
    let log = Logger(label: "proxy")
    if let config {
      let file = try read(config)
      settings = file.settings
      for warning in file.warnings { log.warning("\(warning)", metadata: ["file": "\(config)"]) }
    }
    for flag in ignored.given { log.warning("--\(flag) has no effect here") }
    if let mode {
      let (chosen, warning) = try KubeProxySettings.mode(named: mode)
      settings.mode = chosen
      if let warning { log.warning("--mode: \(warning)") }
    }
    if let master { settings.master = master }
    if let clusterCidr {
      settings.clusterCIDRs = try KubeProxySettings.blocks(clusterCidr, "--cluster-cidr \(clusterCidr)")
    }
    if let range = serviceClusterIpRange {
      settings.serviceCIDRs = try KubeProxySettings.blocks(range, "--service-cluster-ip-range \(range)")
    }
    if let nodeportAddresses {
      settings.nodePortAddresses = try KubeProxySettings.nodePortAddresses(
        nodeportAddresses.split(separator: ",").map(String.init))
    }
    if detectLocalMode != nil || podBridgeInterface != nil || podInterfaceNamePrefix != nil {
      settings.detectLocal = try KubeProxySettings.detectLocal(
        named: detectLocalMode ?? "", bridge: podBridgeInterface, prefix: podInterfaceNamePrefix)
    }
    if masqueradeAll { settings.masqueradeAll = true }
    if bindAddressHardFail { settings.bindAddressHardFail = true }
    if let oomScoreAdj { settings.oomScoreAdj = oomScoreAdj }
    if let metrics { settings.metricsBindAddress = try endpoint(metrics, "--metrics", 10249) }
    if let healthz { settings.healthzBindAddress = try endpoint(healthz, "--healthz", 10256) }
    if let syncPeriod, let seconds = try seconds(syncPeriod, "--sync-period"), seconds > 0 {
      settings.syncSeconds = seconds
    }
    try apply(to: &settings.conntrack)
    return settings
  }

  private func apply(to conntrack: inout KubeProxySettings.Conntrack) throws(WeftError) {
    if conntrackTcpBeLiberal { conntrack.tcpBeLiberal = true }
    if let conntrackMaxPerCore { conntrack.maxPerCore = conntrackMaxPerCore }
    if let conntrackMin { conntrack.min = conntrackMin }
    if let value = try seconds(conntrackTcpTimeoutEstablished, "--conntrack-tcp-timeout-established") {
      conntrack.tcpEstablishedSeconds = value
    }
    if let value = try seconds(conntrackTcpTimeoutCloseWait, "--conntrack-tcp-timeout-close-wait") {
      conntrack.tcpCloseWaitSeconds = value
    }
    if let value = try seconds(conntrackUdpTimeout, "--conntrack-udp-timeout") {
      conntrack.udpSeconds = value
    }
    if let value = try seconds(conntrackUdpTimeoutStream, "--conntrack-udp-timeout-stream") {
      conntrack.udpStreamSeconds = value
    }
  }

  private func seconds(_ text: String?, _ flag: String) throws(WeftError) -> Int? {
    guard let text else { return nil }
    guard let seconds = GoDuration.wholeSeconds(text) else {
      throw WeftError(
        "CLI0038", object: "\(flag) \(text)", cause: "is no duration", next: "write it as 30s or 1h30m")
    }
    return seconds
  }

  private func endpoint(_ text: String, _ flag: String, _ port: UInt16) throws(WeftError) -> SocketEndpoint? {
    if text == "none" { return nil }
    guard let endpoint = KubeProxySettings.bindAddress(text, port: port) else {
      throw WeftError(
        "CLI0004", object: "\(flag) \(text)", cause: "is no address and port",
        next: "write it as 127.0.0.1:\(port)")
    }
    return endpoint
  }

  private func read(_ path: String) throws(WeftError) -> KubeProxyFile {
    let text = try TextFile.read(path, code: "PRX0015")
    let tree: JSON
    do throws(YAMLError) {
      tree = try YAML.parse(text)
    } catch {
      throw WeftError(
        "PRX0016", object: error.line > 0 ? "\(path):\(error.line)" : path, cause: error.reason,
        next: "correct the file")
    }
    return try KubeProxyFile(tree, path: path)
  }
}

/// Flags of kube-proxy that mean nothing here. They are taken, and warned of.
struct IgnoredKubeProxyOptions: ParsableArguments {
  @Option(help: .hidden) var bindAddress: String?
  @Option(help: .hidden) var configSyncPeriod: String?
  @Option(help: .hidden) var featureGates: String?
  @Option(help: .hidden) var iptablesLocalhostNodeports: String?
  @Option(help: .hidden) var iptablesMasqueradeBit: String?
  @Option(help: .hidden) var iptablesMinSyncPeriod: String?
  @Option(help: .hidden) var iptablesSyncPeriod: String?
  @Option(help: .hidden) var ipvsExcludeCidrs: String?
  @Option(help: .hidden) var ipvsMinSyncPeriod: String?
  @Option(help: .hidden) var ipvsScheduler: String?
  @Flag(help: .hidden) var ipvsStrictArp = false
  @Option(help: .hidden) var ipvsSyncPeriod: String?
  @Option(help: .hidden) var ipvsTcpTimeout: String?
  @Option(help: .hidden) var ipvsTcpfinTimeout: String?
  @Option(help: .hidden) var ipvsUdpTimeout: String?
  @Option(help: .hidden) var kubeApiBurst: String?
  @Option(help: .hidden) var kubeApiContentType: String?
  @Option(help: .hidden) var kubeApiQps: String?
  @Option(help: .hidden) var loggingFormat: String?
  @Flag(help: .hidden) var profiling = false
  @Option(help: .hidden) var proxyPortRange: String?
  @Option(help: .hidden) var showHiddenMetricsForVersion: String?
  @Option(name: .customLong("v"), help: .hidden) var verbosity: String?
  @Option(help: .hidden) var vmodule: String?

  /// Names of those that were given.
  var given: [String] {
    let texts: [(String, String?)] = [
      ("bind-address", bindAddress), ("config-sync-period", configSyncPeriod),
      ("feature-gates", featureGates),
      ("iptables-localhost-nodeports", iptablesLocalhostNodeports),
      ("iptables-masquerade-bit", iptablesMasqueradeBit), ("iptables-min-sync-period", iptablesMinSyncPeriod),
      ("iptables-sync-period", iptablesSyncPeriod), ("ipvs-exclude-cidrs", ipvsExcludeCidrs),
      ("ipvs-min-sync-period", ipvsMinSyncPeriod), ("ipvs-scheduler", ipvsScheduler),
      ("ipvs-sync-period", ipvsSyncPeriod), ("ipvs-tcp-timeout", ipvsTcpTimeout),
      ("ipvs-tcpfin-timeout", ipvsTcpfinTimeout), ("ipvs-udp-timeout", ipvsUdpTimeout),
      ("kube-api-burst", kubeApiBurst), ("kube-api-content-type", kubeApiContentType),
      ("kube-api-qps", kubeApiQps), ("logging-format", loggingFormat), ("proxy-port-range", proxyPortRange),
      ("show-hidden-metrics-for-version", showHiddenMetricsForVersion), ("vmodule", vmodule),
    ]
    let switches = [("ipvs-strict-arp", ipvsStrictArp), ("profiling", profiling)]
    return texts.filter { $0.1 != nil }.map(\.0) + switches.filter(\.1).map(\.0)
  }
}

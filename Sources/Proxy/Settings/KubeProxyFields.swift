// The fields of KubeProxyConfiguration v1alpha1: their types, and why some have no effect here.

import ClusterObjects
import Diagnostics

enum KubeProxyFields {
  indirect enum Kind: Sendable {
    case text, flag, number, duration, list, flags
    /// Any content: what upstream's libraries define and this proxy does not read.
    case anything
    case map([String: Field])

    /// What a value should have been; nil when it fits.
    func complaint(_ value: JSON) -> String? {
      switch self {
      case .text: value.string == nil ? "a string" : nil
      case .flag: value.bool == nil ? "true or false" : nil
      case .number: value.integer == nil ? "a whole number" : nil
      case .duration:
        value.string.flatMap { GoDuration.wholeSeconds($0) } == nil ? "a duration such as 30s" : nil
      case .list:
        value.array == nil || value.elements.contains { $0.string == nil } ? "a list of strings" : nil
      case .flags:
        value.object == nil || value.object?.contains { $0.value.bool == nil } == true
          ? "a map of names to true or false" : nil
      case .anything, .map: nil
      }
    }
  }

  struct Field: Sendable {
    var type: Kind
    /// Why setting it changes nothing.
    var ignored: String?
  }

  private static func of(_ type: Kind, ignored: String? = nil) -> Field {
    Field(type: type, ignored: ignored)
  }

  static let all: [String: Field] = [
    "apiVersion": of(.text), "kind": of(.text),
    "metadata": of(.anything, ignored: "a config file is no object of the cluster"),
    "featureGates": of(.flags, ignored: "no feature of this proxy has a gate"),
    "clientConnection": of(.map(clientConnection)),
    "logging": of(.anything, ignored: "see weft proxy --verbose"),
    "hostnameOverride": of(.text), "bindAddress": of(.text), "healthzBindAddress": of(.text),
    "metricsBindAddress": of(.text), "bindAddressHardFail": of(.flag),
    "enableProfiling": of(.flag, ignored: "there are no profiling pages"),
    "showHiddenMetricsForVersion": of(.text, ignored: "no metric is hidden"), "serviceProxyName": of(.text),
    "mode": of(.text), "iptables": of(.map(iptables)), "ipvs": of(.map(ipvs)), "nftables": of(.map(nftables)),
    "winkernel": of(.map(winkernel)), "detectLocalMode": of(.text), "detectLocal": of(.map(detectLocal)),
    "clusterCIDR": of(.text), "nodePortAddresses": of(.list), "oomScoreAdj": of(.number),
    "conntrack": of(.map(conntrack)),
    "configSyncPeriod": of(.duration, ignored: "objects are watched, not read again"),
    "portRange": of(.text, ignored: "ports of the userspace mode are the Services' own"),
  ]

  private static let clientConnection: [String: Field] = [
    "kubeconfig": of(.text), "acceptContentTypes": of(.text, ignored: "answers are read as JSON"),
    "contentType": of(.text), "qps": of(.anything), "burst": of(.anything),
  ]

  private static let notThisMode = "rules are written for nftables"

  private static let iptables: [String: Field] = [
    "masqueradeBit": of(.number), "masqueradeAll": of(.flag),
    "localhostNodePorts": of(.anything), "syncPeriod": of(.duration),
    "minSyncPeriod": of(.duration),
  ]

  private static let ipvs: [String: Field] = [
    "syncPeriod": of(.duration), "minSyncPeriod": of(.duration), "scheduler": of(.text, ignored: notThisMode),
    "excludeCIDRs": of(.anything, ignored: notThisMode), "strictARP": of(.flag, ignored: notThisMode),
    "tcpTimeout": of(.duration, ignored: notThisMode), "tcpFinTimeout": of(.duration, ignored: notThisMode),
    "udpTimeout": of(.duration, ignored: notThisMode),
  ]

  private static let nftables: [String: Field] = [
    "masqueradeBit": of(.number), "masqueradeAll": of(.flag), "syncPeriod": of(.duration),
    "minSyncPeriod": of(.duration), "tableName": of(.text, ignored: "our tables are named KUBE-PROXY"),
  ]

  private static let winkernel: [String: Field] = [
    "networkName": of(.text, ignored: "this is no Windows"),
    "sourceVip": of(.text, ignored: "this is no Windows"),
    "enableDSR": of(.flag, ignored: "this is no Windows"),
    "rootHnsEndpointName": of(.text, ignored: "this is no Windows"),
    "forwardHealthCheckVip": of(.flag, ignored: "this is no Windows"),
  ]

  private static let detectLocal: [String: Field] = [
    "bridgeInterface": of(.text), "interfaceNamePrefix": of(.text),
  ]

  private static let conntrack: [String: Field] = [
    "maxPerCore": of(.number), "min": of(.number), "tcpEstablishedTimeout": of(.duration),
    "tcpCloseWaitTimeout": of(.duration), "tcpBeLiberal": of(.flag), "udpTimeout": of(.duration),
    "udpStreamTimeout": of(.duration),
  ]
}

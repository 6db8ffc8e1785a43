// kube-proxy's config file, as clusters have it in their ConfigMap.

import Addresses
import ClusterObjects
import Diagnostics
import Testing

@testable import Proxy

private func file(_ fields: [(String, JSON)]) throws -> KubeProxyFile {
  var tree: JSON = ["apiVersion": JSON(KubeProxyFile.apiVersion), "kind": JSON(KubeProxyFile.kind)]
  for (name, value) in fields { tree[name] = value }
  return try KubeProxyFile(tree, path: "config.conf")
}

/// What kubeadm writes.
private let kubeadm: [(String, JSON)] = [
  ("bindAddress", "0.0.0.0"), ("bindAddressHardFail", false),
  (
    "clientConnection",
    [
      "acceptContentTypes": "", "burst": 0, "contentType": "",
      "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf", "qps": 0,
    ]
  ),
  ("clusterCIDR", "10.244.0.0/16,fd00:10:244::/56"), ("configSyncPeriod", "0s"),
  (
    "conntrack",
    [
      "maxPerCore": 0, "min": .null, "tcpBeLiberal": false, "tcpCloseWaitTimeout": .null,
      "tcpEstablishedTimeout": "1h30m", "udpStreamTimeout": "0s", "udpTimeout": "0s",
    ]
  ),
  ("detectLocal", ["bridgeInterface": "", "interfaceNamePrefix": ""]), ("detectLocalMode", ""),
  ("enableProfiling", false), ("featureGates", [:]), ("healthzBindAddress", ""),
  ("hostnameOverride", "node-7"),
  (
    "iptables",
    [
      "localhostNodePorts": .null, "masqueradeAll": true, "masqueradeBit": .null, "minSyncPeriod": "0s",
      "syncPeriod": "45s",
    ]
  ),
  (
    "ipvs",
    [
      "excludeCIDRs": .null, "minSyncPeriod": "0s", "scheduler": "", "strictARP": false, "syncPeriod": "0s",
      "tcpFinTimeout": "0s", "tcpTimeout": "0s", "udpTimeout": "0s",
    ]
  ),
  ("logging", ["flushFrequency": 0, "verbosity": 0]), ("metricsBindAddress", "0.0.0.0:10249"),
  ("mode", ""),
  ("nftables", ["masqueradeAll": false, "masqueradeBit": .null, "minSyncPeriod": "0s", "syncPeriod": "0s"]),
  ("nodePortAddresses", .null), ("oomScoreAdj", .null), ("portRange", ""),
  ("showHiddenMetricsForVersion", ""),
  (
    "winkernel",
    [
      "enableDSR": false, "forwardHealthCheckVip": false, "networkName": "", "rootHnsEndpointName": "",
      "sourceVip": "",
    ]
  ),
]

@Test func `the file that kubeadm writes is read without a word`() throws {
  let file = try file(kubeadm)
  #expect(file.warnings == [])
  let settings = file.settings
  #expect(settings.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf")
  #expect(settings.hostnameOverride == "node-7")
  #expect(settings.clusterCIDRs.map(\.description) == ["10.244.0.0/16", "fd00:10:244::/56"])
  #expect(settings.masqueradeAll && settings.syncSeconds == 45)
  #expect(settings.metricsBindAddress?.description == "0.0.0.0:10249")
  #expect(settings.healthzBindAddress?.description == "0.0.0.0:10256")
  #expect(settings.conntrack.maxPerCore == 0 && settings.conntrack.min == nil)
  let switches = settings.conntrack.switches(processors: 4)
  #expect(
    switches.map { "\($0.name)=\($0.value)" } == ["net/netfilter/nf_conntrack_tcp_timeout_established=5400"])
  #expect(settings.nodePortAddresses == .all && settings.detectLocal == .clusterCIDR)
}

@Test(
  arguments: [
    (("nodePortAdresses", ["10.0.0.0/8"]), "unknown field \"nodePortAdresses\""),
    (("conntrack", ["max": 5]), "unknown field \"conntrack.max\""),
    (("bindAddressHardFail", "yes"), "bindAddressHardFail must be true or false"),
    (("iptables", ["syncPeriod": "soon"]), "iptables.syncPeriod must be a duration"),
    (("iptables", 7), "iptables must be a map"), (("mode", "kernelspace"), "\"kernelspace\" is no mode"),
    (("clusterCIDR", "10.244.0.0/33"), "is no block of addresses"),
    (("nodePortAddresses", ["primary", "10.0.0.0/8"]), "\"primary\" stands alone"),
    (("detectLocalMode", "BridgeInterface"), "names no bridge"),
    (("healthzBindAddress", "here:1"), "is no address with a port"),
  ] as [((String, JSON), String)])
func `what cannot be is refused by its path`(field: (String, JSON), reason: String) throws {
  let error = #expect(throws: WeftError.self) { try file([field]) }
  #expect(error?.code == "PRX0010" && error?.cause.contains(reason) == true, "\(String(describing: error))")
}

@Test func `what means nothing here is warned of, and the rest is taken`() throws {
  let file = try file([
    ("mode", "ipvs"), ("ipvs", ["scheduler": "lc", "syncPeriod": "1m"]), ("featureGates", ["X": true]),
    ("portRange", "1-2"), ("nftables", ["tableName": "mine"]), ("iptables", ["masqueradeBit": 7]),
    ("detectLocalMode", "InterfaceNamePrefix"), ("detectLocal", ["interfaceNamePrefix": "veth"]),
    ("nodePortAddresses", ["192.0.2.0/24"]),
  ])
  #expect(
    file.warnings.map { $0.prefix { $0 != ":" }.description }.sorted() == [
      "featureGates has no effect", "iptables.masqueradeBit has no effect",
      "ipvs.scheduler has no effect", "mode", "nftables.tableName has no effect",
      "portRange has no effect",
    ], "\(file.warnings)")
  #expect(file.settings.detectLocal == .interfaceNamePrefix("veth"))
  let own = ["192.0.2.9", "198.51.100.1"].compactMap { IPAddress($0) }
  #expect(file.settings.nodePortAddresses.choose(from: own, primary: []).map(\.description) == ["192.0.2.9"])
}

@Test func `a file of another kind is refused`() {
  #expect(throws: WeftError.self) {
    try KubeProxyFile(["apiVersion": "v1", "kind": "ConfigMap"], path: "config.conf")
  }
}

@Test func `mutated files are read or refused, and never trap`() throws {
  var tree: JSON = ["apiVersion": JSON(KubeProxyFile.apiVersion), "kind": JSON(KubeProxyFile.kind)]
  for (name, value) in kubeadm { tree[name] = value }
  let corpus = tree.bytes
  var random = SystemSeed(state: 0x5eed)
  for _ in 0..<3000 {
    var bytes = corpus
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 32..<127, using: &random)
    }
    guard let mutated = try? JSON(parsing: bytes) else { continue }
    _ = try? KubeProxyFile(mutated, path: "fuzz")
  }
}

/// splitmix64: the same numbers on every run.
struct SystemSeed: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

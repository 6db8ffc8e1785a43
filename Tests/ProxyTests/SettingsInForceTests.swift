// The settings that rules depend on are read back from the tables, so that others plan the same rules.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import NamespaceLab
import Proxy
import Ruleset
import Testing

private let detections: [LocalDetection?] = [
  nil, .clusterCIDR, .nodeCIDR, .bridgeInterface("cni0"), .interfaceNamePrefix("veth"),
]

@Test(arguments: detections, [false, true])
func `who reads the tables plans the rules that are in force`(_ detection: LocalDetection?, _ all: Bool)
  throws
{
  var configuration = featureConfiguration
  configuration.localDetection = detection
  configuration.masqueradesAll = all
  configuration.masqueradesPods = !all
  configuration.masqueradeBit = all ? 17 : 14
  let view = ClusterView(objects: clusterObjects)
  let plan = planProxy(view, configuration)
  // As they come back from the kernel, not as they were planned.
  let inForce = try inFreshNamespace {
    _ = try RulesetSyncer(owned: ProxyTables.all).sync(plan.tables)
    return try RulesetSyncer(owned: ProxyTables.all).observed()
  }
  var adopted = ProxyConfiguration(
    nodeName: "n1", nodePortAddresses: configuration.nodePortAddresses)
  adopted.adopt(from: inForce)
  #expect(adopted == configuration)
  let again = planProxy(view, adopted, previous: plan.allocation)
  #expect(Ruleset(again.tables).operations(from: inForce).map(\.description) == [])
}

@Test func `kube-proxy's settings are the planner's, and pods' way out is left to their network`() {
  var settings = KubeProxySettings()
  settings.clusterCIDRs = [IPPrefix("10.42.0.0/16")!]
  settings.serviceCIDRs = [IPPrefix("10.43.0.0/16")!]
  settings.detectLocal = .nodeCIDR
  settings.masqueradeAll = true
  var configuration = ProxyConfiguration(nodeName: "n1")
  configuration.apply(settings, podCIDRs: [IPPrefix("10.42.0.0/24")!])
  #expect(configuration.localDetection == .nodeCIDR && configuration.masqueradesAll)
  #expect(configuration.podNetworks.map(\.description) == ["10.42.0.0/24"])
  #expect(configuration.serviceNetworks.map(\.description) == ["10.43.0.0/16"])
  let text = Ruleset(planProxy(ClusterView(), configuration).tables).description
  #expect(!text.contains("ip saddr @pod-net ip daddr != @cluster-net masquerade"))
  configuration.masqueradesPods = true
  #expect(
    Ruleset(planProxy(ClusterView(), configuration).tables).description
      .contains("ip saddr @pod-net ip daddr != @cluster-net masquerade"))
}

// When nodes count as lost, how fast their pods go, and how many finished pods stay.

import ArgumentParser
import ClusterControllers
import Diagnostics

/// kube-controller-manager's flags of these names, with its meaning.
struct NodeLifecycleOptions: ParsableArguments {
  @Option(help: "How often nodes are looked at.") var nodeMonitorPeriod = "5s"
  @Option(help: "A node that is silent for this long is not ready.") var nodeMonitorGracePeriod = "40s"
  @Option(help: "The same for a node that has never said anything.") var nodeStartupGracePeriod = "1m"
  @Option(help: "Nodes a second in each zone that may lose their pods.") var nodeEvictionRate = 0.1
  @Option(help: "The same in a zone most of which is not ready.") var secondaryNodeEvictionRate = 0.01
  @Option(help: "The part of a zone that must be not ready for that.") var unhealthyZoneThreshold = 0.55
  @Option(help: "In zones of at most so many nodes nothing is evicted then.")
  var largeClusterSizeThreshold = 50
  @Option(help: "Finished pods that are kept; 0 for all.") var terminatedPodGcThreshold = 12_500

  func apply(to settings: inout ControllerSettings) throws(WeftError) {
    settings.nodeMonitorPeriod = try duration(nodeMonitorPeriod, "--node-monitor-period")
    settings.nodeMonitorGracePeriod = try duration(nodeMonitorGracePeriod, "--node-monitor-grace-period")
    settings.nodeStartupGracePeriod = try duration(nodeStartupGracePeriod, "--node-startup-grace-period")
    guard nodeEvictionRate >= 0, secondaryNodeEvictionRate >= 0, (0...1).contains(unhealthyZoneThreshold),
      largeClusterSizeThreshold >= 0, terminatedPodGcThreshold >= 0
    else {
      throw WeftError(
        "CLI0051",
        object: "--node-eviction-rate, --secondary-node-eviction-rate, --unhealthy-zone-threshold, "
          + "--large-cluster-size-threshold or --terminated-pod-gc-threshold",
        cause: "is negative, or a part above 1", next: "leave it out: weft server --help says what it is then"
      )
    }
    settings.nodeEviction.rate = nodeEvictionRate
    settings.nodeEviction.secondaryRate = secondaryNodeEvictionRate
    settings.nodeEviction.unhealthyZoneThreshold = unhealthyZoneThreshold
    settings.nodeEviction.largeClusterSizeThreshold = largeClusterSizeThreshold
    settings.terminatedPodsMax = terminatedPodGcThreshold
  }

  private func duration(_ text: String, _ flag: String) throws(WeftError) -> Duration {
    guard let seconds = GoDuration.wholeSeconds(text), seconds > 0 else {
      throw WeftError(
        "CLI0050", object: "\(flag) \(text)", cause: "is no duration of at least a second",
        next: "write it as 40s or 1m")
    }
    return .seconds(seconds)
  }
}

// What a node keeps for itself and when it sends pods away: kubelet's flags of these names, with its meaning.

import ArgumentParser
import ClusterNode
import Diagnostics
import Proxy

struct NodeAgentOptions: ParsableArguments {
  @Option(help: "A folder of manifests: their pods run whatever the API says, which shows mirrors of them.")
  var podManifestPath: String?
  @Option(
    help: "When pods are evicted at once, as memory.available<100Mi,nodefs.available<10%. Default: kubelet's."
  )
  var evictionHard: String?
  @Option(help: "The same after a grace period.") var evictionSoft = ""
  @Option(help: "The grace periods, as memory.available=1m30s.") var evictionSoftGracePeriod = ""
  @Option(help: "Pods at most.") var maxPods = 110
  @Option(help: "A container's log is rotated past this.") var containerLogMaxSize = "10Mi"
  @Option(help: "So many files are kept of one log.") var containerLogMaxFiles = 5
  @Option(help: "Unused images go when their disk is as full as this; 100 for never.")
  var imageGcHighThreshold = 85
  @Option(help: "Until it is as full as this.") var imageGcLowThreshold = 80
  @Option(help: "Sysctls that pods may set beyond the safe ones: names, or beginnings with `*`.")
  var allowedUnsafeSysctls = ""

  func apply(to node: inout NodeSettings) throws(WeftError) {
    node.staticPodPath = podManifestPath
    if let evictionHard { node.eviction.hard = try thresholds(evictionHard, "--eviction-hard") }
    node.eviction.soft = try thresholds(evictionSoft, "--eviction-soft")
    try applyGrace(to: &node.eviction)
    guard maxPods > 0, containerLogMaxFiles > 1, (0...100).contains(imageGcLowThreshold),
      imageGcHighThreshold > imageGcLowThreshold, imageGcHighThreshold <= 100,
      case .quantity(let bytes)? = EvictionAmount(containerLogMaxSize), bytes > 0
    else {
      throw WeftError(
        "NOD0020",
        object:
          "--max-pods, --container-log-max-size, --container-log-max-files, --image-gc-high-threshold or "
          + "--image-gc-low-threshold",
        cause: "is out of its range", next: "leave it out: weft node --help says what it is then")
    }
    node.podsMax = maxPods
    node.containerLogMaxBytes = bytes
    node.containerLogMaxFiles = containerLogMaxFiles
    node.imageGCPercent = (high: imageGcHighThreshold, low: imageGcLowThreshold)
    node.allowedUnsafeSysctls = allowedUnsafeSysctls.split(separator: ",").map(String.init)
  }

  private func thresholds(_ text: String, _ flag: String) throws(WeftError) -> [EvictionThreshold] {
    var found: [EvictionThreshold] = []
    for part in text.split(separator: ",") {
      let halves = part.split(separator: "<", maxSplits: 1, omittingEmptySubsequences: false)
      guard halves.count == 2, let signal = EvictionSignal(rawValue: String(halves[0])),
        let amount = EvictionAmount(String(halves[1]))
      else {
        throw WeftError(
          "NOD0021", object: "\(flag) \(text)", cause: "has a threshold that is none: \(part)",
          next: "write it as memory.available<100Mi,nodefs.available<10%")
      }
      // Nothing at all is never below nothing.
      if amount != .quantity(0), amount != .percent(0) { found.append(EvictionThreshold(signal, amount)) }
    }
    return found
  }

  private func applyGrace(to eviction: inout EvictionSettings) throws(WeftError) {
    for part in evictionSoftGracePeriod.split(separator: ",") {
      let halves = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard halves.count == 2, let seconds = GoDuration.seconds(String(halves[1])), seconds > 0 else {
        throw WeftError(
          "NOD0021", object: "--eviction-soft-grace-period \(evictionSoftGracePeriod)",
          cause: "has a period that is none: \(part)", next: "write it as memory.available=1m30s")
      }
      for index in eviction.soft.indices where eviction.soft[index].signal.rawValue == halves[0] {
        eviction.soft[index].graceSeconds = Int64(seconds)
      }
    }
    if let without = eviction.soft.first(where: { $0.graceSeconds == 0 }) {
      throw WeftError(
        "NOD0021", object: "--eviction-soft \(evictionSoft)",
        cause: "has no grace period for \(without.signal.rawValue)",
        next: "add --eviction-soft-grace-period \(without.signal.rawValue)=1m30s")
    }
  }
}

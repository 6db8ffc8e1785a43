// What a node keeps for itself and when it sends pods away: kubelet's flags of these names, with its meaning.

import ArgumentParser
import ClusterClient
import ClusterNode
import ClusterObjects
import Diagnostics

struct NodeAgentOptions: ParsableArguments {
  @Option(
    help:
      "A KubeletConfiguration (kubelet.config.k8s.io/v1beta1). What an option says here goes before what it says."
  )
  var config: String?
  @Option(help: "A folder of manifests: their pods run whatever the API says, which shows mirrors of them.")
  var podManifestPath: String?
  @Option(help: "Where a server has such manifests, one or a list; asked each 20 s.") var manifestUrl: String?
  @Option(help: "Sent along, as NAME:VALUE; once for each, or with commas between them.")
  var manifestUrlHeader: [String] = []
  @Option(
    help: "When pods are evicted at once, as memory.available<100Mi,nodefs.available<10%. Default: kubelet's."
  )
  var evictionHard: String?
  @Option(help: "The same after a grace period.") var evictionSoft: String?
  @Option(help: "The grace periods, as memory.available=1m30s.") var evictionSoftGracePeriod = ""
  @Option(help: "Pods at most. Default: 110.") var maxPods: Int?
  @Option(help: "A container's log is rotated past this. Default: 10Mi.") var containerLogMaxSize: String?
  @Option(help: "So many files are kept of one log. Default: 5.") var containerLogMaxFiles: Int?
  @Option(help: "Unused images go when their disk is as full as this; 100 for never. Default: 85.")
  var imageGcHighThreshold: Int?
  @Option(help: "Until it is as full as this. Default: 80.") var imageGcLowThreshold: Int?
  @Option(help: "Sysctls that pods may set beyond the safe ones: names, or beginnings with `*`.")
  var allowedUnsafeSysctls: String?
  @Option(help: "Where device plugins find kubelet.sock; `none` for no device plugins.")
  var devicePluginDir = "/var/lib/kubelet/device-plugins"
  @Option(
    help: "Where plugins put sockets at which they are asked who they are; `none` for nowhere.")
  var pluginRegistryDir = "/var/lib/kubelet/plugins_registry"
  @Option(
    help:
      "Where monitoring programs find kubelet.sock and ask which pods have which devices; `none` for nowhere."
  )
  var podResourcesDir = "/var/lib/kubelet/pod-resources"
  @Option(
    help:
      "A CredentialProviderConfig (kubelet.config.k8s.io/v1), or a folder of them: programs that know logins of registries."
  )
  var imageCredentialProviderConfig: String?
  @Option(help: "Where these programs are.") var imageCredentialProviderBinDir: String?
  @Option(
    help: "A stream of exec, attach or port-forward on which nothing moves is closed after this. Default: 4h."
  )
  var streamingConnectionIdleTimeout: String?

  /// The file, if one is named. Errors: `NOD0031`, and those of reading it.
  func configuration() throws(WeftError) -> KubeletConfiguration? {
    guard let config else { return nil }
    let text = try TextFile.read(config, code: "NOD0031")
    let tree: JSON
    do throws(YAMLError) {
      tree = try YAML.parse(text)
    } catch {
      throw WeftError(
        "NOD0031", object: error.line > 0 ? "\(config):\(error.line)" : config, cause: error.reason,
        next: "correct the file")
    }
    return try KubeletConfiguration(tree, path: config)
  }

  /// The file first, then what was said beside it.
  func apply(_ file: KubeletConfiguration?, to node: inout NodeSettings) throws(WeftError) {
    file?.apply(to: &node)
    if let podManifestPath { node.staticPodPath = podManifestPath }
    if let manifestUrl { node.staticPodURL = try manifestServer(manifestUrl) }
    if let evictionHard { node.eviction.hard = try thresholds(evictionHard, "--eviction-hard") }
    if let evictionSoft { node.eviction.soft = try thresholds(evictionSoft, "--eviction-soft") }
    try applyGrace(to: &node.eviction)
    let high = imageGcHighThreshold ?? node.imageGCPercent.high
    let low = imageGcLowThreshold ?? node.imageGCPercent.low
    let size = containerLogMaxSize.map { EvictionAmount($0) } ?? .quantity(node.containerLogMaxBytes)
    guard maxPods ?? 1 > 0, containerLogMaxFiles ?? 2 > 1, (0...100).contains(low), high <= 100,
      high > low || high == 100, case .quantity(let bytes)? = size, bytes > 0
    else {
      throw WeftError(
        "NOD0020",
        object:
          "--max-pods, --container-log-max-size, --container-log-max-files, --image-gc-high-threshold or "
          + "--image-gc-low-threshold",
        cause: "is out of its range", next: "leave it out: weft node --help says what it is then")
    }
    if let maxPods { node.podsMax = maxPods }
    node.containerLogMaxBytes = bytes
    if let containerLogMaxFiles { node.containerLogMaxFiles = containerLogMaxFiles }
    node.imageGCPercent = (high: high, low: low)
    if let allowedUnsafeSysctls {
      node.allowedUnsafeSysctls = allowedUnsafeSysctls.split(separator: ",").map(String.init)
    }
    switch (imageCredentialProviderConfig, imageCredentialProviderBinDir) {
    case (nil, nil): break
    case (let path?, let folder?):
      node.credentialProviders = try CredentialProviderSettings(path: path, folder: folder)
    default:
      throw WeftError(
        "NOD0040", object: "--image-credential-provider-config and --image-credential-provider-bin-dir",
        cause: "one is there without the other", next: "name both, or none")
    }
    node.devicePluginPath = devicePluginDir == "none" ? nil : devicePluginDir
    node.pluginRegistryPath = pluginRegistryDir == "none" ? nil : pluginRegistryDir
    node.podResourcesPath = podResourcesDir == "none" ? nil : podResourcesDir
    if let text = streamingConnectionIdleTimeout {
      guard let seconds = GoDuration.wholeSeconds(text), seconds > 0 else {
        throw WeftError(
          "CLI0038", object: "--streaming-connection-idle-timeout \(text)", cause: "is no duration",
          next: "write it as 4h or 30m")
      }
      node.streamingConnectionIdleTimeout = .seconds(seconds)
    }
  }

  private func manifestServer(_ url: String) throws(WeftError) -> ManifestURL {
    var headers: [(name: String, value: String)] = []
    for part in manifestUrlHeader.flatMap({ $0.split(separator: ",") }) {
      guard let colon = part.firstIndex(of: ":"), colon != part.startIndex else {
        throw WeftError(
          "CLI0181", object: "--manifest-url-header \(part)", cause: "has no name before a colon",
          next: "write it as X-Token:word")
      }
      headers.append((name: String(part[..<colon]), value: String(part[part.index(after: colon)...])))
    }
    guard let server = ManifestURL(url, headers: headers) else {
      throw WeftError(
        "CLI0180", object: "--manifest-url \(url)", cause: "is no address of a server",
        next: "write it as http://192.0.2.1:8080/pods.yaml or https://…")
    }
    return server
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
      guard halves.count == 2, let seconds = GoDuration.wholeSeconds(String(halves[1])), seconds > 0 else {
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
        "NOD0021", object: "--eviction-soft \(evictionSoft ?? "")",
        cause: "has no grace period for \(without.signal.rawValue)",
        next: "add --eviction-soft-grace-period \(without.signal.rawValue)=1m30s")
    }
  }
}

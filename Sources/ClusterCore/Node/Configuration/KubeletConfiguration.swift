// Reads kubelet's own config file, `KubeletConfiguration` of kubelet.config.k8s.io/v1beta1, into a node's settings. As with
// kubelet a field that nobody knows is a warning; a value that cannot be is an error; and what this node does not do is
// said, never passed over.

import ClusterObjects
import Diagnostics

/// A file that was read.
public struct KubeletConfiguration: Sendable {
  public static let apiVersion = "kubelet.config.k8s.io/v1beta1"
  public static let kind = "KubeletConfiguration"

  /// One line each, for the log.
  public private(set) var warnings: [String] = []
  /// The node asks for a new client certificate before its own ends.
  public var rotatesClientCertificate: Bool { tree["rotateCertificates"]?.bool ?? false }
  private let tree: JSON

  /// Reads a parsed document. Throws `NOD0031` for what is no such document or a value that cannot be, with all of them.
  /// - Parameter path: the file, for messages.
  public init(_ tree: JSON, path: String) throws(WeftError) {
    guard tree.apiVersion == Self.apiVersion, tree.kind == Self.kind else {
      let found = "\(tree.apiVersion) \(tree.kind)"
      throw WeftError(
        "NOD0031", object: path, cause: "holds \(found == " " ? "no such object" : found)",
        next: "it must begin with apiVersion: \(Self.apiVersion) and kind: \(Self.kind)")
    }
    self.tree = tree
    for (name, value) in tree.object ?? [:] where !KubeletConfigurationFields.read.contains(name) {
      guard let accepted = KubeletConfigurationFields.fixed[name] else {
        warnings.append("unknown field \"\(name)\"")
        continue
      }
      if KubeletConfigurationFields.isEmpty(value) || accepted.contains(value) { continue }
      let reason = KubeletConfigurationFields.reasons[name] ?? "this node does not do it"
      warnings.append("\(name) has no effect: \(reason)")
    }
    var trial = NodeSettings(nodeName: "", addresses: [])
    var reader = ConfigurationReader(tree)
    reader.apply(to: &trial)
    warnings += reader.warnings
    guard reader.problems.isEmpty else {
      throw WeftError(
        "NOD0031", object: path, cause: reader.problems.joined(separator: "; "),
        next:
          "correct it; fields are listed at kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1")
    }
  }

  /// Sets what the file says and nothing else.
  public func apply(to settings: inout NodeSettings) {
    var reader = ConfigurationReader(tree)
    reader.apply(to: &settings)
  }
}

private struct ConfigurationReader {
  let tree: JSON
  var problems: [String] = []
  var warnings: [String] = []

  init(_ tree: JSON) { self.tree = tree }

  mutating func apply(to settings: inout NodeSettings) {
    if let path = text("staticPodPath") { settings.staticPodPath = path }
    if let seconds = duration("fileCheckFrequency") { settings.staticPodInterval = .seconds(seconds) }
    applyManifestServer(&settings)
    if let folder = text("podLogsDir") {
      let path = folder.hasSuffix("/") ? String(folder.dropLast()) : folder
      if path.hasSuffix("/pods"), path.hasPrefix("/") {
        settings.logDirectory = String(path.dropLast("/pods".count))
      } else {
        problems.append("podLogsDir: must be an absolute path that ends with /pods, and is \(folder)")
      }
    }
    if let port = number("port", 1...65_535) { settings.kubeletPort = port }
    if let port = number("healthzPort", 0...65_535, keepsZero: true) { settings.healthzPort = port }
    if let domain = text("clusterDomain") { settings.clusterDomain = domain }
    if let servers = texts("clusterDNS"), !servers.isEmpty { settings.dnsAddresses = servers }
    if let path = text("resolvConf") { settings.resolvConfPath = path }
    if let seconds = duration("streamingConnectionIdleTimeout") {
      settings.streamingConnectionIdleTimeout = .seconds(seconds)
    }
    if let seconds = duration("volumeStatsAggPeriod") { settings.diskUsageInterval = .seconds(seconds) }
    if tree["serverTLSBootstrap"]?.bool == true { settings.requestsServingCertificate = true }
    if let count = number("maxPods", 1...100_000) { settings.podsMax = count }
    // Less than nothing is no limit, as nothing is.
    if tree["podPidsLimit"] != -1 {
      if let count = number("podPidsLimit", 1...4_194_304) { settings.podPIDsMax = count }
    }
    if let names = texts("allowedUnsafeSysctls") { settings.allowedUnsafeSysctls = names }
    // Renewed four times before it is over, as kubelet does.
    if let seconds = number("nodeLeaseDurationSeconds", 1...86_400) {
      settings.leaseSeconds = seconds
      settings.leaseInterval = .seconds(seconds) / 4
    }
    applyImages(&settings)
    applyPulls(&settings)
    applyLogs(&settings)
    applyEviction(&settings.eviction)
    applyShutdown(&settings)
    applyBackoff(&settings)
    applyTaints(&settings)
    applyReserved(&settings)
    applyAccess()
  }

  private mutating func applyManifestServer(_ settings: inout NodeSettings) {
    if let seconds = duration("httpCheckFrequency") { settings.staticPodURLInterval = .seconds(seconds) }
    guard let url = text("staticPodURL") else { return }
    var headers: [(name: String, value: String)] = []
    for (name, values) in tree["staticPodURLHeader"]?.object ?? [:] {
      for value in values.elements.compactMap(\.string) { headers.append((name: name, value: value)) }
    }
    guard let server = ManifestURL(url, headers: headers) else {
      problems.append("staticPodURL: \"\(url)\" is no address that begins with http:// or https://")
      return
    }
    settings.staticPodURL = server
  }

  private mutating func applyImages(_ settings: inout NodeSettings) {
    let high = number("imageGCHighThresholdPercent", 0...100, keepsZero: true) ?? settings.imageGCPercent.high
    let low = number("imageGCLowThresholdPercent", 0...100, keepsZero: true) ?? settings.imageGCPercent.low
    if tree["imageGCHighThresholdPercent"] == nil, tree["imageGCLowThresholdPercent"] == nil { return }
    guard low < high || high == 100 else {
      problems.append(
        "imageGCLowThresholdPercent \(low) must be less than imageGCHighThresholdPercent \(high)")
      return
    }
    settings.imageGCPercent = (high: high, low: low)
  }

  /// One pull at a time, unless the file says otherwise; more than one says it by itself.
  private mutating func applyPulls(_ settings: inout NodeSettings) {
    let isSerial = tree["serializeImagePulls"]?.bool
    guard let said = tree["maxParallelImagePulls"], !said.isNull else {
      if let isSerial { settings.imagePullsMax = isSerial ? 1 : nil }
      return
    }
    guard let count = said.int, count > 0 else {
      problems.append("maxParallelImagePulls must be a number greater than 0")
      return
    }
    if isSerial == true, count > 1 {
      problems.append("maxParallelImagePulls cannot be larger than 1 unless serializeImagePulls is false")
      return
    }
    settings.imagePullsMax = count
  }

  private mutating func applyLogs(_ settings: inout NodeSettings) {
    if let size = text("containerLogMaxSize") {
      if case .quantity(let bytes)? = EvictionAmount(size), bytes > 0 {
        settings.containerLogMaxBytes = bytes
      } else {
        problems.append("containerLogMaxSize: \"\(size)\" is no size")
      }
    }
    if let count = number("containerLogMaxFiles", 2...1000) { settings.containerLogMaxFiles = count }
    if let seconds = duration("containerLogMonitorInterval") {
      settings.containerLogMonitorInterval = .seconds(seconds)
    }
  }

  private mutating func applyEviction(_ eviction: inout EvictionSettings) {
    let defaults = EvictionSettings().hard
    if let hard = thresholds("evictionHard") {
      eviction.hard = hard
      if tree["mergeDefaultEvictionSettings"]?.bool == true {
        let said = Set(tree["evictionHard"]?.object.map { Array($0.keys) } ?? [])
        eviction.hard += defaults.filter { !said.contains($0.signal.rawValue) }
      }
    }
    if let soft = thresholds("evictionSoft") {
      let periods = tree["evictionSoftGracePeriod"]?.object
      eviction.soft = soft.map { threshold in
        var threshold = threshold
        let text = periods?[threshold.signal.rawValue]?.string ?? ""
        if let seconds = GoDuration.seconds(text), seconds > 0 {
          threshold.graceSeconds = Int64(seconds)
        } else {
          problems.append(
            "evictionSoft: \(threshold.signal.rawValue) has no grace period in evictionSoftGracePeriod")
        }
        return threshold
      }
    }
    if let seconds = duration("evictionPressureTransitionPeriod") {
      eviction.transitionSeconds = Int64(seconds)
    }
    if let seconds = number("evictionMaxPodGracePeriod", 0...1_000_000) {
      eviction.podGraceSecondsMax = seconds
    }
  }

  private mutating func thresholds(_ field: String) -> [EvictionThreshold]? {
    guard let map = tree[field]?.object, !map.isEmpty else { return nil }
    var found: [EvictionThreshold] = []
    for (name, value) in map {
      guard let signal = EvictionSignal(rawValue: name),
        let amount = value.string.flatMap({ EvictionAmount($0) })
      else {
        problems.append("\(field): \(name): \(value.string ?? "?") is no threshold")
        continue
      }
      // Nothing at all is never below nothing; a hundred percent switches it off, as kubelet has it.
      if ![.quantity(0), .percent(0), .percent(100)].contains(amount) {
        found.append(EvictionThreshold(signal, amount))
      }
    }
    return found
  }

  private mutating func applyShutdown(_ settings: inout NodeSettings) {
    if let groups = tree["shutdownGracePeriodByPodPriority"]?.array, !groups.isEmpty {
      let periods = groups.compactMap { group -> ShutdownPeriod? in
        guard let priority = group["priority"]?.int, let seconds = group["shutdownGracePeriodSeconds"]?.int
        else { return nil }
        return ShutdownPeriod(priority: priority, seconds: seconds)
      }
      if let shutdown = ShutdownSettings(periods), periods.count == groups.count {
        settings.shutdown = shutdown
      } else {
        problems.append(
          "shutdownGracePeriodByPodPriority: each entry needs a priority of its own and shutdownGracePeriodSeconds"
        )
      }
      if duration("shutdownGracePeriod") != nil || duration("shutdownGracePeriodCriticalPods") != nil {
        problems.append(
          "shutdownGracePeriodByPodPriority cannot be beside shutdownGracePeriod or "
            + "shutdownGracePeriodCriticalPods")
      }
      return
    }
    let critical = Int(duration("shutdownGracePeriodCriticalPods") ?? 0)
    guard let seconds = duration("shutdownGracePeriod") else {
      if critical > 0 { problems.append("shutdownGracePeriodCriticalPods needs a shutdownGracePeriod") }
      return
    }
    if let shutdown = ShutdownSettings(seconds: Int(seconds), criticalSeconds: critical) {
      settings.shutdown = shutdown
    } else {
      problems.append(
        "shutdownGracePeriodCriticalPods \(critical)s must not be more than shutdownGracePeriod")
    }
  }

  private mutating func applyBackoff(_ settings: inout NodeSettings) {
    guard let text = tree.at("crashLoopBackOff", "maxContainerRestartPeriod")?.string, !text.isEmpty else {
      return
    }
    guard let seconds = GoDuration.seconds(text), (1...300).contains(seconds) else {
      problems.append("crashLoopBackOff.maxContainerRestartPeriod: \"\(text)\" is not between 1s and 300s")
      return
    }
    settings.crashBackoffSeconds = (min(10, Int(seconds)), Int(seconds))
  }

  private mutating func applyTaints(_ settings: inout NodeSettings) {
    for taint in tree["registerWithTaints"]?.elements ?? [] {
      guard let key = taint["key"]?.string, let effect = taint["effect"]?.string,
        ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(effect)
      else {
        problems.append("registerWithTaints: each entry needs a key and an effect")
        continue
      }
      settings.taints.append((key: key, value: taint["value"]?.string ?? "", effect: effect))
    }
  }

  private mutating func applyReserved(_ settings: inout NodeSettings) {
    for field in ["systemReserved", "kubeReserved"] {
      for (name, value) in tree[field]?.object ?? [:] {
        guard let amount = PodSpec.amount(value), amount >= 0 else {
          problems.append("\(field): \(name) is no amount")
          continue
        }
        if ["cpu", "memory", "ephemeral-storage"].contains(name) {
          settings.reserved[name, default: 0] += amount
        } else {
          warnings.append("\(field).\(name) has no effect: cpu, memory and ephemeral-storage can be kept")
        }
      }
    }
  }

  /// What the node does always may be said; anything else is not done.
  private mutating func applyAccess() {
    if tree.at("authentication", "anonymous", "enabled")?.bool == true {
      warnings.append(
        "authentication.anonymous.enabled has no effect: nobody is let in without a certificate")
    }
    if let mode = tree.at("authorization", "mode")?.string, mode == "AlwaysAllow" {
      warnings.append("authorization.mode has no effect: who may what is asked of the API server")
    }
    if tree.at("authentication", "webhook", "enabled")?.bool == false {
      warnings.append("authentication.webhook has no effect: tokens are always asked of the API server")
    }
    if let file = tree.at("authentication", "x509", "clientCAFile")?.string, !file.isEmpty {
      warnings.append(
        "authentication.x509.clientCAFile has no effect: the authority of the kubeconfig is believed")
    }
  }

  // MARK: Values

  private mutating func text(_ field: String) -> String? {
    guard let value = tree[field], !value.isNull else { return nil }
    guard let text = value.string else {
      problems.append("\(field) must be a string")
      return nil
    }
    return text.isEmpty ? nil : text
  }

  private mutating func texts(_ field: String) -> [String]? {
    guard let value = tree[field], !value.isNull else { return nil }
    guard let elements = value.array, elements.allSatisfy({ $0.string != nil }) else {
      problems.append("\(field) must be a list of strings")
      return nil
    }
    return elements.compactMap(\.string)
  }

  /// Seconds; nil for the default, which nothing and zero are.
  private mutating func duration(_ field: String) -> Double? {
    guard let text = text(field) else { return nil }
    guard let seconds = GoDuration.seconds(text) else {
      problems.append("\(field): \"\(text)\" is no duration")
      return nil
    }
    return seconds > 0 ? seconds : nil
  }

  private mutating func number(_ field: String, _ range: ClosedRange<Int>, keepsZero: Bool = false) -> Int? {
    guard let value = tree[field], !value.isNull else { return nil }
    guard let number = value.int, range.contains(number) || number == 0 else {
      problems.append("\(field) must be a number from \(range.lowerBound) to \(range.upperBound)")
      return nil
    }
    return number == 0 && !keepsZero ? nil : number
  }
}

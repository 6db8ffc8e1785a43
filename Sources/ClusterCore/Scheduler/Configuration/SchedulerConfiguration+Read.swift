// From a file's tree to the configuration.

import ClusterClient
import ClusterObjects
import Diagnostics

extension SchedulerConfiguration {
  static let points = [
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve",
    "permit", "preBind", "bind", "postBind", "multiPoint", "placementGenerate", "placementScore",
  ]

  /// From YAML or JSON. SCH0001 names every mistake.
  public init(parsing text: String, file: String) throws(WeftError) {
    let tree: JSON
    do throws(YAMLError) { tree = try YAML.parse(text) } catch {
      throw Self.refusal(file, "\(error)")
    }
    self = try Self(tree, file: file)
  }

  private static func refusal(_ file: String, _ cause: String) -> WeftError {
    WeftError(
      "SCH0001", object: file, cause: cause,
      next: "correct it; every field with its default: weft scheduler --write-config-to FILE")
  }

  public init(_ tree: JSON, file: String) throws(WeftError) {
    self.init()
    if tree["algorithmSource"] != nil || tree.kind == "Policy" {
      throw Self.refusal(
        file, "policy files and algorithmSource ended with Kubernetes 1.23; write profiles with plugins")
    }
    guard tree.kind == Self.kind, tree.apiVersion == Self.apiVersion else {
      throw Self.refusal(
        file,
        "no kind \"\(tree.kind)\" is registered for version \"\(tree.apiVersion)\"; "
          + "only \(Self.kind) of \(Self.apiVersion) is read")
    }
    var reader = ConfigurationReader(tree)
    _ = reader.any("apiVersion")
    _ = reader.any("kind")
    read(&reader)
    reader.finish()
    validate(reader.errors)
    if !reader.errors.texts.isEmpty {
      throw Self.refusal(file, "strict decoding error: " + reader.errors.texts.joined(separator: ", "))
    }
  }

  private mutating func read(_ reader: inout ConfigurationReader) {
    parallelism = reader.int("parallelism", 1...1024) ?? parallelism
    percentageOfNodesToScore = reader.int("percentageOfNodesToScore", 0...100) ?? 0
    podInitialBackoffSeconds = reader.int("podInitialBackoffSeconds", 1...86_400) ?? podInitialBackoffSeconds
    podMaxBackoffSeconds = reader.int("podMaxBackoffSeconds", 1...86_400) ?? podMaxBackoffSeconds
    enableProfiling = reader.bool("enableProfiling") ?? enableProfiling
    enableContentionProfiling = reader.bool("enableContentionProfiling") ?? enableContentionProfiling
    delayCacheUntilActive = reader.bool("delayCacheUntilActive") ?? delayCacheUntilActive
    if var election = reader.object("leaderElection") {
      leaderElection.leaderElect = election.bool("leaderElect") ?? true
      leaderElection.leaseDuration = election.duration("leaseDuration") ?? leaderElection.leaseDuration
      leaderElection.renewDeadline = election.duration("renewDeadline") ?? leaderElection.renewDeadline
      leaderElection.retryPeriod = election.duration("retryPeriod") ?? leaderElection.retryPeriod
      leaderElection.resourceLock = election.string("resourceLock") ?? leaderElection.resourceLock
      leaderElection.resourceName = election.string("resourceName") ?? leaderElection.resourceName
      leaderElection.resourceNamespace =
        election.string("resourceNamespace") ?? leaderElection.resourceNamespace
      if leaderElection.resourceLock != "leases" {
        election.complain("resourceLock", "Invalid value: must be leases")
      }
      election.finish()
    }
    if var connection = reader.object("clientConnection") {
      clientConnection.kubeconfig = connection.string("kubeconfig") ?? ""
      clientConnection.acceptContentTypes = connection.string("acceptContentTypes") ?? ""
      clientConnection.contentType = connection.string("contentType") ?? clientConnection.contentType
      clientConnection.qps = connection.int("qps") ?? clientConnection.qps
      clientConnection.burst = connection.int("burst") ?? clientConnection.burst
      connection.finish()
    }
    if let profiles = reader.objects("profiles"), !profiles.isEmpty {
      self.profiles = profiles.map(Self.profile)
    }
    extenders = (reader.objects("extenders") ?? []).map(Self.extender)
  }

  private static func profile(_ given: ConfigurationReader) -> ProfileConfiguration {
    var reader = given
    var profile = ProfileConfiguration()
    profile.schedulerName = reader.string("schedulerName") ?? profile.schedulerName
    profile.percentageOfNodesToScore = reader.int("percentageOfNodesToScore", 0...100)
    if var plugins = reader.object("plugins") {
      for point in points {
        guard var set = plugins.object(point) else { continue }
        var configured = PluginSetConfiguration()
        for var enabled in set.objects("enabled") ?? [] {
          let name = enabled.string("name") ?? ""
          if name.isEmpty { enabled.complain("name", "Required value") }
          configured.enabled.append(EnabledPlugin(name, weight: enabled.int("weight") ?? 0))
          enabled.finish()
        }
        for var disabled in set.objects("disabled") ?? [] {
          configured.disabled.append(disabled.string("name") ?? "")
          _ = disabled.int("weight")
          disabled.finish()
        }
        set.finish()
        profile.plugins[point] = configured
      }
      plugins.finish()
    }
    for var entry in reader.objects("pluginConfig") ?? [] {
      let name = entry.string("name") ?? ""
      if name.isEmpty { entry.complain("name", "Required value") }
      if profile.pluginArguments[name] != nil { entry.complain("name", "Duplicate value: \"\(name)\"") }
      profile.pluginArguments[name] = entry.any("args") ?? .object([:])
      entry.finish()
    }
    reader.finish()
    return profile
  }

  private static func extender(_ given: ConfigurationReader) -> ExtenderConfiguration {
    var reader = given
    var extender = ExtenderConfiguration()
    extender.urlPrefix = reader.string("urlPrefix") ?? ""
    extender.filterVerb = reader.string("filterVerb") ?? ""
    extender.preemptVerb = reader.string("preemptVerb") ?? ""
    extender.prioritizeVerb = reader.string("prioritizeVerb") ?? ""
    extender.bindVerb = reader.string("bindVerb") ?? ""
    extender.weight = reader.int("weight") ?? 0
    extender.enableHTTPS = reader.bool("enableHTTPS") ?? false
    extender.httpTimeout = reader.duration("httpTimeout") ?? extender.httpTimeout
    extender.nodeCacheCapable = reader.bool("nodeCacheCapable") ?? false
    extender.ignorable = reader.bool("ignorable") ?? false
    for var resource in reader.objects("managedResources") ?? [] {
      let name = resource.string("name") ?? ""
      extender.managedResources.append(name)
      if resource.bool("ignoredByScheduler") ?? false { extender.ignoredByScheduler.append(name) }
      resource.finish()
    }
    if var tls = reader.object("tlsConfig") {
      extender.skipsVerification = tls.bool("insecure") ?? false
      extender.serverName = tls.string("serverName") ?? ""
      extender.certificateAuthority = tls.string("caData").flatMap { Base64.decode($0) }
      extender.clientCertificate = tls.string("certData").flatMap { Base64.decode($0) }
      extender.clientKey = tls.string("keyData").flatMap { Base64.decode($0) }
      tls.finish()
    }
    if extender.urlPrefix.isEmpty { reader.complain("urlPrefix", "Required value") }
    if !extender.prioritizeVerb.isEmpty, extender.weight <= 0 {
      reader.complain(
        "weight", "Invalid value: \(extender.weight): must have a positive weight applied to it")
    }
    reader.finish()
    return extender
  }

  private func validate(_ errors: ConfigurationReader.Errors) {
    if podMaxBackoffSeconds < podInitialBackoffSeconds {
      errors.texts.append(
        "podMaxBackoffSeconds: Invalid value: \(podMaxBackoffSeconds): "
          + "must be greater than or equal to PodInitialBackoffSeconds")
    }
    if leaderElection.leaseDuration <= leaderElection.renewDeadline {
      errors.texts.append(
        "leaderElection.leaseDuration: Invalid value: LeaseDuration must be greater than RenewDeadline")
    }
    for (index, profile) in profiles.enumerated() {
      if profile.schedulerName.isEmpty {
        errors.texts.append("profiles[\(index)].schedulerName: Required value")
      }
      if profiles[..<index].contains(where: { $0.schedulerName == profile.schedulerName }) {
        errors.texts.append(
          "profiles[\(index)].schedulerName: Duplicate value: \"\(profile.schedulerName)\"")
      }
    }
    if extenders.count(where: { !$0.bindVerb.isEmpty }) > 1 {
      errors.texts.append("extenders: Invalid value: only one extender can implement bind")
    }
  }
}

// The configuration as a file with every field: what `--write-config-to` writes.

import ClusterObjects
import Diagnostics

extension SchedulerConfiguration {
  public var json: JSON {
    [
      "apiVersion": JSON(Self.apiVersion), "kind": JSON(Self.kind),
      "clientConnection": [
        "acceptContentTypes": JSON(clientConnection.acceptContentTypes),
        "burst": JSON(clientConnection.burst), "contentType": JSON(clientConnection.contentType),
        "kubeconfig": JSON(clientConnection.kubeconfig), "qps": JSON(clientConnection.qps),
      ],
      "delayCacheUntilActive": JSON(delayCacheUntilActive),
      "enableContentionProfiling": JSON(enableContentionProfiling),
      "enableProfiling": JSON(enableProfiling),
      "extenders": .array(extenders.map(\.json)),
      "leaderElection": [
        "leaderElect": JSON(leaderElection.leaderElect),
        "leaseDuration": JSON(GoDuration.text(leaderElection.leaseDuration)),
        "renewDeadline": JSON(GoDuration.text(leaderElection.renewDeadline)),
        "resourceLock": JSON(leaderElection.resourceLock),
        "resourceName": JSON(leaderElection.resourceName),
        "resourceNamespace": JSON(leaderElection.resourceNamespace),
        "retryPeriod": JSON(GoDuration.text(leaderElection.retryPeriod)),
      ],
      "parallelism": JSON(parallelism), "percentageOfNodesToScore": JSON(percentageOfNodesToScore),
      "podInitialBackoffSeconds": JSON(podInitialBackoffSeconds),
      "podMaxBackoffSeconds": JSON(podMaxBackoffSeconds), "profiles": .array(profiles.map(\.json)),
    ]
  }

  public func yaml() -> String { BlockYAML.text(json) }

  /// The same with the default plugins spelled out in each profile that does not change them.
  public func explicit(_ registry: PluginRegistry) -> SchedulerConfiguration {
    var copy = self
    for index in copy.profiles.indices where copy.profiles[index].plugins["multiPoint"] == nil {
      var set = PluginSetConfiguration()
      set.enabled = registry.defaultPlugins
      copy.profiles[index].plugins["multiPoint"] = set
    }
    return copy
  }
}

extension ProfileConfiguration {
  fileprivate var json: JSON {
    var profile: JSON = ["schedulerName": JSON(schedulerName)]
    if let percentageOfNodesToScore { profile["percentageOfNodesToScore"] = JSON(percentageOfNodesToScore) }
    if !plugins.isEmpty {
      var sets: [(String, JSON)] = []
      for (point, set) in plugins.sorted(by: { $0.key < $1.key }) {
        var entry: JSON = .object([:])
        if !set.enabled.isEmpty {
          entry["enabled"] = .array(
            set.enabled.map {
              $0.weight > 0 ? ["name": JSON($0.name), "weight": JSON($0.weight)] : ["name": JSON($0.name)]
            })
        }
        if !set.disabled.isEmpty { entry["disabled"] = .array(set.disabled.map { ["name": JSON($0)] }) }
        sets.append((point, entry))
      }
      profile["plugins"] = .object(JSONObject(sets))
    }
    if !pluginArguments.isEmpty {
      profile["pluginConfig"] = .array(
        pluginArguments.sorted { $0.key < $1.key }.map { ["name": JSON($0.key), "args": $0.value] })
    }
    return profile
  }
}

extension ExtenderConfiguration {
  fileprivate var json: JSON {
    var extender: JSON = ["urlPrefix": JSON(urlPrefix)]
    for (field, verb) in [
      ("filterVerb", filterVerb), ("preemptVerb", preemptVerb), ("prioritizeVerb", prioritizeVerb),
      ("bindVerb", bindVerb),
    ] where !verb.isEmpty { extender[field] = JSON(verb) }
    if weight > 0 { extender["weight"] = JSON(weight) }
    if enableHTTPS { extender["enableHTTPS"] = true }
    extender["httpTimeout"] = JSON(GoDuration.text(httpTimeout))
    if nodeCacheCapable { extender["nodeCacheCapable"] = true }
    if ignorable { extender["ignorable"] = true }
    if !managedResources.isEmpty {
      extender["managedResources"] = .array(
        managedResources.map { name in
          ignoredByScheduler.contains(name)
            ? ["name": JSON(name), "ignoredByScheduler": true] : ["name": JSON(name)]
        })
    }
    var tls: JSON = .object([:])
    if skipsVerification { tls["insecure"] = true }
    if !serverName.isEmpty { tls["serverName"] = JSON(serverName) }
    tls["caData"] = certificateAuthority.map { JSON(Base64.encode($0)) }
    tls["certData"] = clientCertificate.map { JSON(Base64.encode($0)) }
    tls["keyData"] = clientKey.map { JSON(Base64.encode($0)) }
    if tls.object?.isEmpty == false { extender["tlsConfig"] = tls }
    return extender
  }
}

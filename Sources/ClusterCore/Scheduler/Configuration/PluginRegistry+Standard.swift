// The built-in plugins with their arguments (`pluginConfig`).

import ClusterObjects
import Diagnostics
import Synchronization

extension PluginRegistry {
  /// Upstream's default plugins, weights and order.
  public static let standard: PluginRegistry = {
    var registry = PluginRegistry()
    func add(_ name: String, weight: Int = 1, _ factory: @escaping Factory) {
      registry.add(name, weight: weight, isDefault: true, factory)
    }
    func plain(_ plugin: any Plugin, weight: Int = 1) {
      let name = plugin.name
      add(name, weight: weight) { arguments, _ throws(WeftError) in
        try read(name, arguments) { _ in }
        return plugin
      }
    }
    plain(SchedulingGates())
    plain(NodeUnschedulable())
    plain(NodeName())
    plain(TaintToleration(), weight: 3)
    add("NodeAffinity", weight: 2) { arguments, _ throws(WeftError) in try nodeAffinity(arguments) }
    plain(NodePorts())
    add("NodeResourcesFit") { arguments, _ throws(WeftError) in try fit(arguments) }
    plain(VolumeRestrictions())
    plain(NodeVolumeLimits())
    add("VolumeBinding") { arguments, context throws(WeftError) in try volumes(arguments, context) }
    plain(VolumeZone())
    add("PodTopologySpread", weight: 2) { arguments, _ throws(WeftError) in try spread(arguments) }
    add("InterPodAffinity", weight: 2) { arguments, _ throws(WeftError) in try podAffinity(arguments) }
    add("DefaultPreemption") { arguments, _ throws(WeftError) in try preemption(arguments) }
    add("NodeResourcesBalancedAllocation") { arguments, _ throws(WeftError) in try balance(arguments) }
    plain(ImageLocality())
    plain(DefaultBinder())
    return registry
  }()

  /// Reads a plugin's arguments strictly.
  private static func read(
    _ name: String, _ arguments: JSON, _ body: (inout ConfigurationReader) -> Void
  ) throws(WeftError) {
    var reader = ConfigurationReader(arguments)
    if let kind = reader.string("kind"), kind != "\(name)Args" {
      reader.complain("kind", "Invalid value: \"\(kind)\": must be \(name)Args")
    }
    if let version = reader.string("apiVersion"), version != SchedulerConfiguration.apiVersion {
      reader.complain("apiVersion", "Invalid value: \"\(version)\"")
    }
    body(&reader)
    reader.finish()
    if reader.errors.texts.isEmpty { return }
    throw WeftError(
      "SCH0001", object: "pluginConfig of \(name)",
      cause: "strict decoding error: " + reader.errors.texts.joined(separator: ", "),
      next: "correct it; every field with its default: weft scheduler --write-config-to FILE")
  }

  private static func nodeAffinity(_ arguments: JSON) throws(WeftError) -> NodeAffinity {
    var plugin = NodeAffinity()
    try read(plugin.name, arguments) { reader in
      guard let added = reader.any("addedAffinity") else { return }
      plugin.addedRequired = added["requiredDuringSchedulingIgnoredDuringExecution"].map {
        ($0["nodeSelectorTerms"]?.elements ?? []).map { NodeTerm($0) }
      }
      plugin.addedPreferred =
        (added["preferredDuringSchedulingIgnoredDuringExecution"]?.elements ?? [])
        .map { NodeTerm($0["preference"] ?? .null, weight: $0["weight"]?.integer ?? 0) }
    }
    return plugin
  }

  private static func weights(_ reader: inout ConfigurationReader) -> [ResourceWeight]? {
    reader.objects("resources")?.map { given in
      var entry = given
      let weight = ResourceWeight(
        entry.string("name") ?? "", Int64(entry.int("weight", 1...100) ?? 1))
      entry.finish()
      return weight
    }
  }

  private static func fit(_ arguments: JSON) throws(WeftError) -> NodeResourcesFit {
    var plugin = NodeResourcesFit()
    try read(plugin.name, arguments) { reader in
      plugin.ignoredResources = Set(reader.strings("ignoredResources") ?? [])
      plugin.ignoredResourceGroups = Set(reader.strings("ignoredResourceGroups") ?? [])
      guard var strategy = reader.object("scoringStrategy") else { return }
      plugin.resources = weights(&strategy) ?? plugin.resources
      var shape: [UtilizationPoint] = []
      if var ratio = strategy.object("requestedToCapacityRatio") {
        for var point in ratio.objects("shape") ?? [] {
          shape.append(
            UtilizationPoint(
              utilization: Int64(point.int("utilization", 0...100) ?? 0),
              score: Int64(point.int("score", 0...10) ?? 0)))
          point.finish()
        }
        if zip(shape, shape.dropFirst()).contains(where: { $0.utilization >= $1.utilization }) {
          ratio.complain("shape", "Invalid value: utilization values must be sorted in increasing order")
        }
        ratio.finish()
      }
      switch strategy.string("type") ?? "LeastAllocated" {
      case "LeastAllocated": plugin.strategy = .leastAllocated
      case "MostAllocated": plugin.strategy = .mostAllocated
      case "RequestedToCapacityRatio":
        if shape.isEmpty { strategy.complain("requestedToCapacityRatio.shape", "Required value") }
        plugin.strategy = .requestedToCapacityRatio(shape)
      case let other:
        strategy.complain(
          "type",
          "Unsupported value: \"\(other)\": supported values: \"LeastAllocated\", \"MostAllocated\", "
            + "\"RequestedToCapacityRatio\"")
      }
      strategy.finish()
    }
    return plugin
  }

  private static func balance(_ arguments: JSON) throws(WeftError) -> NodeResourcesBalancedAllocation {
    var plugin = NodeResourcesBalancedAllocation()
    try read(plugin.name, arguments) { reader in
      plugin.resources = weights(&reader) ?? plugin.resources
    }
    return plugin
  }

  private static func volumes(_ arguments: JSON, _ context: PluginContext) throws(WeftError)
    -> VolumeBinding
  {
    var timeout = 600
    try read("VolumeBinding", arguments) { reader in
      timeout = reader.int("bindTimeoutSeconds") ?? timeout
      _ = reader.any("shape")
    }
    let plugin = VolumeBinding(bindTimeout: .seconds(timeout), current: context.objects)
    plugin.nodes.withLock { $0 = context.node }
    return plugin
  }

  private static func spread(_ arguments: JSON) throws(WeftError) -> PodTopologySpread {
    var plugin = PodTopologySpread()
    try read(plugin.name, arguments) { reader in
      let kind = reader.string("defaultingType") ?? "System"
      let constraints = (reader.any("defaultConstraints")?.elements ?? []).map {
        SpreadConstraint($0, labels: [:])
      }
      switch kind {
      case "List": plugin = PodTopologySpread(defaultConstraints: constraints)
      case "System":
        if !constraints.isEmpty {
          reader.complain(
            "defaultingType",
            "Invalid value: when .defaultConstraints are not empty, .defaultingType must be \"List\"")
        }
      default: reader.complain("defaultingType", "Unsupported value: \"\(kind)\"")
      }
    }
    return plugin
  }

  private static func podAffinity(_ arguments: JSON) throws(WeftError) -> InterPodAffinity {
    var plugin = InterPodAffinity()
    try read(plugin.name, arguments) { reader in
      plugin.hardPodAffinityWeight = Int64(reader.int("hardPodAffinityWeight", 0...100) ?? 1)
      plugin.ignorePreferredTermsOfExistingPods =
        reader.bool("ignorePreferredTermsOfExistingPods") ?? false
    }
    return plugin
  }

  private static func preemption(_ arguments: JSON) throws(WeftError) -> DefaultPreemption {
    var plugin = DefaultPreemption()
    try read(plugin.name, arguments) { reader in
      plugin.minCandidateNodesPercentage = reader.int("minCandidateNodesPercentage", 0...100) ?? 10
      plugin.minCandidateNodesAbsolute = reader.int("minCandidateNodesAbsolute") ?? 100
    }
    return plugin
  }
}

// Plugins by name, and profiles made of them: what a configuration file enables, disables and weighs.

import ClusterObjects
import Diagnostics

/// What plugins that act after the decision need of the scheduler.
public struct PluginContext: Sendable {
  /// The objects beside nodes and pods, as they are now.
  public var objects: @Sendable () -> ClusterObjectsView
  /// A node as it is now.
  public var node: @Sendable (String) -> NodeInfo?
  public init(
    objects: @escaping @Sendable () -> ClusterObjectsView = { ClusterObjectsView() },
    node: @escaping @Sendable (String) -> NodeInfo? = { _ in nil }
  ) {
    self.objects = objects
    self.node = node
  }
}

/// Makes plugins by name. Add your own to a copy of `standard` and enable it in a profile.
public struct PluginRegistry: Sendable {
  /// Makes one plugin of the arguments in `pluginConfig`; complains of what it does not understand.
  public typealias Factory =
    @Sendable (_ arguments: JSON, _ context: PluginContext) throws(WeftError) -> any Plugin

  private var factories: [String: Factory] = [:]
  /// What every profile has unless it disables it, in the order in which plugins are asked.
  private var defaults: [EnabledPlugin] = []

  public init() {}

  /// - Parameter weight: of its scores; `isDefault`: part of every profile.
  public mutating func add(
    _ name: String, weight: Int = 1, isDefault: Bool = false, _ factory: @escaping Factory
  ) {
    factories[name] = factory
    if isDefault { defaults.append(EnabledPlugin(name, weight: weight)) }
  }

  /// Names and weights of the default plugins, in order.
  var defaultPlugins: [EnabledPlugin] { defaults }

  func build(
    _ profile: ProfileConfiguration, _ configuration: SchedulerConfiguration, _ context: PluginContext
  ) throws(WeftError) -> Profile {
    for name in profile.pluginArguments.keys.sorted() where factories[name] == nil {
      throw unknown(name, profile)
    }
    var made: [String: any Plugin] = [:]
    var built = Profile(schedulerName: profile.schedulerName)
    built.percentageOfNodesToScore =
      profile.percentageOfNodesToScore ?? configuration.percentageOfNodesToScore
    let multi = merged(defaults, profile.plugins["multiPoint"])
    for point in SchedulerConfiguration.points where point != "multiPoint" {
      let set = profile.plugins[point]
      let specific = set?.enabled ?? []
      let disabled = Set(set?.disabled ?? [])
      var list = specific.filter { entry in multi.contains { $0.name == entry.name } }
      for entry in multi where !disabled.contains("*") && !disabled.contains(entry.name) {
        if !list.contains(where: { $0.name == entry.name }) { list.append(entry) }
      }
      for entry in specific where !list.contains(where: { $0.name == entry.name }) { list.append(entry) }
      for entry in list {
        if made[entry.name] == nil {
          made[entry.name] = try make(entry.name, profile, configuration, context)
        }
        guard let plugin = made[entry.name] else { continue }
        let isNamed = specific.contains { $0.name == entry.name }
        if !built.add(plugin, at: point, weight: weight(entry)), isNamed {
          throw WeftError(
            "SCH0003", object: "profile \(profile.schedulerName)",
            cause: "plugin \(entry.name) does not take part in \(point)",
            next: "enable it at another point, or under multiPoint")
        }
      }
    }
    if built.binds.isEmpty {
      throw WeftError(
        "SCH0003", object: "profile \(profile.schedulerName)", cause: "at least one bind plugin is needed",
        next: "enable DefaultBinder")
    }
    return built
  }

  private func weight(_ entry: EnabledPlugin) -> Int {
    if entry.weight > 0 { return entry.weight }
    return defaults.first { $0.name == entry.name }?.weight ?? 1
  }

  private func merged(_ defaults: [EnabledPlugin], _ set: PluginSetConfiguration?) -> [EnabledPlugin] {
    guard let set else { return defaults }
    var result = defaults.filter { !set.disabled.contains($0.name) && !set.disabled.contains("*") }
    for entry in set.enabled {
      if let index = result.firstIndex(where: { $0.name == entry.name }) {
        result[index] = entry
      } else {
        result.append(entry)
      }
    }
    return result
  }

  private func make(
    _ name: String, _ profile: ProfileConfiguration, _ configuration: SchedulerConfiguration,
    _ context: PluginContext
  ) throws(WeftError) -> (any Plugin)? {
    // Order by priority is the queue's own.
    if name == "PrioritySort" { return nil }
    guard let factory = factories[name] else { throw unknown(name, profile) }
    let plugin = try factory(profile.pluginArguments[name] ?? .object([:]), context)
    guard var fit = plugin as? NodeResourcesFit else { return plugin }
    for extender in configuration.extenders { fit.ignoredResources.formUnion(extender.ignoredByScheduler) }
    return fit
  }

  private func unknown(_ name: String, _ profile: ProfileConfiguration) -> WeftError {
    WeftError(
      "SCH0002", object: "profile \(profile.schedulerName)", cause: "there is no plugin \(name)",
      next: "known: \(factories.keys.sorted().joined(separator: ", "))")
  }
}

extension Profile {
  /// False when the plugin has nothing to do with the point. PreFilter and Filter are one protocol here,
  /// and so are PreScore and Score: the plugin is added with the latter.
  fileprivate mutating func add(_ plugin: any Plugin, at point: String, weight: Int) -> Bool {
    switch point {
    case "preEnqueue":
      guard let plugin = plugin as? any PreEnqueuePlugin else { return false }
      preEnqueue.append(plugin)
    case "preFilter": return plugin is any FilterPlugin
    case "filter":
      guard let plugin = plugin as? any FilterPlugin else { return false }
      filters.append(plugin)
    case "postFilter":
      guard let plugin = plugin as? any PostFilterPlugin else { return false }
      postFilters.append(plugin)
    case "preScore": return plugin is any ScorePlugin
    case "score":
      guard let plugin = plugin as? any ScorePlugin else { return false }
      scores.append((plugin, Int64(weight)))
    case "reserve":
      guard let plugin = plugin as? any ReservePlugin else { return false }
      reserves.append(plugin)
    case "permit":
      guard let plugin = plugin as? any PermitPlugin else { return false }
      permits.append(plugin)
    case "preBind":
      guard let plugin = plugin as? any PreBindPlugin else { return false }
      preBinds.append(plugin)
    case "bind":
      guard let plugin = plugin as? any BindPlugin else { return false }
      binds.append(plugin)
    default: return true
    }
    return true
  }
}

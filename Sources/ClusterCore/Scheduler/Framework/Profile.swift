// The plugins of one scheduler name, in the order they are asked.

import ClusterObjects

/// One profile: what KubeSchedulerConfiguration's `profiles` entry comes to.
public struct Profile: Sendable {
  public var schedulerName: String
  public var preEnqueue: [any PreEnqueuePlugin] = []
  public var filters: [any FilterPlugin] = []
  public var postFilters: [any PostFilterPlugin] = []
  public var scores: [(plugin: any ScorePlugin, weight: Int64)] = []
  public var reserves: [any ReservePlugin] = []
  public var permits: [any PermitPlugin] = []
  public var preBinds: [any PreBindPlugin] = []
  public var binds: [any BindPlugin] = []
  /// 0: fewer of many, as upstream computes it; else of how many nodes of a hundred scores are computed.
  public var percentageOfNodesToScore = 0

  public init(schedulerName: String = "default-scheduler") { self.schedulerName = schedulerName }

  /// Every plugin once, by name: who is asked about events.
  func plugins() -> [String: any Plugin] {
    var byName: [String: any Plugin] = [:]
    func add(_ plugins: [any Plugin]) { for plugin in plugins { byName[plugin.name] = plugin } }
    add(preEnqueue)
    add(filters)
    add(postFilters)
    add(scores.map(\.plugin))
    add(reserves)
    add(permits)
    add(preBinds)
    add(binds)
    return byName
  }

  /// Nodes that are enough to choose from. All up to a hundred; of many a share that shrinks.
  func nodesWanted(of count: Int) -> Int {
    if count < 100 || percentageOfNodesToScore >= 100 { return count }
    let share = percentageOfNodesToScore > 0 ? percentageOfNodesToScore : max(5, 50 - count / 125)
    return max(100, count * share / 100)
  }
}

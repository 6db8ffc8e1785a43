// The last two points of everything that is measured, and the rate between them. Pure; the rules are metrics-server's.

import ClusterObjects

/// What was used over a window.
struct Usage: Sendable, Hashable {
  /// Billionths of a core.
  var nanoCores: UInt64
  var memoryBytes: UInt64
  /// The end of the window, and its length, in nanoseconds.
  var time: Int64
  var window: Int64
}

/// Two points, the later last.
struct UsagePair: Sendable, Hashable {
  var before: UsagePoint?
  var last: UsagePoint

  /// A container that is younger than a period, and older than this, is measured from its start.
  static let youngestNanoseconds: Int64 = 10_000_000_000

  init(_ point: UsagePoint, after pair: UsagePair?, periodNanoseconds: Int64) {
    last = point
    guard let pair, point.start <= pair.last.time else {
      // The first, or the first after a restart: what went before is another life's.
      let age = point.time - point.start
      if point.start > 0, age >= Self.youngestNanoseconds, age < periodNanoseconds {
        before = UsagePoint(time: point.start, start: point.start, cpu: 0, memory: point.memory)
      }
      return
    }
    // The same answer again says nothing new.
    before = point.time > pair.last.time ? pair.last : pair.before
  }

  /// Nil until two points are there, and when the counter went back.
  var usage: Usage? {
    guard let before, last.time > before.time, last.cpu >= before.cpu else { return nil }
    let window = last.time - before.time
    let cores = Double(last.cpu - before.cpu) / Double(window)
    return Usage(
      nanoCores: UInt64(min(cores * 1e9, 1e15)), memoryBytes: last.memory, time: last.time, window: window)
  }
}

/// Everything measured, by node and pod.
struct UsageHistory: Sendable {
  struct Pod: Sendable {
    var node: String
    var containers: [String: UsagePair]
  }
  private(set) var nodes: [String: UsagePair] = [:]
  /// By namespace, then name.
  private(set) var pods: [String: [String: Pod]] = [:]
  private var podsOfNode: [String: Set<ObjectKey>] = [:]
  private var answered: [String: Int64] = [:]
  var periodNanoseconds: Int64

  init(periodNanoseconds: Int64) { self.periodNanoseconds = periodNanoseconds }

  /// What a node said at `now` (nanoseconds of any steady clock). Pods that it does not name any more are forgotten.
  mutating func take(_ stats: NodeStats, of node: String, now: Int64) {
    answered[node] = now
    if let point = stats.node {
      nodes[node] = UsagePair(point, after: nodes[node], periodNanoseconds: periodNanoseconds)
    }
    for key in podsOfNode[node, default: []] where stats.pods[key] == nil { forget(key, of: node) }
    for (key, containers) in stats.pods {
      let known = pods[key.namespace]?[key.name]
      var pod = Pod(node: node, containers: [:])
      for (name, point) in containers {
        pod.containers[name] = UsagePair(
          point, after: known?.containers[name], periodNanoseconds: periodNanoseconds)
      }
      pods[key.namespace, default: [:]][key.name] = pod
    }
    podsOfNode[node] = Set(stats.pods.keys)
  }

  private mutating func forget(_ key: ObjectKey, of node: String) {
    guard pods[key.namespace]?[key.name]?.node == node else { return }
    pods[key.namespace]?[key.name] = nil
    if pods[key.namespace]?.isEmpty == true { pods[key.namespace] = nil }
  }

  /// Forgets nodes that have not answered since `moment`, with their pods.
  mutating func forget(before moment: Int64) {
    for (node, time) in answered where time < moment {
      for key in podsOfNode[node, default: []] { forget(key, of: node) }
      podsOfNode[node] = nil
      nodes[node] = nil
      answered[node] = nil
    }
  }

  /// A pod's containers by name; nil while one of them has no rate yet.
  static func usage(_ pod: Pod) -> [(name: String, usage: Usage)]? {
    var all: [(name: String, usage: Usage)] = []
    for (name, pair) in pod.containers {
      guard let usage = pair.usage else { return nil }
      all.append((name, usage))
    }
    return all.sorted { $0.name < $1.name }
  }

  /// Whether something waits for its second point.
  var isYoung: Bool { nodes.values.contains { $0.before == nil } }
  var podCount: Int { pods.values.reduce(0) { $0 + $1.count } }
}

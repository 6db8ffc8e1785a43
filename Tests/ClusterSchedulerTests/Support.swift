// Nodes, pods and decisions in a line each.

import ClusterClient
import ClusterObjects
import Diagnostics

@testable import ClusterScheduler

func makeNode(
  _ name: String, cpu: String = "2", memory: String = "4Gi", pods: Int = 110, labels: [String: String] = [:],
  taints: [JSON] = [], spec: [String: JSON] = [:], more: [String: JSON] = [:]
) -> JSON {
  var all = labels
  all["kubernetes.io/hostname"] = name
  var node: JSON = [
    "apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON(name), "labels": JSON(all)],
    "spec": .object([:]),
    "status": ["allocatable": ["cpu": JSON(cpu), "memory": JSON(memory), "pods": JSON("\(pods)")]],
  ]
  if !taints.isEmpty { node.set(.array(taints), at: "spec", "taints") }
  for (key, value) in spec { node.set(value, at: "spec", key) }
  for (key, value) in more { node.set(value, at: "status", key) }
  return node
}

func makePod(
  _ name: String, namespace: String = "demo", cpu: String? = nil, labels: [String: String] = [:],
  priority: Int = 0, start: String? = nil, spec: [String: JSON] = [:]
) -> JSON {
  var container: JSON = ["name": "c", "image": "i"]
  if let cpu { container["resources"] = ["requests": ["cpu": JSON(cpu)]] }
  var pod: JSON = [
    "apiVersion": "v1", "kind": "Pod",
    "metadata": [
      "namespace": JSON(namespace), "name": JSON(name), "labels": JSON(labels), "uid": JSON("uid-\(name)"),
    ],
    "spec": ["containers": [container], "priority": JSON(priority)],
  ]
  if let start { pod.set(JSON(start), at: "status", "startTime") }
  for (key, value) in spec { pod.set(value, at: "spec", key) }
  return pod
}

func info(_ node: JSON, _ pods: [JSON] = []) -> NodeInfo {
  NodeInfo(NodeFacts(node), pods: pods.map(PodInfo.init))
}

/// Every default plugin, with the objects given.
func standardProfile(_ objects: ClusterObjectsView = ClusterObjectsView()) throws -> Profile {
  try PluginRegistry.standard.build(
    ProfileConfiguration(), SchedulerConfiguration(), PluginContext(objects: { objects }))
}

/// A profile with these filters alone.
func profile(_ filters: any FilterPlugin...) -> Profile {
  var profile = Profile()
  profile.filters = filters
  return profile
}

/// Where the pod goes, or the message why nowhere.
func decide(
  _ pod: JSON, _ nodes: [NodeInfo], _ objects: ClusterObjectsView = ClusterObjectsView()
) throws -> String {
  let profile = try standardProfile(objects)
  let cluster = ClusterState(nodes, objects: objects)
  let pod = PodInfo(pod)
  let search = planFeasible(pod, cluster, profile)
  if search.feasible.isEmpty { return search.message() }
  let scores = planScores(pod, search.feasible, cluster, profile)
  return planBest(search.feasible, scores)?.name ?? "none"
}

/// The names of the nodes that pass these filters.
func passing(
  _ pod: JSON, _ nodes: [NodeInfo], _ objects: ClusterObjectsView = ClusterObjectsView(),
  _ filters: any FilterPlugin...
) -> [String] {
  var profile = Profile()
  profile.filters = filters
  return planFeasible(PodInfo(pod), ClusterState(nodes, objects: objects), profile).feasible.map(\.name)
}

/// Scores of 0…100 by one plugin.
func scores(
  _ pod: JSON, _ nodes: [NodeInfo], _ plugin: any ScorePlugin,
  _ objects: ClusterObjectsView = ClusterObjectsView()
) -> [Int64] {
  var profile = Profile()
  profile.scores = [(plugin, 1)]
  return planScores(PodInfo(pod), nodes, ClusterState(nodes, objects: objects), profile)
}

/// Polls until it holds, for at most `seconds`.
func eventually(seconds: Int = 30, _ body: () -> Bool) async -> Bool {
  let deadline = ContinuousClock.now + .seconds(seconds)
  while ContinuousClock.now < deadline {
    if body() { return true }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return body()
}

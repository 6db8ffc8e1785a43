// What `weft status` asks: the API server of itself, its Nodes, counts of objects, and each node's agent of the network's parts.
//
//   /readyz  /version  componentstatuses  RESOURCE?limit=1  nodes        at the same time
//   /api/v1/nodes/NODE/proxy/weft/v1/status                              each node, so many at a time
//
// Nothing of it grows with the number of Services.

import ClusterClient
import ClusterObjects
import Diagnostics
import Observe

struct StatusReader: Sendable {
  let api: RemoteClient

  /// How long one node may take; the API server's own limit for a silent node is longer.
  static let nodeLimit: Duration = .seconds(3)

  struct Reading {
    var report: StatusReport
    var server: ServerState
    var nodes: [(name: String, isReady: Bool)]
    /// Whether each node's agent told of its parts: what the kernel holds is then known from them.
    var isComplete: Bool
  }

  /// Throws when the API server does not answer.
  func read() async throws -> Reading {
    async let server = ServerState(api)
    async let components = components()
    async let counts = counts()
    let nodes = try await api.list(.nodes, namespace: "", options: ListOptions()).items
    let state = try await server
    var parts = [
      PartStatus(
        "API server", state.isReady ? .ok : .failed, version: state.version,
        text: state.isReady ? "ready" : "not ready",
        next: state.isReady ? "" : "kubectl get --raw '/readyz?verbose'")
    ]
    parts += await components
    let told = await ask(nodes.map(\.name))
    var leftOut: Set<String> = []
    var summary: [(String, Bool)] = []
    for node in nodes.sorted(by: { $0.name < $1.name }) {
      let agent = Self.agent(node)
      parts.append(agent)
      summary.append((node.name, agent.state == .ok))
      switch told[node.name] {
      case .success(let status):
        parts += status.parts
        leftOut.formUnion(status.leftOut)
      case .failure(let reason):
        // Somebody else's agent has no such page; one that is not ready is told above.
        let isForeign = reason.code == 404 || reason.code == 403
        parts.append(
          PartStatus(
            "network", node: node.name, isForeign || agent.state != .ok ? .warning : .failed,
            text: "its parts are not known: \(PartStatus.printable(reason.message))",
            next: isForeign ? "" : "kubectl get --raw /api/v1/nodes/\(node.name)/proxy/healthz"))
      case nil: break
      }
    }
    let report = StatusReport(parts: parts, objects: try await counts, leftOut: leftOut.sorted())
    let isComplete =
      !nodes.isEmpty && told.values.allSatisfy { if case .success = $0 { true } else { false } }
    return Reading(report: report, server: state, nodes: summary, isComplete: isComplete)
  }

  private static func agent(_ node: JSON) -> PartStatus {
    let condition = node.at("status", "conditions")?.elements.first { $0["type"]?.string == "Ready" }
    let isReady = condition?["status"]?.string == "True"
    let version = node.at("status", "nodeInfo", "kubeletVersion")?.string ?? ""
    let why = condition?["message"]?.string ?? "it has not said that it is ready"
    return PartStatus(
      "node agent", node: node.name, isReady ? .ok : .failed, version: PartStatus.printable(version),
      text: isReady ? "ready" : PartStatus.printable("not ready: \(why)"),
      next: isReady ? "" : "kubectl describe node \(node.name)")
  }

  // MARK: Nodes

  struct Refusal: Error {
    var code: Int
    var message: String
  }

  private func ask(_ names: [String]) async -> [String: Result<NodeStatus, Refusal>] {
    let answers = await NodePageClient(api).read("status", of: names, limit: Self.nodeLimit)
    return Dictionary(answers.map { ($0, Self.status($1)) }) { first, _ in first }
  }

  private static func status(_ answer: Result<JSON, any Error>) -> Result<NodeStatus, Refusal> {
    switch answer {
    case .success(let tree):
      NodeStatus(tree).map { .success($0) }
        ?? .failure(Refusal(code: 404, message: "its agent is not Weft's"))
    case .failure(let error as APIStatusError):
      .failure(Refusal(code: error.code, message: error.message))
    case .failure(let error): .failure(Refusal(code: 0, message: "\(error)"))
    }
  }

  // MARK: The rest

  private func components() async -> [PartStatus] {
    guard let answer = try? await api.raw("/api/v1/componentstatuses"), answer.status == 200,
      let tree = try? JSON(parsing: answer.body)
    else { return [] }
    return (tree["items"]?.elements ?? []).map { item in
      let condition = item["conditions"]?.elements.first { $0["type"]?.string == "Healthy" }
      let isWell = condition?["status"]?.string == "True"
      return PartStatus(
        PartStatus.printable(item.name), isWell ? .ok : .warning,
        text: PartStatus.printable(condition?["message"]?.string ?? ""),
        next: isWell ? "" : "kubectl get leases -n kube-system")
    }
  }

  private static let counted: [(String, String)] = [
    ("services", "/api/v1/services"), ("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"),
    ("policies", "/apis/networking.k8s.io/v1/networkpolicies"), ("pods", "/api/v1/pods"),
    ("ingresses", "/apis/networking.k8s.io/v1/ingresses"),
  ]

  /// One object of each, and how many more there are.
  private func counts() async throws -> [StatusReport.Count] {
    try await withThrowingTaskGroup(of: (Int, Int).self) { group in
      for (index, entry) in Self.counted.enumerated() {
        group.addTask {
          let answer = try await api.raw(entry.1 + "?limit=1")
          guard answer.status == 200, let tree = try? JSON(parsing: answer.body) else { return (index, 0) }
          let shown = tree["items"]?.elements.count ?? 0
          return (index, shown + (tree.at("metadata", "remainingItemCount")?.int ?? 0))
        }
      }
      var counts = Self.counted.map { StatusReport.Count($0.0, 0) }
      while let (index, count) = try await group.next() { counts[index].count = count }
      return counts
    }
  }
}

// What `weft status` knows, and its two forms. A value: made from what was read, judged and printed here.

import ClusterClient
import ClusterObjects
import ClusterView
import Proxy
import Ruleset

/// What the API server says of itself.
struct ServerState {
  var version = "unknown"
  var isReady = false

  /// Throws when it cannot be reached.
  init(_ api: RemoteClient) async throws {
    isReady = try await api.raw("/readyz").status == 200
    let answer = try await api.raw("/version")
    if answer.status == 200, let tree = try? JSON(parsing: answer.body) {
      version = tree["gitVersion"]?.string ?? version
    }
  }
}

/// How this machine's kernel stands to the plan.
enum KernelState {
  case equal(tables: Int)
  case differs(changes: Int, tables: Int)
  case absent
  /// The cluster is elsewhere.
  case notANode
  /// A node's rules are in force, and nobody says where its data directory is.
  case unknownNode
  case unreadable(String)

  init(_ rules: NodeRules, isNode: Bool) {
    let tables = rules.inForce.tables.count
    if !isNode {
      self = .notANode
    } else if rules.isAbsent {
      self = .absent
    } else if rules.needsDataFolder {
      self = .unknownNode
    } else if rules.operations.isEmpty {
      self = .equal(tables: tables)
    } else {
      self = .differs(changes: rules.operations.reduce(0) { $0 + $1.weight }, tables: tables)
    }
  }

  var isWell: Bool {
    switch self {
    case .equal, .notANode, .unknownNode, .unreadable: true
    case .differs, .absent: false
    }
  }

  var word: String {
    switch self {
    case .equal: "equal"
    case .differs: "differs"
    case .absent: "absent"
    case .notANode: "not-a-node"
    case .unknownNode, .unreadable: "unknown"
    }
  }

  var text: String {
    switch self {
    case .equal(let tables): "\(tables) tables in force as planned"
    case .differs(let changes, let tables):
      "\(tables) tables, \(changes) changes from the plan; see: weft diff"
    case .absent: "no table of ours is in force; start weft up or weft proxy"
    case .notANode: "this machine is not a node of the cluster"
    case .unknownNode: "unknown: a node's rules are in force; name its data directory with --data-dir"
    case .unreadable(let reason): "unknown: \(reason)"
    }
  }
}

struct ClusterStatus {
  var server: ServerState
  var view: ClusterView
  var nodeName: String
  var kernel: KernelState

  private var nodes: [Node] { view.nodes.values.sorted { $0.name < $1.name } }
  private var notReady: [Node] { nodes.filter { !$0.isReady } }
  private var leftOut: [(object: String, reason: String)] {
    view.quarantined.map { ("\($0.key.kind) \($0.key.key)", "\($0.value)") }.sorted { $0.0 < $1.0 }
  }
  private var counts: [(name: String, count: Int)] {
    [
      ("services", view.services.count),
      (
        "endpoints",
        view.endpointSlices.values.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.endpoints.count } }
      ),
      ("policies", view.networkPolicies.count), ("pods", view.pods.count),
      ("ingresses", view.ingresses.count),
    ]
  }

  var isWell: Bool { server.isReady && notReady.isEmpty && leftOut.isEmpty && kernel.isWell }

  var text: String {
    let ready = notReady.isEmpty ? "" : "; not ready: \(notReady.map(\.name).joined(separator: ", "))"
    var rows = [
      [mark(server.isReady), "API server", "\(server.version), \(server.isReady ? "ready" : "not ready")"],
      [mark(notReady.isEmpty), "nodes", "\(nodes.count - notReady.count) of \(nodes.count) ready\(ready)"],
      [mark(true), "objects", counts.map { "\($0.count) \($0.name)" }.joined(separator: ", ")],
      [mark(leftOut.isEmpty), "left out", leftOut.isEmpty ? "nothing" : "\(leftOut.count) objects"],
    ]
    rows += leftOut.prefix(20).map { ["", "", "\($0.object): \($0.reason)"] }
    rows.append([mark(kernel.isWell), "kernel", kernel.text])
    return Terminal.table(rows)
  }

  private func mark(_ isWell: Bool) -> String {
    let word = isWell ? "ok" : "!!"
    return Terminal.usesColour ? "\u{1b}[\(isWell ? 32 : 31)m\(word)\u{1b}[0m" : word
  }

  var json: JSON {
    var objects: JSON = [:]
    for (name, count) in counts { objects[name] = JSON(count) }
    return [
      "ok": JSON(isWell), "node": JSON(nodeName),
      "api": ["version": JSON(server.version), "ready": JSON(server.isReady)],
      "nodes": .array(nodes.map { ["name": JSON($0.name), "ready": JSON($0.isReady)] }),
      "objects": objects,
      "quarantined": .array(leftOut.map { ["object": JSON($0.object), "reason": JSON($0.reason)] }),
      "kernel": ["state": JSON(kernel.word), "detail": JSON(kernel.text)],
    ]
  }
}

// The API server and the rules of this machine, as `weft status` and `weft check` see them.

import ClusterClient
import ClusterObjects
import Observe
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

  /// A row of `weft status`.
  func part(_ nodeName: String) -> PartStatus {
    let state: PartStatus.State
    switch self {
    case .equal, .notANode: state = .ok
    case .unknownNode, .unreadable: state = .warning
    case .differs, .absent: state = .failed
    }
    return PartStatus("kernel", node: nodeName, state, text: text)
  }
}

// Pages of a node's network under a right of their own: who may look at the map need not be one who may do everything on a node, which
// `nodes/proxy` comes near to.
//
//   GET /weft/v1/nodes/NAME/PAGE?…      needs: get, nonResourceURLs /weft/v1/nodes/*      ─► the agent's /weft/v1/PAGE?…

import ClusterClient
import ClusterObjects
import NIOHTTP1

extension Router {
  /// What may be looked at so. Others, such as captures, go by `nodes/proxy`.
  static let nodePages: Set<String> = ["check", "dns", "edges", "flows", "rules", "status"]

  static func isNodePage(_ path: [String]) -> Bool {
    path.count == 5 && path[0] == "weft" && path[1] == "v1" && path[2] == "nodes"
  }

  /// Nil for other paths. The asker's right to the path has been looked at.
  func serveNodePage(_ request: HTTPRequest) async throws -> HTTPResponse? {
    let path = request.path
    guard Self.isNodePage(path) else { return nil }
    guard Self.nodePages.contains(path[4]) else { throw Failure.notServed }
    guard request.method == .GET, request.headers.first(name: "upgrade") == nil else {
      throw Failure.methodNotAllowed
    }
    let node = try await core.get(try core.kind(.nodes), namespace: "", name: path[3]).tree
    let query = request.uri.firstIndex(of: "?").map { String(request.uri[$0...]) } ?? ""
    return try await relay(request, toAgentOf: node, uri: "/weft/v1/\(path[4])\(query)")
  }
}

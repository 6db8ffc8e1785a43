// What the node's port serves below `/weft/v1/`: a name, and who answers it. Each handler stands in a file of its own.
//
//   kubectl get --raw /api/v1/nodes/NODE/proxy/weft/v1/flows?limit=20
//
// Who may ask is decided by the API server (`get` on `nodes/proxy`); the agent obeys nobody else.

import ClusterClient
import ClusterNode
import ClusterObjects
import Diagnostics

/// The handlers of one node. A value; made once.
struct NodeHandlers: Sendable {
  typealias Handler = @Sendable (NodePageRequest) async throws -> NodePage

  static let version = "v1"
  private var handlers: [String: Handler] = [:]

  /// Answers `/weft/v1/NAME`.
  mutating func add(_ name: String, _ handler: @escaping Handler) { handlers[name] = handler }

  /// Answers with a tree.
  mutating func addJSON(_ name: String, _ handler: @escaping @Sendable (NodePageRequest) async throws -> JSON)
  {
    handlers[name] = { .json(try await handler($0)) }
  }

  /// For the agent. Nil: no such page.
  func answer(_ request: NodePageRequest) async throws -> NodePage? {
    guard request.path.count == 2, request.path[0] == Self.version, let handler = handlers[request.path[1]]
    else { return nil }
    do {
      return try await handler(request)
    } catch let error as WeftError where error.exit == .usage {
      throw APIStatusError(code: 400, reason: "BadRequest", message: error.description)
    }
  }
}

extension NodePage {
  static func json(_ tree: JSON) -> NodePage {
    .bytes(200, contentType: "application/json", tree.bytes)
  }
}

extension NodePageRequest {
  /// A number of a parameter, nil when it is not given. Throws 400 for what is none, or lies outside.
  func number(_ name: String, in range: ClosedRange<Int64>) throws -> Int64? {
    guard let text = parameter(name), !text.isEmpty else { return nil }
    guard let number = Int64(text), range.contains(number) else {
      throw APIStatusError(
        code: 400, reason: "BadRequest",
        message: "\(name): no number from \(range.lowerBound) on: \(text.prefix(40))")
    }
    return number
  }

  /// `service=NAMESPACE/NAME`. Throws 400.
  func objectKey(_ name: String) throws -> ObjectKey {
    let parts = (parameter(name) ?? "").split(separator: "/", omittingEmptySubsequences: false).map(
      String.init)
    guard parts.count == 2, !parts.contains("") else {
      throw APIStatusError(code: 400, reason: "BadRequest", message: "\(name): write NAMESPACE/NAME")
    }
    return ObjectKey(parts[0], parts[1])
  }
}

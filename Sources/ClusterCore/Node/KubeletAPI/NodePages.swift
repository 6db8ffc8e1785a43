// What the agent's port serves below `/weft/`: pages of the node's network, of which the agent itself knows nothing.
//
//   GET /weft/v1/NAME?…     asked by the API server for whoever may `get` `nodes/proxy`:
//                           kubectl get --raw /api/v1/nodes/NODE/proxy/weft/v1/NAME

import ClusterClient
import ClusterStreams
import NIOCore

/// What is asked of a page. A value.
public struct NodePageRequest: Sendable {
  /// After `/weft/`: `["v1", "flows"]`.
  public var path: [String]
  /// As it came, decoded; a name may come several times.
  public var query: [(name: String, value: String)]

  public init(path: [String], query: [(name: String, value: String)] = []) {
    self.path = path
    self.query = query
  }

  /// The first value of this name.
  public func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }
}

/// What a page answers.
public enum NodePage: Sendable {
  /// Takes bytes until the client's side has them; throws when the client is gone.
  public typealias Writer = @Sendable ([UInt8]) async throws -> Void

  case bytes(Int, contentType: String, [UInt8])
  /// Status 200; the body is what the closure writes until it returns. Its task is cancelled when the client goes away.
  case stream(contentType: String, @Sendable (Writer) async throws -> Void)
}

/// Answers what is below `/weft/`; nil: no such page. Called on any task, for several requests at once, and only for askers that
/// the agent obeys. What it throws is answered as a Status: `APIStatusError` as it is, `WeftError` with 503.
public typealias NodePages = @Sendable (NodePageRequest) async throws -> NodePage?

extension NodeAgent {
  static let pagesRoot = "weft"

  nonisolated func page(_ request: NodeRequest) async throws -> NodeAnswer? {
    guard request.path.first == Self.pagesRoot, let pages else { return nil }
    let asked = NodePageRequest(path: Array(request.path.dropFirst()), query: request.target.query)
    switch try await pages(asked) {
    case .bytes(let code, let contentType, let bytes):
      return .bytes(code, contentType: contentType, ByteBuffer(bytes: bytes))
    case .stream(let contentType, let fill):
      return .body(contentType: contentType) { body in try await fill { try await body.write($0) } }
    case nil: return nil
    }
  }
}

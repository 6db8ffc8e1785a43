// Pages of nodes, asked for by way of the API server.
//
//   /api/v1/nodes/NODE/proxy/weft/v1/PAGE?…

import ClusterClient
import ClusterObjects
import Diagnostics
import Observe

/// Whoever may `get` `nodes/proxy` may ask.
struct NodePageClient: Sendable {
  typealias Query = [(name: String, value: String)]
  typealias Answers = [(node: String, answer: Result<JSON, any Error>)]

  /// Nodes that are asked at the same time.
  static let asksMax = 16

  private let api: RemoteClient

  init(_ api: RemoteClient) { self.api = api }

  /// Throws `APIStatusError` for a refusal, 504 when the node takes longer than `limit`.
  func read(
    _ node: String, _ page: String, _ query: Query = [], limit: Duration = .seconds(10)
  ) async throws -> JSON {
    let api = api
    return try await withThrowingTaskGroup(of: JSON?.self) { group in
      group.addTask { try await api.read(path: Self.path(node, page), query: query) }
      group.addTask {
        try await Task.sleep(for: limit)
        return nil
      }
      defer { group.cancelAll() }
      guard let first = try await group.next(), let tree = first else {
        throw APIStatusError(
          code: 504, reason: "Timeout", message: "node \(node) has not answered within \(limit)")
      }
      return tree
    }
  }

  /// An answer that goes on, line by line. Throws `APIStatusError` for a refusal.
  func lines(_ node: String, _ page: String, _ query: Query) async throws -> LineStream {
    try await api.lines(path: Self.path(node, page), query: query)
  }

  private static func path(_ node: String, _ page: String) -> [String] {
    ["api", "v1", "nodes", node, "proxy", "weft", "v1", page]
  }

  /// The names of all nodes, in their order. Throws when they cannot be read.
  func nodes() async throws -> [String] {
    try await api.list(.nodes, namespace: "", options: ListOptions()).items.map(\.name).sorted()
  }

  /// The same page of these nodes, so many at a time: what each answers, or why it does not, in the order of `nodes`.
  func read(
    _ page: String, of nodes: [String], limit: Duration = .seconds(10),
    query: @escaping @Sendable (String) -> Query = { _ in [] }
  ) async -> Answers {
    await withTaskGroup(of: (Int, Result<JSON, any Error>).self) { group in
      var answers: [Result<JSON, any Error>?] = nodes.map { _ in nil }
      var rest = nodes.indices[...]
      func ask(_ index: Int) {
        group.addTask {
          do {
            return (index, .success(try await read(nodes[index], page, query(nodes[index]), limit: limit)))
          } catch {
            return (index, .failure(error))
          }
        }
      }
      for _ in 0..<Self.asksMax { if let next = rest.popFirst() { ask(next) } }
      while let (index, answer) = await group.next() {
        answers[index] = answer
        if let next = rest.popFirst() { ask(next) }
      }
      return zip(nodes, answers).compactMap { name, answer in answer.map { (name, $0) } }
    }
  }
}

extension NodePageClient {
  /// Why a node does not tell, as it is said to people: what it answered may be any bytes.
  static func reason(_ error: any Error) -> String {
    PartStatus.printable((error as? APIStatusError)?.message ?? "\(error)")
  }
}

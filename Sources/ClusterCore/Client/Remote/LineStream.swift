// Lines of an answer that goes on: read as they come.

import ClusterObjects

/// Releasing it closes its connection. For one task at a time.
public struct LineStream: Sendable {
  private let watch: WatchHandle
  init(_ watch: WatchHandle) { self.watch = watch }

  /// The next line without its end; nil when there are no more. Throws when the connection breaks.
  public func next() async throws -> [UInt8]? { try await watch.reader.nextLine() }
}

extension RemoteClient {
  /// Reads the lines of a path's answer, on a connection of its own. Throws `APIStatusError` for what the server refuses.
  public func lines(path: [String], query: [(name: String, value: String)]) async throws -> LineStream {
    LineStream(
      try await openLines(
        path.map { "/" + Self.escaped($0) }.joined(), query: query.map { ($0.name, $0.value) }))
  }
}

// Those who know tokens of one sort, and what a token turned out to say.

import ClusterObjects

/// Whose a token is.
struct TokenIdentity: Sendable, Hashable {
  var identity: Identity
  /// Of the audiences asked for, those the token is meant for.
  var audiences: [String]
}

protocol TokenAuthenticator: Sendable {
  /// Nil: no token of this sort. Throws for one of this sort that is not to be believed. `audiences` are
  /// those that the asker speaks for; never empty.
  func authenticate(_ token: String, audiences: [String]) async throws(TokenProblem) -> TokenIdentity?
}

/// Looks up objects as they are now.
protocol LiveObjects: Sendable {
  func object(_ resource: GroupVersionResource, namespace: String, name: String) async -> JSON?
}

extension ObjectCaches: LiveObjects {
  func object(_ resource: GroupVersionResource, namespace: String, name: String) async -> JSON? {
    let cache = self[resource.resource]
    let key =
      namespace.isEmpty
      ? "\(Self.root)\(resource.resource)/\(name)" : "\(Self.root)\(resource.resource)/\(namespace)/\(name)"
    if let found = cache[key] { return found.tree }
    // Perhaps it was made a moment ago.
    await catchUp()
    return cache[key]?.tree
  }
}

/// Seconds since 1970; replaced in tests.
typealias WallClock = @Sendable () -> Int64

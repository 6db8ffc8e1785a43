// Waiting for the first list of several resources.

import ClusterObjects
import Diagnostics

/// What has a first list to wait for.
protocol Listed: Sendable {
  var scope: InformerScope { get }
  var hasSynced: Bool { get }
  var lastFailure: String? { get }
  func waitForSync() async throws
}

extension Informer: Listed {}

extension ObjectStream: Listed {
  /// Waits until each has its first list, at most `timeout`. Throws a retryable `WeftError` that names what is missing.
  public static func waitForSync(_ streams: [ObjectStream], timeout: Duration) async throws {
    try await FirstLists.wait(for: streams, timeout: timeout)
  }
}

enum FirstLists {
  static func wait(for all: [some Listed], timeout: Duration) async throws {
    try await withThrowingTaskGroup(of: Bool.self) { group in
      group.addTask {
        for one in all { try await one.waitForSync() }
        return true
      }
      group.addTask {
        try await Task.sleep(for: timeout)
        return false
      }
      defer { group.cancelAll() }
      if try await group.next() == true { return }
      let missing = all.filter { !$0.hasSynced }
      throw WeftError(
        "API0103", object: missing.map(\.scope.resource.description).joined(separator: ", "),
        cause: missing.compactMap(\.lastFailure).first ?? "not listed within \(timeout)",
        next: "check that the API server answers: weft status", exit: .timedOut, isRetryable: true)
    }
  }
}

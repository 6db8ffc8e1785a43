// What may change or refuse a write before it is stored, whoever writes: built-in plugins and webhooks take
// the same two turns. First all `admit`, in order, each seeing what the former made; then all `validate`.

import ClusterClient
import ClusterObjects

enum AdmissionOperation: String, Sendable {
  case create = "CREATE"
  case update = "UPDATE"
  case delete = "DELETE"
  case connect = "CONNECT"
}

/// One write on its way.
struct AdmissionRequest: Sendable {
  var operation: AdmissionOperation
  var kind: ResourceKind
  /// Empty for the object itself; else `status`, `scale`, `binding`, `exec`, …
  var subresource = ""
  var namespace = ""
  var name = ""
  /// The new object; nil for a deletion. Plugins change it in `admit`.
  var object: JSON?
  /// What is stored; nil for a creation.
  var old: JSON?
  /// CreateOptions, UpdateOptions or DeleteOptions as sent.
  var options: JSON = .null
  var isDryRun = false
  var identity: Identity
  /// Told to the client in `Warning` headers.
  var warnings: [String] = []
  /// Undone when the write fails later: given back in reverse order.
  var undo: [@Sendable () -> Void] = []
}

/// A plugin. Throws `APIStatusError`, mostly 403, to refuse.
protocol AdmissionPlugin: Sendable {
  /// Upstream's name, such as `LimitRanger`.
  var name: String { get }
  func admit(_ request: inout AdmissionRequest) async throws
  func validate(_ request: inout AdmissionRequest) async throws
}

extension AdmissionPlugin {
  func admit(_ request: inout AdmissionRequest) async throws {}
  func validate(_ request: inout AdmissionRequest) async throws {}
}

/// The plugins in their fixed order.
struct AdmissionChain: Sendable {
  var plugins: [any AdmissionPlugin] = []

  /// Runs both turns. When it throws, what plugins took is given back already.
  func run(_ request: inout AdmissionRequest) async throws {
    do {
      for plugin in plugins { try await plugin.admit(&request) }
      for plugin in plugins { try await plugin.validate(&request) }
    } catch {
      request.rollBack()
      throw error
    }
  }
}

extension AdmissionRequest {
  mutating func rollBack() {
    for step in undo.reversed() { step() }
    undo = []
  }
}

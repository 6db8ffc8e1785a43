// What may change or refuse a write before it is stored, whoever writes: built-in plugins and webhooks take
// the same two turns. First all `admit`, in order, each seeing what the former made; then the schema's
// validation; then all `validate`.

import ClusterClient
import ClusterObjects

enum AdmissionOperation: String, Sendable, CaseIterable {
  case create = "CREATE"
  case update = "UPDATE"
  case delete = "DELETE"
  case connect = "CONNECT"
}

/// Options of a write, as the client gave them.
enum AdmissionOptions: Sendable {
  case none
  case write(WriteOptions)
  case delete(DeleteOptions)
}

/// One write on its way.
struct AdmissionRequest: Sendable {
  var operation: AdmissionOperation
  var kind: ResourceKind
  /// Empty for the object itself; else `status`, `scale`, `binding`, `exec`, …
  var subresource = ""
  /// What `object` is, when a subresource is written as something else: `autoscaling/v1 Scale`.
  var subresourceKind: GroupVersionKind?
  var namespace = ""
  var name = ""
  /// The new object; nil for a deletion. Plugins change it in `admit`.
  var object: JSON?
  /// What is stored; nil for a creation.
  var old: JSON?
  var options = AdmissionOptions.none
  var isDryRun = false
  var identity: Identity
  /// Told to the client in `Warning` headers.
  var warnings: [String] = []
  /// For the audit log, by key.
  var auditAnnotations: [String: String] = [:]
  /// What mutating webhooks did so far.
  var rounds = WebhookRounds()
  /// Undone when the write fails later: given back in reverse order.
  var undo: [@Sendable () -> Void] = []
  /// Done when the write is durable.
  var settle: [@Sendable () -> Void] = []

  init(operation: AdmissionOperation, kind: ResourceKind, identity: Identity) {
    self.operation = operation
    self.kind = kind
    self.identity = identity
  }

  /// What the request's `object` is.
  var gvk: GroupVersionKind { subresourceKind ?? kind.gvk }

  /// 403 as upstream's plugins say it: `pods "web" is forbidden: …`.
  func forbidden(_ why: String) -> APIStatusError {
    Failure.forbidden(kind, name.isEmpty ? object?.name ?? old?.name ?? "" : name, why)
  }

  /// For the audit event of the request that is served.
  func tellAudit() {
    for (key, value) in auditAnnotations { AuditAnnotation.add(key, value) }
  }

  mutating func rollBack() {
    for step in undo.reversed() { step() }
    undo = []
    settle = []
  }

  mutating func finish() {
    for step in settle { step() }
    undo = []
    settle = []
  }
}

struct GroupResource: Hashable, Sendable {
  var group: String
  var resource: String
  init(_ group: String, _ resource: String) {
    self.group = group
    self.resource = resource
  }
}

/// Which writes a plugin wants to see; read once, when the chain is made.
struct AdmissionInterest: Sendable {
  /// Nil: of every resource.
  var resources: Set<GroupResource>?
  var operations: Set<AdmissionOperation>
  /// `""` is the object itself. Nil: all.
  var subresources: Set<String>? = [""]
  var admits = false
  var validates = false
  /// The plugin's `admit` comes once, after webhooks had their say.
  var isLast = false

  static func admitting(
    _ resources: [GroupResource]?, _ operations: Set<AdmissionOperation>, subresources: Set<String>? = [""]
  ) -> Self {
    Self(
      resources: resources.map { Set($0) }, operations: operations, subresources: subresources, admits: true)
  }

  /// Creates and updates, after webhooks.
  static func last(_ resources: [GroupResource]) -> Self {
    Self(resources: Set(resources), operations: [.create, .update], admits: true, isLast: true)
  }

  static func validating(
    _ resources: [GroupResource]?, _ operations: Set<AdmissionOperation>, subresources: Set<String>? = [""]
  ) -> Self {
    Self(
      resources: resources.map { Set($0) }, operations: operations, subresources: subresources,
      validates: true)
  }

  static func both(
    _ resources: [GroupResource]?, _ operations: Set<AdmissionOperation>, subresources: Set<String>? = [""]
  ) -> Self {
    Self(
      resources: resources.map { Set($0) }, operations: operations, subresources: subresources, admits: true,
      validates: true)
  }
}

/// A plugin. Throws `APIStatusError`, mostly 403, to refuse.
protocol AdmissionPlugin: Sendable {
  /// Upstream's name, such as `LimitRanger`.
  var name: String { get }
  var interest: AdmissionInterest { get }
  func admit(_ request: inout AdmissionRequest) async throws
  func validate(_ request: inout AdmissionRequest) async throws
}

extension AdmissionPlugin {
  func admit(_ request: inout AdmissionRequest) async throws {}
  func validate(_ request: inout AdmissionRequest) async throws {}
}

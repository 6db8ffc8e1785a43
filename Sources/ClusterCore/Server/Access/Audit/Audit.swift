// From requests to audit events: begins one, has it filled, sends it to the log at its stages.

import ClusterClient
import ClusterObjects
import ClusterStreams
import Diagnostics
import NIOCore
import NIOHTTP1

/// Where audit events go, as flags say it: upstream's names. No path, no log.
public struct AuditSettings: Sendable {
  /// A `Policy` of audit.k8s.io/v1, YAML or JSON.
  public var policyFile = ""
  /// `-` for standard output.
  public var logPath = ""
  public var logMaxMegabytes = 100
  /// Old files kept; 0 for all.
  public var logMaxBackups = 0
  /// Days that old files are kept; 0 for ever.
  public var logMaxDays = 0
  public init() {}

  /// Nil when nothing shall be recorded. Errors: `API0003` the file, `API0014` the policy.
  func audit() throws(WeftError) -> Audit? {
    if policyFile.isEmpty, logPath.isEmpty { return nil }
    guard !policyFile.isEmpty, !logPath.isEmpty else {
      throw WeftError(
        "API0014", object: policyFile.isEmpty ? "--audit-log-path" : "--audit-policy-file",
        cause: "is given without \(policyFile.isEmpty ? "--audit-policy-file" : "--audit-log-path")",
        next: "give both, or neither")
    }
    let policy = try AuditPolicy(path: policyFile)
    var log = AuditLog.Settings(path: logPath)
    log.bytesMax = max(logMaxMegabytes, 1) << 20
    log.backupsMax = logMaxBackups
    log.daysMax = logMaxDays
    return Audit(policy: policy, log: try AuditLog(log))
  }
}

final class Audit: Sendable {
  private let policy: AuditPolicy
  private let log: AuditLog
  private let events = Metrics.shared.counter("apiserver_audit_event_total", "Audit events recorded.").child()
  private let levels = Metrics.shared.counter(
    "apiserver_audit_level_total", "Requests by the level at which they are recorded.", labels: ["level"])

  init(policy: AuditPolicy, log: AuditLog) {
    self.policy = policy
    self.log = log
  }

  /// A request whose asker is known, before it is decided on. Nil when it is not recorded.
  func begin(_ request: HTTPRequest, id: String, attributes: AccessAttributes) -> AuditEvent? {
    let decision = policy.decide(attributes)
    levels.child(decision.level.text).increment()
    if decision.level == .none { return nil }
    let event = AuditEvent(
      id: id, request, asker: attributes.identity, attributes: attributes, decision: decision)
    send(event.tree(.requestReceived))
    return event
  }

  /// The answer is known. A stream has its second event when it ends.
  func finish(_ event: AuditEvent, _ response: inout HTTPResponse) {
    let code = Int(response.status.code)
    switch response.body {
    case .bytes(let bytes):
      send(event.tree(.responseComplete, response: (code, Self.object(response, bytes, event.decision))))
    case .list(let list):
      let isRecorded = event.decision.level == .requestResponse
      send(
        event.tree(
          .responseComplete,
          response: (code, isRecorded ? Self.object(response, list.whole, event.decision) : nil)))
    case .stream(let attach):
      send(event.tree(.responseStarted, response: (code, nil)))
      response.body = .stream { writer in
        writer.onClose { self.send(event.tree(.responseComplete, response: (code, nil))) }
        attach(writer)
      }
    case .relay(let attach):
      send(event.tree(.responseStarted, response: (code, nil)))
      response.body = .relay { writer in
        writer.onOver = { self.send(event.tree(.responseComplete, response: (code, nil))) }
        attach(writer)
      }
    case .upgrade(let attach):
      send(event.tree(.responseStarted, response: (code, nil)))
      response.body = .upgrade { link in
        link.channel.closeFuture.whenComplete { _ in
          self.send(event.tree(.responseComplete, response: (code, nil)))
        }
        attach(link)
      }
    }
  }

  /// Nobody was believed: recorded without a user.
  func refuse(_ request: HTTPRequest, id: String, attributes: AccessAttributes, _ error: APIStatusError) {
    var attributes = attributes
    attributes.identity = Identity(user: "", groups: [])
    let decision = policy.decide(attributes)
    levels.child(decision.level.text).increment()
    let event = AuditEvent(
      id: id, request, asker: attributes.identity, attributes: attributes, decision: decision)
    send(event.tree(.responseStarted, response: (error.code, error.status)))
  }

  private func send(_ tree: JSON?) {
    guard let tree else { return }
    events.increment()
    log.write(tree.bytes)
  }

  /// The body as an object: a Status always, more only when the level asks for it.
  private static func object(
    _ response: HTTPResponse, _ bytes: ByteBuffer, _ decision: AuditPolicy.Decision
  ) -> JSON? {
    guard response.status.code >= 400 || decision.level >= .requestResponse,
      response.contentType.hasPrefix("application/json")
    else { return nil }
    return try? JSON(parsing: Array(bytes.readableBytesView))
  }

  func shutdown() async { await log.shutdown() }
}

extension AuditEvent {
  /// Reads the body for the record: of a change always as far as the name goes, whole from level Request on.
  func note(_ request: HTTPRequest, _ registry: KindRegistry, name: String) {
    guard !request.body.isEmpty, decision.level >= .request || (request.method == .POST && name.isEmpty)
    else { return }
    if Bodies.mediaType(request) == "application/vnd.kubernetes.protobuf" {
      guard let envelope = try? ProtobufEnvelope(request.body),
        let schema = registry.bodySchema(envelope.gvk),
        let object = try? schema.decode(protobuf: envelope).object
      else { return }
      requests(object)
    } else if let object = try? YAML.tree(request.body) {
      requests(object)
    }
  }
}

enum AuditID {
  /// What the client calls its request, else a name of ours.
  static func of(_ request: HTTPRequest) -> String {
    if let given = request.headers.first(name: "audit-id"), !given.isEmpty {
      return String(given.unicodeScalars.prefix(64).filter { $0.isASCII && $0.value > 32 })
    }
    return RESTCore.uid()
  }
}

enum AddressText {
  static func isAddress(_ text: String) -> Bool {
    text.utf8.count <= 45 && (try? SocketAddress(ipAddress: text, port: 0)) != nil
  }
}

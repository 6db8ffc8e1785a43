// What the conformance cases are about: an API server with its controllers and a node that runs nothing but says
// so, one for each suite, spoken to over HTTPS as any client would. Each case has a namespace of its own.

import ClusterControllers
import ClusterObjects
import ClusterServer
import Diagnostics
import NIOHTTP1
import StoreLab
import Testing

@testable import ClusterClient

/// The cluster of the suite that is running.
struct Cluster: Sendable {
  let server: ClusterServer
  let folder: String
  let api: RemoteClient
  let kubectl: Kubectl
  private let transport: HTTPTransport

  @TaskLocal static var current: Cluster?

  /// The suite's cluster; a case outside a suite with `.cluster` fails here.
  static var here: Cluster { get throws { try #require(current) } }

  init(server: ClusterServer, folder: String) throws {
    self.server = server
    self.folder = folder
    let config = try Kubeconfig(path: server.kubeconfigPath)
    api = try RemoteClient(kubeconfig: config, userAgent: "e2e.test", metrics: Metrics())
    transport = try HTTPTransport(config)
    kubectl = Kubectl(server: server, cache: folder + "/cache")
  }

  // MARK: Requests in full

  struct Reply {
    var code: Int
    var text: String
    var json: JSON { (try? JSON(parsing: text)) ?? .null }
    var message: String { json["message"]?.string ?? "" }
  }

  /// One request as it is written here.
  func send(
    _ method: HTTPMethod, _ path: String, body: String? = nil, type: String = "application/json",
    accept: String = "application/json"
  ) async throws -> Reply {
    var headers = HTTPHeaders([("Host", transport.server), ("User-Agent", "e2e.test"), ("Accept", accept)])
    if let body {
      headers.add(name: "Content-Type", value: type)
      headers.add(name: "Content-Length", value: String(body.utf8.count))
    }
    let head = HTTPRequestHead(version: .http1_1, method: method, uri: path, headers: headers)
    let answer = try await transport.send(head, body: body.map { Array($0.utf8) })
    return Reply(code: answer.status, text: String(decoding: answer.body, as: UTF8.self))
  }

  /// A GET that has to succeed.
  func document(_ path: String, accept: String = "application/json") async throws -> JSON {
    let reply = try await send(.GET, path, accept: accept)
    try #require(reply.code == 200, "\(path): \(reply.code) \(reply.text)")
    return reply.json
  }

  // MARK: What cases do all the time

  /// A new namespace that is ready for pods.
  func namespace(_ base: String, labels: JSON = [:]) async throws -> String {
    let made = try await create(
      .namespaces, ["metadata": ["generateName": JSON(base + "-"), "labels": labels]])
    try await eventually { (try? await get(.serviceAccounts, made.name, "default")) != nil }
    return made.name
  }

  @discardableResult func create(_ resource: GroupVersionResource, _ object: JSON) async throws -> JSON {
    try await api.create(resource, object, options: WriteOptions())
  }

  func get(_ resource: GroupVersionResource, _ namespace: String, _ name: String) async throws -> JSON {
    try await api.get(resource, namespace: namespace, name: name)
  }

  /// Nil when it is not there.
  func find(_ resource: GroupVersionResource, _ namespace: String, _ name: String) async throws -> JSON? {
    do { return try await get(resource, namespace, name) } catch let error as APIStatusError
      where error.isNotFound
    { return nil }
  }

  func list(
    _ resource: GroupVersionResource, _ namespace: String = "", labels: String? = nil
  ) async throws -> [JSON] {
    try await api.list(resource, namespace: namespace, options: ListOptions(labelSelector: labels)).items
  }

  @discardableResult func merge(
    _ resource: GroupVersionResource, _ namespace: String, _ name: String, _ changes: JSON,
    subresource: String? = nil
  ) async throws -> JSON {
    try await api.patch(
      resource, namespace: namespace, name: name, patch: .merge(changes), subresource: subresource,
      options: WriteOptions())
  }

  /// Reads, changes and replaces, again when somebody was faster.
  @discardableResult func replace(
    _ resource: GroupVersionResource, _ namespace: String, _ name: String, subresource: String? = nil,
    _ change: (inout JSON) -> Void
  ) async throws -> JSON {
    try await api.modify(resource, ObjectKey(namespace, name), subresource: subresource) { current in
      var changed = current
      change(&changed)
      return changed
    }
  }

  func delete(
    _ resource: GroupVersionResource, _ namespace: String, _ name: String, policy: String? = nil,
    uid: String? = nil
  ) async throws {
    try await api.delete(
      resource, namespace: namespace, name: name,
      options: DeleteOptions(propagationPolicy: policy, uid: uid))
  }

  func deleteCollection(
    _ resource: GroupVersionResource, _ namespace: String = "", labels: String
  ) async throws {
    let root = resource.group.isEmpty ? "/api/\(resource.version)" : "/apis/\(resource.groupVersion)"
    let scope = namespace.isEmpty ? "" : "/namespaces/\(namespace)"
    let path =
      "\(root)\(scope)/\(resource.resource)?labelSelector=\(labels.replacing("=", with: "%3D"))"
    let reply = try await send(.DELETE, path)
    try #require(reply.code == 200, "\(path): \(reply.text)")
  }

  func watch(
    _ resource: GroupVersionResource, _ namespace: String = "", labels: String? = nil,
    from version: String? = nil
  ) async throws -> Watching {
    Watching(
      try await api.watch(
        resource, namespace: namespace,
        options: ListOptions(labelSelector: labels, resourceVersion: version)))
  }

  /// Creates a definition and waits until its kinds are served.
  @discardableResult func define(_ definition: JSON) async throws -> JSON {
    let made = try await create(CustomResourceDefinition.resource, definition)
    try await eventually {
      CustomResourceDefinition(try await get(.definitions, "", made.name)).isEstablished
    }
    return made
  }
}

/// A watch that is read event by event; its suite's time limit bounds the waiting.
final class Watching {
  private var events: AsyncThrowingStream<WatchEvent, any Error>.Iterator
  init(_ stream: AsyncThrowingStream<WatchEvent, any Error>) { events = stream.makeAsyncIterator() }

  /// The next change: its type as the API writes it, and the object.
  func next() async throws -> (type: String, object: JSON) {
    while let event = try await events.next(isolation: #isolation) {
      switch event {
      case .added(let object): return ("ADDED", object)
      case .modified(let object): return ("MODIFIED", object)
      case .deleted(let object): return ("DELETED", object)
      case .bookmark: continue
      }
    }
    throw Failed(text: "the watch ended")
  }

  /// The first change that `accept` takes, others passed over.
  func first(
    _ type: String, where accept: (JSON) -> Bool = { _ in true }
  ) async throws -> JSON {
    while true {
      let event = try await next()
      if event.type == type, accept(event.object) { return event.object }
    }
  }

  /// The next change must be of this type.
  @discardableResult func expect(
    _ type: String, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> JSON {
    let event = try await next()
    #expect(event.type == type, "\(event.object.text)", sourceLocation: sourceLocation)
    return event.object
  }
}

/// Starts a cluster before a suite's first case and removes it after the last.
struct ClusterTrait: SuiteTrait, TestScoping {
  func provideScope(
    for test: Test, testCase: Test.Case?,
    performing body: @concurrent @Sendable () async throws -> Void
  ) async throws {
    try await withServer { server, folder in
      let cluster = try Cluster(server: server, folder: folder)
      let manager = server.client(user: "system:kube-controller-manager", groups: [])
      let informers = SharedInformers(api: manager, metrics: Metrics())
      var settings = ControllerSettings()
      settings.rootCertificate = { server.authorityPEM }
      // The node has no lease; nobody is to be put out for it.
      settings.nodeMonitorGracePeriod = .seconds(3600)
      settings.podGarbageDelay = .seconds(3600)
      let controllers = startControllers(
        api: manager, account: { server.controllerClient($0) }, informers: informers,
        settings: settings, metrics: Metrics())
      let node = try await HollowNode.start(server.client(user: "system:hollow-node"))
      let result: Result<Void, any Error>
      do {
        try await Cluster.$current.withValue(cluster) { try await body() }
        result = .success(())
      } catch { result = .failure(error) }
      await node.stop()
      await controllers.stop()
      await informers.stop()
      try result.get()
    }
  }
}

extension Trait where Self == ClusterTrait {
  /// A cluster for the suite, in `Cluster.here`.
  static var cluster: ClusterTrait { ClusterTrait() }
}

extension GroupVersionResource {
  static let replicationControllers = GroupVersionResource("", "v1", "replicationcontrollers")
  static let quotas = GroupVersionResource("", "v1", "resourcequotas")
  static let podTemplates = GroupVersionResource("", "v1", "podtemplates")
  static let mutatingWebhooks = GroupVersionResource(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
  static let validatingWebhooks = GroupVersionResource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
  static let definitions = CustomResourceDefinition.resource
}

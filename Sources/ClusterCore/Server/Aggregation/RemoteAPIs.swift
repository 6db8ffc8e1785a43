// The APIServices of other servers: follows them, asks whether they answer, passes requests on to them.
//
//   /apis/GROUP/VERSION/…  ─► Router ─► RemoteAPIs ─► Service's endpoint (front-proxy certificate, X-Remote-*)

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// Shared by all requests. `start` begins to follow, `shutdown` ends it.
final class RemoteAPIs: Sendable {
  /// Pause between two looks at every remote API.
  static let period: Duration = .seconds(5)
  /// Time that one look may take.
  static let timeout: TimeAmount = .seconds(5)
  /// Bytes of one discovery or OpenAPI index.
  static let answerBytesMax = 8 << 20

  let core: RESTCore
  let client: FrontProxyClient
  let resolver: ServiceResolver
  let log = Logger(label: "aggregator")
  private let isAny = Atomic(false)
  private let table = Mutex<[String: RemoteAPI]>([:])
  private let follower: CacheFollower
  private let signals: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  private let tasks = Mutex<[Task<Void, Never>]>([])

  init(core: RESTCore, client: FrontProxyClient, resolver: ServiceResolver) {
    self.core = core
    self.client = client
    self.resolver = resolver
    follower = CacheFollower(caches: core.caches)
    (signals, signal) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// Follows APIServices, what may stand behind them, and what this server serves itself.
  func start() {
    let signal = self.signal
    for resource in [RemoteAPI.resource, CustomResourceDefinition.resource, .services, .endpointSlices] {
      guard let kind = core.registry[resource] else { continue }
      let isOwn = resource == RemoteAPI.resource || resource == CustomResourceDefinition.resource
      follower.follow(kind.storageName) { [weak self] _ in
        // Endpoints change often; they matter only to somebody who has remote APIs.
        if isOwn || self?.isAny.load(ordering: .relaxed) == true { signal.yield() }
      }
    }
    let signals = self.signals
    let worker = Task { [weak self] in
      for await _ in signals {
        guard let self, !core.caches.isClosed else { return }
        await reconcile()
      }
    }
    let clock = Task {
      while !Task.isCancelled {
        signal.yield()
        do { try await Task.sleep(for: Self.period) } catch { return }
      }
    }
    tasks.withLock { $0 = [worker, clock] }
  }

  /// Does not wait for other people's servers: what is under way finds the store closed.
  func shutdown() {
    signal.finish()
    for task in tasks.withLock({ $0 }) { task.cancel() }
  }

  /// Whatever fails now fails because the server stops.
  var isStopping: Bool { Task.isCancelled || core.caches.isClosed }

  // MARK: Known

  /// Whether requests to this path go to another server. Cheap: asked for every request.
  func isPassedOn(_ path: [String]) -> Bool { remote(path) != nil }

  /// The API that a path below `/apis` or `/openapi/v3/apis` belongs to.
  func remote(_ path: [String]) -> RemoteAPI? {
    guard isAny.load(ordering: .relaxed) else { return nil }
    var rest = path[...]
    if rest.first == "openapi", rest.count == 5 { rest = rest.dropFirst(2) }
    guard rest.first == "apis", rest.count >= 3 else { return nil }
    let group = rest[rest.startIndex + 1]
    let version = rest[rest.startIndex + 2]
    return table.withLock { $0["\(group)/\(version)"] }
  }

  /// In the order of their names.
  var all: [RemoteAPI] {
    guard isAny.load(ordering: .relaxed) else { return [] }
    return table.withLock { $0.values.sorted { $0.name < $1.name } }
  }

  // MARK: Reconciling

  private func reconcile() async {
    guard let kind = core.registry[RemoteAPI.resource] else { return }
    var objects: [JSON] = []
    core.cache(kind).snapshot.forEach(prefix: RESTCore.prefix(kind, namespace: ""), after: nil) {
      objects.append($0.tree)
      return true
    }
    await keepLocal(kind, objects)
    // Who brings an own metrics server is believed.
    let builtin = Set(KindRegistry.builtin.groupVersions).subtracting(["\(ResourceUsage.group)/v1beta1"])
    let wanted = objects.compactMap { RemoteAPI($0) }.filter { !builtin.contains($0.groupVersion) }
    table.withLock { table in
      var next: [String: RemoteAPI] = [:]
      for var remote in wanted {
        if let known = table[remote.groupVersion], known.isSamePlace(as: remote) {
          remote.isAvailable = known.isAvailable
          remote.isFresh = known.isFresh
          remote.resources = known.resources
          remote.openAPIHash = known.openAPIHash
        }
        next[remote.groupVersion] = remote
      }
      table = next
    }
    isAny.store(!wanted.isEmpty, ordering: .relaxed)
    await withTaskGroup(of: Void.self) { group in
      for (index, remote) in wanted.enumerated() {
        // A few at a time: they are other people's servers.
        if index >= 8 { await group.next() }
        group.addTask { await self.look(at: remote, kind) }
      }
    }
  }

  private func look(at remote: RemoteAPI, _ kind: ResourceKind) async {
    let finding = await check(remote)
    var fresh: (resources: [JSON], hash: String?)?
    if finding.isAvailable { fresh = await discover(remote) }
    table.withLock { table in
      guard var known = table[remote.groupVersion], known.isSamePlace(as: remote) else { return }
      known.isAvailable = finding.isAvailable
      known.isFresh = fresh != nil
      if let fresh {
        known.resources = fresh.resources
        known.openAPIHash = fresh.hash
      }
      table[remote.groupVersion] = known
    }
    await setCondition(kind, remote.name, finding)
  }

  /// Writes the condition `Available` when it changed.
  func setCondition(_ kind: ResourceKind, _ name: String, _ finding: Finding) async {
    func changed(_ object: JSON) -> JSON? {
      let before = object.status["conditions"]?.elements.first { $0["type"] == "Available" }
      let status: JSON = finding.isAvailable ? "True" : "False"
      if before?["status"] == status, before?["reason"]?.string == finding.reason,
        before?["message"]?.string == finding.message
      {
        return nil
      }
      let since = before?["status"] == status ? before?["lastTransitionTime"] : nil
      var object = object
      let others = object.status["conditions"]?.elements.filter { $0["type"] != "Available" } ?? []
      let condition: JSON = [
        "type": "Available", "status": status,
        "lastTransitionTime": since ?? JSON(Timestamp.nowText()), "reason": JSON(finding.reason),
        "message": JSON(finding.message),
      ]
      object.set(.array(others + [condition]), at: "status", "conditions")
      object.set(nil, at: "metadata", "resourceVersion")
      return object
    }
    guard let current = core.cache(kind)[RESTCore.key(kind, "", name)], changed(current.tree) != nil else {
      return
    }
    do {
      _ = try await core.change(
        kind, namespace: "", name: name, part: .status, options: WriteOptions(), identity: .system
      ) { current in (changed(current) ?? current, []) }
    } catch let error as APIStatusError where error.isNotFound {
    } catch {
      if isStopping || Failure.isClosing(error) { return }
      log.warning(
        "condition of an APIService was not written", metadata: ["name": "\(name)", "error": "\(error)"])
    }
  }
}

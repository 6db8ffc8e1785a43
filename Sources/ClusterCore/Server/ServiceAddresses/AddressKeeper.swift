// An IPAddress object for each cluster address that a Service has: made with the Service, gone with it, and mended with
// upstream's events when somebody changed it.
//
// What is taken is what Services say (`ServiceAllocator`); these objects follow, so that people and ServiceCIDRs see it.

import Addresses
import ClusterClient
import ClusterObjects
import Logging
import Synchronization

final class AddressKeeper: Sendable {
  static let managedBy = "ipaddress.kubernetes.io/managed-by"
  static let allocator = "ipallocator.k8s.io"
  static let resource = GroupVersionResource("networking.k8s.io", "v1", "ipaddresses")
  /// Addresses that are worked on at the same time.
  private static let concurrencyMax = 16

  static func isOurs(_ object: CachedObject) -> Bool { object.labels[managedBy] == allocator }

  private struct State {
    /// Who has an address. Two Services are a mistake that is told.
    var holders: [String: Set<ObjectKey>] = [:]
    var held: [ObjectKey: [String]] = [:]
    /// Addresses to be looked at; true when somebody changed the object, and what is found is told.
    var pending: [String: Bool] = [:]
    /// Objects that this keeper is deleting.
    var leaving: Set<String> = []
  }
  private let core: RESTCore
  private let api: InProcessClient
  private let events: EventRecorder
  private let follower: CacheFollower
  private let state = Mutex(State())
  private let bell: AsyncStream<Void>.Continuation
  private let task = Mutex<Task<Void, Never>?>(nil)

  init(core: RESTCore) {
    self.core = core
    api = InProcessClient(core: core, identity: .system)
    events = EventRecorder(api: api, component: "ipallocator-repair-controller")
    follower = CacheFollower(caches: core.caches)
    let (changes, bell) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    self.bell = bell
    follower.follow("services") { [weak self] change in self?.services(change) }
    follower.follow("ipaddresses") { [weak self] change in self?.addresses(change) }
    task.withLock {
      $0 = Task { [weak self] in
        for await _ in changes {
          guard let self, !Task.isCancelled else { return }
          await work()
        }
      }
    }
  }

  func stop() async {
    bell.finish()
    let task = task.withLock { $0 }
    task?.cancel()
    await task?.value
    await events.stop()
  }

  // MARK: What changed

  private func services(_ change: CacheFollower.Change) {
    state.withLock { state in
      switch change {
      case .begin(let objects):
        for address in state.holders.keys { state.pending[address, default: false] = false }
        (state.holders, state.held) = ([:], [:])
        for object in objects { Self.hold(object, &state) }
      case .set(let object): Self.hold(object, &state)
      case .removed(let object): Self.drop(ObjectKey(object.namespace, object.name), &state)
      }
    }
    bell.yield()
  }

  private static func hold(_ service: CachedObject, _ state: inout State) {
    let key = ObjectKey(service.namespace, service.name)
    let addresses = (service.tree.at("spec", "clusterIPs")?.elements ?? []).compactMap {
      $0.string.flatMap { IPAddress($0) }?.description
    }
    guard state.held[key] ?? [] != addresses else { return }
    drop(key, &state)
    if addresses.isEmpty { return }
    state.held[key] = addresses
    for address in addresses {
      state.holders[address, default: []].insert(key)
      state.pending[address] = state.pending[address] ?? false
    }
  }

  private static func drop(_ key: ObjectKey, _ state: inout State) {
    for address in state.held.removeValue(forKey: key) ?? [] {
      state.holders[address]?.remove(key)
      if state.holders[address]?.isEmpty == true { state.holders[address] = nil }
      state.pending[address] = state.pending[address] ?? false
    }
  }

  private func addresses(_ change: CacheFollower.Change) {
    state.withLock { state in
      switch change {
      case .begin(let objects):
        for object in objects where Self.isOurs(object) {
          state.pending[object.name] = state.pending[object.name] ?? false
        }
      case .set(let object): if Self.isOurs(object) { state.pending[object.name] = true }
      case .removed(let object):
        let isExpected = state.leaving.remove(object.name) != nil
        state.pending[object.name] = (state.pending[object.name] ?? false) || !isExpected
      }
    }
    bell.yield()
  }

  // MARK: What is done

  private func work() async {
    while !Task.isCancelled, !core.caches.isClosed {
      let batch = state.withLock { state in
        defer { state.pending = [:] }
        return state.pending
      }
      if batch.isEmpty { return }
      await withTaskGroup(of: Void.self) { group in
        for (index, (address, tells)) in batch.enumerated() {
          if index >= Self.concurrencyMax { await group.next() }
          group.addTask { await self.settle(address, tells) }
        }
      }
    }
  }

  private func settle(_ address: String, _ tells: Bool) async {
    guard let kind = core.registry[Self.resource] else { return }
    let holders = state.withLock { $0.holders[address] ?? [] }.sorted()
    let object = core.cache(kind)[RESTCore.key(kind, "", address)]
    do {
      guard let object else {
        guard let first = holders.first else { return }
        if tells {
          tell(
            first, "ClusterIPNotAllocated",
            "Cluster IP [\(family(address))]: \(address) is not allocated; repairing")
        }
        return try await make(address, first)
      }
      guard Self.isOurs(object) else { return }
      let reference = object.tree.at("spec", "parentRef")
      let named = ObjectKey(
        reference?["namespace"]?.string ?? "", reference?["name"]?.string ?? "")
      let isService = reference?["resource"] == "services" && reference?["group"]?.string ?? "" == ""
      if isService, holders.contains(named) {
        for other in holders where other != named {
          tell(
            other, "ClusterIPAlreadyAllocated",
            "Cluster IP [\(family(address))]:\(address) was assigned to multiple services; please recreate service"
          )
        }
        return
      }
      if tells {
        let service = "\(named.namespace)/\(named.name)"
        let text =
          holders.isEmpty
          ? "IPAddress: \(address) for Service \(service) appears to have leaked: cleaning up"
          : "IPAddress: \(address) for Service \(service) has a wrong reference; cleaning up"
        events.record(
          object.tree, "Warning", holders.isEmpty ? "IPAddressNotAllocated" : "IPAddressWrongReference", text)
      }
      state.withLock { _ = $0.leaving.insert(address) }
      try await api.deleteIfPresent(Self.resource, ObjectKey("", address))
      if let first = holders.first { try await make(address, first) }
    } catch let error as APIStatusError where error.isAlreadyExists || error.isConflict {
      // Somebody else was quicker; the watch tells.
    } catch {
      if Task.isCancelled || core.caches.isClosed || Failure.isClosing(error) { return }
      core.log.warning(
        "an IPAddress was not written", metadata: ["address": "\(address)", "error": "\(error)"])
      try? await Task.sleep(for: .seconds(1))
      state.withLock { $0.pending[address] = $0.pending[address] ?? tells }
      bell.yield()
    }
  }

  private func make(_ address: String, _ service: ObjectKey) async throws {
    _ = try await api.create(
      Self.resource,
      [
        "metadata": [
          "name": JSON(address),
          "labels": [
            Self.managedBy: JSON(Self.allocator),
            "ipaddress.kubernetes.io/ip-family": JSON(family(address)),
          ],
        ],
        "spec": [
          "parentRef": [
            "group": "", "resource": "services", "namespace": JSON(service.namespace),
            "name": JSON(service.name),
          ]
        ],
      ], options: WriteOptions(fieldManager: "weft-apiserver"))
  }

  private func family(_ address: String) -> String { address.contains(":") ? "IPv6" : "IPv4" }

  private func tell(_ service: ObjectKey, _ reason: String, _ message: String) {
    guard let kind = core.registry[.services],
      let object = core.cache(kind)[RESTCore.key(kind, service.namespace, service.name)]
    else { return }
    events.record(object.tree, "Warning", reason, message)
  }
}

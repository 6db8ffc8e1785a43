// Follows the CustomResourceDefinitions: accepts names, serves the kinds of those that are established, empties
// those that are deleted. What it does to the registry is seen by the next request.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging
import Synchronization

/// The controller of custom kinds. One for each server: every server of a store serves the same kinds.
final class CustomResources: Sendable {
  private struct Served {
    var revision: Revision
    var spec: JSON
    var isTerminating: Bool
    var kinds: [ResourceKind]
    var forms: [String: (source: JSON?, form: CustomForm)]
  }
  private struct State {
    var served: [String: Served] = [:]
    /// Definitions whose objects are being deleted.
    var emptying: [String: Task<Void, Never>] = [:]
    var follower: Task<Void, Never>?
    var isSubscribed = false
  }
  private let signals: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation

  private let core: RESTCore
  private let kind: ResourceKind
  private let state = Mutex(State())
  private let log = Logger(label: "apiextensions")

  init(core: RESTCore) throws {
    self.core = core
    (signals, signal) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    kind = try core.kind(CustomResourceDefinition.resource)
  }

  /// Serves what is established already, then follows changes.
  func start() async {
    // Names first: what another definition has must be known before a new one asks.
    await reconcile()
    subscribe()
    let signals = self.signals
    let task = Task { [weak self] in
      for await _ in signals {
        guard let self, !core.caches.isClosed else { return }
        subscribe()
        await reconcile()
      }
    }
    state.withLock { $0.follower = task }
  }

  /// A watch of the cache ends when the cache is loaded anew: then there is another.
  private func subscribe() {
    let isNeeded = state.withLock { state in
      defer { state.isSubscribed = true }
      return !state.isSubscribed
    }
    guard isNeeded else { return }
    let signal = self.signal
    let watcher = Signal(
      onChange: { signal.yield() },
      onFinish: { [weak self] in
        self?.state.withLock { $0.isSubscribed = false }
        signal.yield()
      })
    let filter = WatchFilter(kind: kind, namespace: "", labels: .everything, fields: .everything)
    _ = core.caches.subscribe(
      watcher, to: kind.storageName,
      from: .state(prefix: RESTCore.prefix(kind, namespace: ""), filter: filter, marksEnd: false))
  }

  func shutdown() {
    signal.finish()
    let tasks = state.withLock { state in
      defer { state.emptying = [:] }
      return [state.follower].compactMap(\.self) + state.emptying.values
    }
    for task in tasks { task.cancel() }
  }

  // MARK: Reconciling

  private func reconcile() async {
    var definitions: [CachedObject] = []
    core.cache(kind).snapshot.forEach(prefix: RESTCore.prefix(kind, namespace: ""), after: nil) {
      definitions.append($0)
      return true
    }
    let names = Set(definitions.map(\.name))
    for gone in state.withLock({ $0.served.keys.filter { !names.contains($0) } }) { withdraw(gone) }
    // Of two that ask for one name the older has it.
    let known = state.withLock { $0.served.mapValues(\.revision) }
    var accepted: [String: [(name: String, names: JSON)]] = [:]
    for object in definitions {
      let definition = CustomResourceDefinition(object.tree)
      accepted[definition.group, default: []].append(
        (definition.name, object.tree.at("status", "acceptedNames") ?? [:]))
    }
    let changed = definitions.filter { known[$0.name] != $0.revision }
      .sorted { ($0.tree.creationTimestamp, $0.revision) < ($1.tree.creationTimestamp, $1.revision) }
    for object in changed {
      var definition = CustomResourceDefinition(object.tree)
      let group = definition.group
      let others = (accepted[group] ?? []).filter { $0.name != definition.name }.map(\.names)
      if definition.tree.isTerminating {
        serve(definition, object.revision)
        beginEmptying(definition)
        continue
      }
      let isChanged = definition.acceptNames(others: others, now: .now)
      accepted[group] =
        (accepted[group] ?? []).filter { $0.name != definition.name }
        + [(definition.name, definition.tree.at("status", "acceptedNames") ?? [:])]
      // Served before it is said to be: whoever reads that it is established may use it.
      if definition.isEstablished {
        serve(definition, object.revision)
      } else {
        remember(definition, object.revision)
      }
      if isChanged { await writeStatus(definition.name) { $0.acceptNames(others: others, now: .now) } }
    }
  }

  private func writeStatus(
    _ name: String, _ body: @escaping (inout CustomResourceDefinition) -> Bool
  ) async {
    do {
      _ = try await core.change(
        kind, namespace: "", name: name, part: .status, options: WriteOptions(), identity: .system
      ) { current in
        var definition = CustomResourceDefinition(current)
        _ = body(&definition)
        definition.tree.set(nil, at: "metadata", "resourceVersion")
        return (definition.tree, [])
      }
    } catch let error as APIStatusError where error.isNotFound {
    } catch {
      if Failure.isClosing(error) { return }
      log.warning(
        "status of a definition was not written", metadata: ["definition": "\(name)", "error": "\(error)"])
      // The store may take writes again in a while.
      state.withLock { $0.served[name]?.revision = 0 }
      let signal = self.signal
      Task {
        try? await Task.sleep(for: .seconds(1))
        signal.yield()
      }
    }
  }

  private func remember(_ definition: CustomResourceDefinition, _ revision: Revision) {
    state.withLock { state in
      if state.served[definition.name] != nil {
        state.served[definition.name]?.revision = revision
      } else {
        state.served[definition.name] = Served(
          revision: revision, spec: .null, isTerminating: false, kinds: [], forms: [:])
      }
    }
  }

  /// Puts the kinds of a definition into the registry.
  private func serve(_ definition: CustomResourceDefinition, _ revision: Revision) {
    let before = state.withLock { $0.served[definition.name] }
    if let before, before.spec == definition.spec, before.isTerminating == definition.tree.isTerminating {
      remember(definition, revision)
      return
    }
    let all = definition.kinds(formsBefore: before?.forms ?? [:])
    var forms: [String: (source: JSON?, form: CustomForm)] = [:]
    for (version, kind) in zip(definition.versions, all) {
      guard let custom = kind.custom else { continue }
      forms[kind.version] = (version.at("schema", "openAPIV3Schema"), custom.form)
    }
    let served = Set(
      definition.versions.filter { $0["served"]?.bool == true }.compactMap { $0["name"]?.string })
    let builtin = KindRegistry.builtin
    // A group version of our own is not anybody else's.
    let kinds = all.filter {
      served.contains($0.version) && builtin.kinds(groupVersion: $0.apiVersion).isEmpty
    }
    let isRead =
      before.map { before in
        before.forms.mapValues { ObjectIdentifier($0.form) } == forms.mapValues { ObjectIdentifier($0.form) }
          && before.spec["versions"].map(Self.storage) == definition.spec["versions"].map(Self.storage)
      } ?? false
    if !isRead, let storage = all.first {
      let readers = forms.mapValues(\.form)
      core.caches[storage.storageName].read { tree in
        let version = tree.apiVersion.split(separator: "/").last.map(String.init) ?? ""
        return readers[version]?.read(tree) ?? tree
      }
    }
    core.kinds.change { registry in
      for kind in before?.kinds ?? [] { registry.remove(kind.gvr) }
      for kind in kinds { registry.add(kind) }
    }
    state.withLock { state in
      state.served[definition.name] = Served(
        revision: revision, spec: definition.spec, isTerminating: definition.tree.isTerminating, kinds: kinds,
        forms: forms)
    }
  }

  private static func storage(_ versions: JSON) -> String {
    versions.elements.first { $0["storage"]?.bool == true }?["name"]?.string ?? ""
  }

  private func withdraw(_ name: String) {
    guard let served = state.withLock({ $0.served.removeValue(forKey: name) }) else { return }
    guard let first = served.kinds.first else { return }
    core.kinds.change { registry in for kind in served.kinds { registry.remove(kind.gvr) } }
    core.caches.drop(first.storageName)
  }

  // MARK: Deletion

  private func beginEmptying(_ definition: CustomResourceDefinition) {
    guard definition.tree.finalizers.contains(CustomResourceDefinition.finalizer) else { return }
    let name = definition.name
    state.withLock { state in
      if state.emptying[name] != nil { return }
      state.emptying[name] = Task { [weak self] in
        await self?.empty(definition)
        self?.state.withLock { _ = $0.emptying.removeValue(forKey: name) }
      }
    }
  }

  /// Deletes every object of the definition, waits until none is left, and lets the definition go.
  private func empty(_ definition: CustomResourceDefinition) async {
    let kinds = definition.kinds()
    guard let storage = kinds.first(where: { $0.version == definition.storageVersion }) else { return }
    await writeStatus(definition.name) {
      $0.setCondition(
        "Terminating", "True", reason: "InstanceDeletionInProgress",
        message: "CustomResource deletion is in progress", now: .now)
    }
    var pause = Duration.milliseconds(5)
    while !Task.isCancelled {
      await core.caches.catchUp()
      var left: [CachedObject] = []
      core.cache(storage).snapshot.forEach(prefix: RESTCore.prefix(storage, namespace: ""), after: nil) {
        left.append($0)
        return true
      }
      if left.isEmpty { break }
      for object in left where !object.tree.isTerminating {
        do {
          _ = try await core.delete(
            storage, namespace: object.namespace, name: object.name, options: DeleteOptions(),
            identity: .system)
        } catch let error as APIStatusError where error.isNotFound {
        } catch {
          if Failure.isClosing(error) { return }
          log.warning(
            "object of a deleted definition was not deleted",
            metadata: ["definition": "\(definition.name)", "object": "\(object.key)", "error": "\(error)"])
        }
      }
      try? await Task.sleep(for: pause)
      pause = min(pause * 2, .seconds(1))
    }
    if Task.isCancelled { return }
    await writeStatus(definition.name) {
      $0.setCondition(
        "Terminating", "False", reason: "InstanceDeletionCompleted", message: "removed all instances",
        now: .now)
    }
    do {
      _ = try await core.change(
        kind, namespace: "", name: definition.name, part: .main, options: WriteOptions(), identity: .system
      ) { current in
        var changed = current
        let rest = current.finalizers.filter { $0 != CustomResourceDefinition.finalizer }
        changed.set(rest.isEmpty ? nil : JSON(rest), at: "metadata", "finalizers")
        changed.set(nil, at: "metadata", "resourceVersion")
        return (changed, [])
      }
    } catch let error as APIStatusError where error.isNotFound {
    } catch {
      if Failure.isClosing(error) { return }
      log.warning(
        "definition was not released", metadata: ["definition": "\(definition.name)", "error": "\(error)"])
    }
  }
}

/// Tells that something changed, and nothing of what.
private final class Signal: WatchSubscriber {
  private let onChange: @Sendable () -> Void
  private let onFinish: @Sendable () -> Void

  init(onChange: @escaping @Sendable () -> Void, onFinish: @escaping @Sendable () -> Void) {
    self.onChange = onChange
    self.onFinish = onFinish
  }

  func begin(_ objects: [CachedObject], end: Revision?) { onChange() }
  func offer(_ events: [CacheEvent]) { onChange() }
  func bookmark(_ revision: Revision) {}
  func finish() { onFinish() }
}

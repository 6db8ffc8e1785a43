// Making, deleting and adopting pods for an owner, as every workload controller does it: in batches that
// grow, with upstream's events, remembering what the informer has not shown yet.

import ClusterClient
import ClusterObjects
import Diagnostics

/// The pods of one kind of owner.
struct PodControl: Sendable {
  let context: ControllerContext
  let pods: Informer
  let expectations: Expectations
  /// What events name as their source.
  let source: String

  /// In batches of 1, 2, 4, …: a quota or a bad template is met once, not five hundred times. The first
  /// failure ends it, after its batch.
  func create(_ wanted: [JSON], for owner: JSON) async throws {
    var rest = wanted[...]
    var batch = 1
    while !rest.isEmpty {
      let now = rest.prefix(batch)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for pod in now { group.addTask { try await createOne(pod, for: owner) } }
        try await group.waitForAll()
      }
      rest = rest.dropFirst(batch)
      batch *= 2
    }
  }

  /// Its name is drawn here and not by the server: a creation whose answer is lost can be looked up by it.
  private func createOne(_ wanted: JSON, for owner: JSON) async throws {
    var wanted = wanted
    if wanted.name.isEmpty, let base = wanted.at("metadata", "generateName")?.string {
      wanted.set(JSON(Names.generate(from: base)), at: "metadata", "name")
    }
    // From before it is made: it may be seen, and be gone again, before the answer is here.
    let token = "+" + wanted.name
    expectations.expect(owner.key, token)
    do {
      note(try await context.api.create(.pods, wanted, options: context.options), of: owner)
    } catch let error as APIStatusError {
      if error.code < 500 { expectations.see(owner.key, token) }
      // A namespace on its way out takes no new pods; nothing is wrong with the owner.
      if error.isOfEndingNamespace { return }
      if error.code >= 500 { expectations.wonder(owner.key, about: wanted.key) }
      record(owner, .warning("FailedCreate", "Error creating: \(error.message)"))
      throw error
    } catch {
      expectations.wonder(owner.key, about: wanted.key)
      throw error
    }
  }

  private func note(_ pod: JSON, of owner: JSON) {
    record(owner, .normal("SuccessfulCreate", "Created pod: \(pod.name)"))
  }

  /// How long to wait for what was done and not seen; nil when the informer has shown it all. Creations of which nobody knows whether
  /// they were done, and those that should have been seen by now, are asked for first, of the API. Throws what the API says then:
  /// nothing may be made until it is known.
  func awaited(_ owner: JSON) async throws -> Duration? {
    for key in expectations.wonders(owner.key) {
      if let pod = try await existing(key, of: owner) { note(pod, of: owner) }
      expectations.settle(owner.key, key)
    }
    for name in expectations.overdue(owner.key) {
      do { _ = try await existing(ObjectKey(owner.namespace, name), of: owner) } catch {
        expectations.expect(owner.key, "+" + name)
        throw error
      }
    }
    return expectations.wait(owner.key)
  }

  /// A pod that was made for this owner, as the API has it; it is expected to be seen. Nil when it has gone, or never was.
  private func existing(_ key: ObjectKey, of owner: JSON) async throws -> JSON? {
    let token = "+" + key.name
    do {
      let pod = try await context.api.get(.pods, namespace: key.namespace, name: key.name)
      if pod.isControlled(by: owner) {
        expectations.expect(owner.key, token) { pods[key]?.uid == pod.uid }
        return pod
      }
    } catch let error as APIStatusError where error.isNotFound {}
    expectations.see(owner.key, token)
    return nil
  }

  func delete(_ doomed: [JSON], of owner: JSON) async throws {
    for pod in doomed {
      expectations.expect(owner.key, "-" + pod.uid) { pods[pod.key]?.isTerminating ?? true }
      do {
        try await context.api.delete(
          .pods, namespace: pod.namespace, name: pod.name, options: DeleteOptions(uid: pod.uid))
        record(owner, .normal("SuccessfulDelete", "Deleted pod: \(pod.name)"))
      } catch let error as APIStatusError where error.isNotFound || error.isConflict {
        expectations.see(owner.key, "-" + pod.uid)
      } catch {
        expectations.see(owner.key, "-" + pod.uid)
        throw error
      }
    }
  }

  func changeOwner(_ pod: JSON, of owner: JSON, adopts: Bool) async throws {
    let others = pod.ownerReferences.filter { $0["uid"]?.string != owner.uid }
    let owners = adopts ? others + [owner.controllerReferenceToThis] : others
    try await patch(pod, ["ownerReferences": owners.isEmpty ? .null : .array(owners)])
  }

  /// Changes the metadata of the pod as it was seen, and of no other of its name.
  func patch(_ pod: JSON, _ metadata: JSON) async throws {
    var metadata = metadata
    metadata["uid"] = JSON(pod.uid)
    metadata["resourceVersion"] = JSON(pod.resourceVersion)
    do {
      _ = try await context.api.patch(
        .pods, namespace: pod.namespace, name: pod.name, patch: .merge(["metadata": metadata]),
        subresource: nil, options: context.options)
    } catch let error as APIStatusError where error.isNotFound {}
  }

  func record(_ owner: JSON, _ event: PlannedEvent) {
    context.events.record(owner, event.type, event.reason, event.message, from: source)
  }
}

/// Which of the pods around an owner are its own: adopted, released, or as they were.
struct PodClaims: Equatable {
  var owned: [JSON] = []
  var adopt: [JSON] = []
  var release: [JSON] = []

  /// `isMember` says which names may be adopted at all.
  init(_ owner: JSON, among pods: Informer, selector: JSON?, isMember: (JSON) -> Bool = { _ in true }) {
    let selector = SelectorMatch.selector(selector)
    self.init(
      owner, pods: pods.objects(claimableBy: owner, selector: selector), selector: selector,
      isMember: isMember)
  }

  init(_ owner: JSON, pods: [JSON], selector: LabelSelector, isMember: (JSON) -> Bool = { _ in true }) {
    for pod in pods {
      let matches = selector.matches(pod.labels) && isMember(pod)
      if pod.isControlled(by: owner) {
        if matches { owned.append(pod) } else if !owner.isTerminating { release.append(pod) }
      } else if pod.controllerReference == nil, matches, !pod.isTerminating, !owner.isTerminating {
        adopt.append(pod)
        owned.append(pod)
      }
    }
  }
}

/// Keeps a queue informed of the owners of one kind and of the pods that concern them.
func followOwners(
  _ kind: String, _ owners: Informer, pods: Informer, expectations: Expectations, queue: WorkQueue<ObjectKey>,
  selector: @escaping @Sendable (JSON) -> JSON? = { $0.at("spec", "selector") }
) -> [InformerRegistration] {
  let selectors = SelectorIndex("followed") { SelectorMatch.selector(selector($0)) }
  @Sendable func concerned(_ pod: JSON) -> [ObjectKey] {
    if let owner = pod.controllerReference {
      guard owner["kind"]?.string == kind, let name = owner["name"]?.string else { return [] }
      return [ObjectKey(pod.namespace, name)]
    }
    return owners.objects(selecting: pod, by: selectors).map(\.key)
  }
  return [
    owners.onChange { changes in
      for change in changes {
        if change.isDeletion { expectations.forget(change.key) }
        queue.add(change.key)
      }
    },
    pods.onChange { changes in
      for change in changes {
        for state in [change.old, change.new].compactMap(\.self) {
          for key in concerned(state) {
            expectations.see(key, "+" + state.name)
            if change.isDeletion || change.new?.isTerminating == true {
              expectations.see(key, "-" + state.uid)
            }
            queue.add(key)
          }
        }
      }
    },
  ]
}

// Keeps the EndpointSlices of every Service with a selector.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

func endpointSliceController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("endpoint_slice")
  let services = context.informers.informer(.services)
  let pods = context.informers.informer(.pods)
  let slices = context.informers.informer(.endpointSlices)
  let nodes = context.informers.informer(.nodes)
  let reconciler = EndpointSliceReconciler(
    context: context, services: services, pods: pods, slices: slices, nodes: nodes)

  @Sendable func add(_ key: ObjectKey) {
    reconciler.trigger(key)
    queue.add(key)
  }
  let registrations = [
    services.onChange { changes in
      for change in changes {
        // A deleted Service's slices go with it, by their owner reference.
        if change.isDeletion { reconciler.forget(change.key) } else { add(change.key) }
      }
    },
    pods.onChange { changes in
      for change in changes where concernsEndpoints(change) {
        for service in services.objects(concernedBy: change, by: .selectorMap) { add(service.key) }
      }
    },
    // Somebody changed a slice: look again. Our own writes come back here too and plan to nothing.
    slices.onChange { changes in
      for change in changes where change.object.labels[SliceNames.managedBy] == SliceNames.manager {
        guard let service = change.object.labels[SliceNames.service] else { continue }
        reconciler.see(ObjectKey(change.key.namespace, service), change)
        queue.add(ObjectKey(change.key.namespace, service))
      }
    },
  ]
  return Controller(
    "endpoint_slice", context, queue: queue, registrations: registrations,
    resync: { for key in services.snapshot.keys { queue.add(key) } }
  ) { key in try await reconciler.reconcile(key) }
}

/// Whether a step of a pod can change an endpoint: most status updates cannot.
func concernsEndpoints(_ change: ObjectChange) -> Bool {
  guard let old = change.old, let new = change.new else { return true }
  return old.status["podIPs"] != new.status["podIPs"] || old.status["podIP"] != new.status["podIP"]
    || PodState.isReady(old) != PodState.isReady(new) || PodState.phase(old) != PodState.phase(new)
    || old.isTerminating != new.isTerminating || old.labels != new.labels
    || old.at("spec", "nodeName") != new.at("spec", "nodeName")
}

private final class EndpointSliceReconciler: Sendable {
  let context: ControllerContext
  let services: Informer
  let pods: Informer
  let slices: Informer
  let nodes: Informer
  private let metrics: EndpointSliceMetrics
  private let expectations = Expectations()
  /// When the oldest change not yet written was seen, by Service.
  private let triggers = Mutex<[ObjectKey: String]>([:])

  init(context: ControllerContext, services: Informer, pods: Informer, slices: Informer, nodes: Informer) {
    self.context = context
    self.services = services
    self.pods = pods
    self.slices = slices
    self.nodes = nodes
    metrics = EndpointSliceMetrics(context.metrics)
  }

  func trigger(_ key: ObjectKey) {
    triggers.withLock { if $0[key] == nil { $0[key] = Timestamp.nowMicroText() } }
  }
  func forget(_ key: ObjectKey) {
    triggers.withLock { $0[key] = nil }
    expectations.forget(key)
    metrics.forget(key)
  }
  func see(_ key: ObjectKey, _ change: ObjectChange) { expectations.see(key, change.object.uid) }

  func reconcile(_ key: ObjectKey) async throws -> Duration? {
    if let wait = expectations.wait(key) { return wait }
    guard let service = services[key], !service.isTerminating else { return nil }
    let selector = SelectorMatch.selector(map: service.at("spec", "selector")?.stringMap ?? [:])
    guard !selector.isNothing, service.at("spec", "type")?.string != "ExternalName" else { return nil }
    let selected = pods.objects(in: key.namespace, selectedBy: selector)
    let managed = slices.objects(.service, key.description).filter {
      $0.labels[SliceNames.managedBy] == SliceNames.manager
    }
    let triggerTime = triggers.withLock { $0.removeValue(forKey: key) }
    let plan = planEndpointSlices(
      service, pods: selected, nodes: { nodes["", $0] }, slices: managed, triggerTime: triggerTime)
    metrics.planned(key, plan, before: managed)
    do {
      try await apply(plan, key)
      metrics.synced(isError: false)
    } catch {
      metrics.synced(isError: true)
      if let triggerTime { triggers.withLock { $0[key] = triggerTime } }
      // A conflict is nobody's trouble: the next try sees the newer slice.
      if let status = error as? APIStatusError, !status.isConflict {
        context.events.record(
          service, "Warning", "FailedToUpdateEndpointSlices",
          "Error updating Endpoint Slices for Service \(key): \(status.message)",
          from: "endpoint-slice-controller")
      }
      throw error
    }
    return nil
  }

  /// New endpoints are written before old slices go, so that an endpoint that moves is never in none.
  private func apply(_ plan: EndpointSlicePlan, _ key: ObjectKey) async throws {
    for slice in plan.create {
      do {
        let made = try await context.api.create(.endpointSlices, slice, options: context.options)
        expectations.expect(key, made.uid) { slices.hasSeen(made) }
        metrics.wrote("create")
      } catch let error as APIStatusError where error.isOfEndingNamespace {}
    }
    for slice in plan.update {
      do {
        _ = try await context.api.update(.endpointSlices, slice, subresource: nil, options: context.options)
        metrics.wrote("update")
      } catch let error as APIStatusError where error.isNotFound {}
    }
    for slice in plan.delete {
      try await context.api.deleteIfPresent(.endpointSlices, slice.key)
      metrics.wrote("delete")
    }
  }
}

// Keeps the Endpoints of Services with a selector, and shows those of Services without one as slices.

import ClusterClient
import ClusterObjects
import Diagnostics

func endpointsController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("endpoint")
  let services = context.informers.informer(.services)
  let pods = context.informers.informer(.pods)
  let endpoints = context.informers.informer(.endpoints)
  let registrations = [
    services.onChange { changes in for change in changes { queue.add(change.key) } },
    endpoints.onChange { changes in for change in changes { queue.add(change.key) } },
    pods.onChange { changes in
      for change in changes where concernsEndpoints(change) {
        for service in services.objects(concernedBy: change, by: .selectorMap) { queue.add(service.key) }
      }
    },
  ]
  return Controller(
    "endpoint", context, queue: queue, registrations: registrations,
    resync: { for key in services.snapshot.keys { queue.add(key) } }
  ) { key in
    let existing = endpoints[key]
    guard let service = services[key] else {
      // Ours go with their Service; those of others are theirs.
      guard let existing, existing.labels[EndpointsNames.managedBy] == EndpointsNames.manager else {
        return nil
      }
      try await context.api.deleteIfPresent(.endpoints, key, options: DeleteOptions(uid: existing.uid))
      return nil
    }
    let selector = SelectorMatch.selector(map: service.at("spec", "selector")?.stringMap ?? [:])
    guard !selector.isNothing, !service.isTerminating, service.at("spec", "type")?.string != "ExternalName"
    else {
      return nil
    }
    let selected = pods.objects(in: key.namespace, selectedBy: selector)
    let wanted = planEndpoints(service, pods: selected, existing: existing, triggerTime: Timestamp.nowText())
    guard wanted != existing else { return nil }
    if existing != nil {
      _ = try await context.api.update(.endpoints, wanted, subresource: nil, options: context.options)
      return nil
    }
    do {
      _ = try await context.api.create(.endpoints, wanted, options: context.options)
    } catch let error as APIStatusError {
      // Made before, and the informer is behind: its change will come.
      if error.isAlreadyExists || error.isOfEndingNamespace { return nil }
      throw error
    }
    return nil
  }
}

func endpointSliceMirroringController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("endpoint_slice_mirroring")
  let services = context.informers.informer(.services)
  let endpoints = context.informers.informer(.endpoints)
  let slices = context.informers.informer(.endpointSlices)
  let expectations = Expectations()
  let registrations = [
    services.onChange { changes in for change in changes { queue.add(change.key) } },
    endpoints.onChange { changes in
      for change in changes {
        if change.isDeletion { expectations.forget(change.key) }
        queue.add(change.key)
      }
    },
    slices.onChange { changes in
      for change in changes where change.object.labels[SliceNames.managedBy] == MirrorNames.manager {
        guard let name = change.object.labels[SliceNames.service] else { continue }
        let key = ObjectKey(change.key.namespace, name)
        expectations.see(key, change.object.uid)
        queue.add(key)
      }
    },
  ]
  return Controller(
    "endpoint_slice_mirroring", context, queue: queue, registrations: registrations,
    resync: { for key in endpoints.snapshot.keys { queue.add(key) } }
  ) { key in
    if let wait = expectations.wait(key) { return wait }
    let managed = slices.objects(.service, key.description).filter {
      $0.labels[SliceNames.managedBy] == MirrorNames.manager
    }
    guard let object = endpoints[key], isMirrored(object, service: services[key]) else {
      for slice in managed { try await context.api.deleteIfPresent(.endpointSlices, slice.key) }
      return nil
    }
    let plan = planMirror(object, slices: managed)
    for slice in plan.create {
      do {
        let made = try await context.api.create(.endpointSlices, slice, options: context.options)
        expectations.expect(key, made.uid) { slices.hasSeen(made) }
      } catch let error as APIStatusError where error.isOfEndingNamespace { return nil }
    }
    for slice in plan.update {
      _ = try await context.api.update(.endpointSlices, slice, subresource: nil, options: context.options)
    }
    for slice in plan.delete { try await context.api.deleteIfPresent(.endpointSlices, slice.key) }
    return nil
  }
}

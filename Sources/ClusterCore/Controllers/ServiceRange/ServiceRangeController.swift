// ServiceCIDRs: each gets a finalizer and the condition Ready, and goes when no Service has an address of it alone.

import ClusterClient
import ClusterObjects
import Diagnostics

extension GroupVersionResource {
  static let serviceRanges = Self("networking.k8s.io", "v1", "servicecidrs")
  static let serviceAddresses = Self("networking.k8s.io", "v1", "ipaddresses")
}

func serviceRangeController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("servicecidrs")
  let ranges = context.informers.informer(.serviceRanges)
  let addresses = context.informers.informer(.serviceAddresses)
  // Another range may be what keeps this one; an address that went may be what kept it.
  let addTerminating: @Sendable () -> Void = {
    for range in ranges.snapshot.values where range.isTerminating { queue.add(range.key) }
  }
  let registrations = [
    ranges.onChange { changes in
      for change in changes { queue.add(change.key) }
      addTerminating()
    },
    addresses.onChange { changes in if changes.contains(where: { $0.isDeletion }) { addTerminating() } },
  ]
  return Controller(
    "servicecidrs", context, queue: queue, registrations: registrations, workers: 1,
    resync: { for key in ranges.snapshot.keys { queue.add(key) } }
  ) { key in
    guard let range = ranges[key] else { return nil }
    let held = addresses.snapshot.values.filter {
      $0.labels[ServiceRangeNames.managedBy] == ServiceRangeNames.allocator
    }.map(\.name)
    var changed = range
    switch planServiceRange(
      range, others: Array(ranges.snapshot.values), addresses: held, now: context.now)
    {
    case .nothing: return nil
    case .wait(let seconds): return .seconds(seconds)
    case .addFinalizer:
      changed.set(JSON(range.finalizers + [ServiceRangeNames.finalizer]), at: "metadata", "finalizers")
      _ = try await context.api.update(.serviceRanges, changed, subresource: nil, options: context.options)
    case .release:
      let rest = range.finalizers.filter { $0 != ServiceRangeNames.finalizer }
      changed.set(JSON(rest), at: "metadata", "finalizers")
      _ = try await context.api.update(.serviceRanges, changed, subresource: nil, options: context.options)
    case .ready:
      changed.setCondition("Ready", "True", reason: "", message: ServiceRangePlan.readyMessage)
      _ = try await context.api.update(
        .serviceRanges, changed, subresource: "status", options: context.options)
    case .inUse:
      let isNew = changed.setCondition(
        "Ready", "False", reason: "Terminating", message: ServiceRangePlan.inUseMessage)
      guard isNew else { return nil }
      _ = try await context.api.update(
        .serviceRanges, changed, subresource: "status", options: context.options)
    }
    return nil
  }
}

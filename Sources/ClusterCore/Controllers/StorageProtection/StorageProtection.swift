// Deleted claims and volumes stay while they are used: admission gives them a finalizer, these controllers
// take it off when the last pod is gone, or the claim.

import ClusterClient
import ClusterObjects
import Diagnostics

private let claimFinalizer = "kubernetes.io/pvc-protection"
private let volumeFinalizer = "kubernetes.io/pv-protection"

func claimProtectionController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("pvcprotection")
  let claims = context.informers.informer(.persistentVolumeClaims)
  let pods = context.informers.informer(.pods)
  let registrations = [
    claims.onChange { changes in
      for change in changes where isHeld(change.new, by: claimFinalizer) { queue.add(change.key) }
    },
    pods.onChange { changes in
      for change in changes {
        guard let old = change.old, change.new.map({ !usesClaims($0) }) ?? true else { continue }
        for name in claimNames(of: old) { queue.add(ObjectKey(change.key.namespace, name)) }
      }
    },
  ]
  return Controller(
    "pvcprotection", context, queue: queue, registrations: registrations, workers: 1,
    resync: { for key in claims.snapshot.keys { queue.add(key) } }
  ) { key in
    guard let claim = claims[key.namespace, key.name], isHeld(claim, by: claimFinalizer) else { return nil }
    // As the API has it: a pod that was bound a moment ago must not lose its volume.
    let present = try await context.api.list(.pods, namespace: key.namespace, options: ListOptions()).items
    if present.contains(where: { usesClaims($0) && claimNames(of: $0).contains(key.name) }) { return nil }
    try await release(context, .persistentVolumeClaims, claim, claimFinalizer)
    return nil
  }
}

func volumeProtectionController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<String> = context.queue("pvprotection")
  let volumes = context.informers.informer(.persistentVolumes)
  let registrations = [
    volumes.onChange { changes in
      for change in changes where isHeld(change.new, by: volumeFinalizer) { queue.add(change.key.name) }
    }
  ]
  return Controller(
    "pvprotection", context, queue: queue, registrations: registrations, workers: 1,
    resync: { for key in volumes.snapshot.keys { queue.add(key.name) } }
  ) { name in
    guard let volume = volumes["", name], isHeld(volume, by: volumeFinalizer),
      volume.at("status", "phase")?.string != "Bound"
    else { return nil }
    try await release(context, .persistentVolumes, volume, volumeFinalizer)
    return nil
  }
}

private func isHeld(_ object: JSON?, by finalizer: String) -> Bool {
  object.map { $0.isTerminating && $0.finalizers.contains(finalizer) } ?? false
}

/// A pod on a node that has not come to its end. One without a node cannot start with a claim that goes.
private func usesClaims(_ pod: JSON) -> Bool {
  !(pod.at("spec", "nodeName")?.string ?? "").isEmpty
    && !["Succeeded", "Failed"].contains(pod.at("status", "phase")?.string ?? "")
}

/// Claims that a pod names, and those made for its ephemeral volumes.
func claimNames(of pod: JSON) -> [String] {
  (pod.at("spec", "volumes")?.elements ?? []).compactMap { volume in
    if let name = volume.at("persistentVolumeClaim", "claimName")?.string { return name }
    return volume["ephemeral"] == nil ? nil : "\(pod.name)-\(volume["name"]?.string ?? "")"
  }
}

private func release(
  _ context: ControllerContext, _ resource: GroupVersionResource, _ object: JSON, _ finalizer: String
) async throws {
  do {
    try await context.api.modify(resource, object.key) { current in
      guard current.uid == object.uid, isHeld(current, by: finalizer) else { return nil }
      var changed = current
      let rest = current.finalizers.filter { $0 != finalizer }
      changed.set(rest.isEmpty ? nil : JSON(rest), at: "metadata", "finalizers")
      return changed
    }
  } catch let error as APIStatusError where error.isNotFound {}
}

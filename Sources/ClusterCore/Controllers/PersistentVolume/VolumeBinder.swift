// Brings claims and volumes together: upstream's persistentvolume-binder. Both sides are written in an order that any stop in
// between can be gone on from: volume, its phase, claim, its phase.

import ClusterClient
import ClusterObjects
import Diagnostics

extension GroupVersionResource {
  static let storageClasses = Self("storage.k8s.io", "v1", "storageclasses")
}

extension ObjectIndex {
  /// Pods by the claims that they use, `namespace/name`.
  static let claim = ObjectIndex("claim") { pod in claimNames(of: pod).map { "\(pod.namespace)/\($0)" } }
}

/// The two controllers of the binder; upstream's names of their queues.
func volumeBinder(_ context: ControllerContext) -> [Controller] {
  let sides = ClaimsAndVolumes(context)
  let (claims, volumes, claimQueue, volumeQueue) = (
    sides.claims, sides.volumes, sides.claimQueue, sides.volumeQueue
  )
  let binder = VolumeBinder(
    context: context, claims: claims, volumes: volumes,
    storageClasses: context.informers.informer(.storageClasses), pods: context.informers.informer(.pods))
  /// Claims that a new volume or a new class may help.
  let addWaiting: @Sendable () -> Void = {
    for claim in claims.snapshot.values where claim.at("status", "phase")?.string ?? "Pending" == "Pending" {
      claimQueue.add(claim.key)
    }
  }
  return sides.controllers(
    claimRegistrations: [
      claims.onChange { changes in
        for change in changes {
          claimQueue.add(change.key)
          let volume = change.object.at("spec", "volumeName")?.string ?? ""
          if !volume.isEmpty { volumeQueue.add(volume) }
        }
      },
      binder.storageClasses.onChange { changes in
        if changes.contains(where: { $0.new != nil }) { addWaiting() }
      },
    ],
    volumeRegistrations: [
      volumes.onChange { changes in
        for change in changes {
          volumeQueue.add(change.key.name)
          if let reference = change.object.at("spec", "claimRef") {
            claimQueue.add(ObjectKey(reference["namespace"]?.string ?? "", reference["name"]?.string ?? ""))
          }
        }
        func isFree(_ volume: JSON?) -> Bool { volume?.at("status", "phase")?.string == "Available" }
        if changes.contains(where: { isFree($0.new) && !isFree($0.old) }) { addWaiting() }
      },
      // A claim that is gone leaves its volume behind.
      claims.onChange { changes in
        for change in changes where change.isDeletion {
          let name = change.object.at("spec", "volumeName")?.string ?? ""
          if !name.isEmpty { volumeQueue.add(name) }
        }
      },
    ],
    reconcileClaim: { try await binder.reconcile(claim: $0) },
    reconcileVolume: { name in
      if let claim = try await binder.reconcile(volume: name) { claimQueue.add(claim) }
      return nil
    })
}

private struct VolumeBinder: Sendable {
  static let source = "persistentvolume-controller"
  static let provisionerMarks = [
    "volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner",
  ]
  let context: ControllerContext
  let claims: Informer
  let volumes: Informer
  let storageClasses: Informer
  let pods: Informer

  // MARK: Claims

  func reconcile(claim key: ObjectKey) async throws {
    guard let claim = claims[key] else { return }
    let waiting = pods.objects(.claim, "\(key)").filter {
      ($0.at("spec", "nodeName")?.string ?? "").isEmpty && !$0.isTerminating
    }
    let plan = planClaim(
      claim,
      ClaimSurroundings(
        volumes: volumes.snapshot, storageClasses: storageClasses.snapshot,
        waitingPods: waiting.map(\.name)))
    if let event = plan.event {
      context.events.record(claim, event.type, event.reason, event.message, from: Self.source)
    }
    if let volume = plan.volume { return try await bind(volume, claim) }
    var changed = claim
    if let provisioner = plan.provisioner {
      for mark in Self.provisionerMarks where claim.annotations[mark] != provisioner {
        changed.set(JSON(provisioner), at: "metadata", "annotations", mark)
      }
    }
    if changed != claim {
      changed = try await context.api.update(
        .persistentVolumeClaims, changed, subresource: nil, options: context.options)
    }
    guard let phase = plan.phase, changed.at("status", "phase")?.string != phase else { return }
    changed.set(JSON(phase), at: "status", "phase")
    _ = try await context.api.update(
      .persistentVolumeClaims, changed, subresource: "status", options: context.options)
  }

  private func bind(_ volume: JSON, _ claim: JSON) async throws {
    var volume = volume
    var changed = volume
    if volume.at("spec", "claimRef", "uid")?.string != claim.uid {
      if !VolumeSelection.isReserved(volume, for: claim) {
        changed.set("yes", at: "metadata", "annotations", VolumeSelection.boundByController)
      }
      changed.set(claim.referenceToClaim, at: "spec", "claimRef")
      volume = try await context.api.update(
        .persistentVolumes, changed, subresource: nil, options: context.options)
    }
    try await set(volume, phase: "Bound")
    changed = claim
    if (claim.at("spec", "volumeName")?.string ?? "").isEmpty {
      changed.set(JSON(volume.name), at: "spec", "volumeName")
      changed.set("yes", at: "metadata", "annotations", VolumeSelection.boundByController)
    }
    if claim.annotations[VolumeSelection.bindCompleted] == nil {
      changed.set("yes", at: "metadata", "annotations", VolumeSelection.bindCompleted)
    }
    if changed != claim {
      changed = try await context.api.update(
        .persistentVolumeClaims, changed, subresource: nil, options: context.options)
    }
    let before = changed
    changed.set("Bound", at: "status", "phase")
    changed.set(volume.at("spec", "accessModes"), at: "status", "accessModes")
    changed.set(volume.at("spec", "capacity"), at: "status", "capacity")
    if changed == before { return }
    _ = try await context.api.update(
      .persistentVolumeClaims, changed, subresource: "status", options: context.options)
  }

  // MARK: Volumes

  /// - Returns: the claim that is to be looked at instead.
  func reconcile(volume name: String) async throws -> ObjectKey? {
    guard let volume = volumes["", name] else { return nil }
    switch planVolume(volume, claim: try await claim(of: volume)) {
    case .askClaim(let key):
      if volume.at("spec", "claimRef", "uid") == nil { try await set(volume, phase: "Available") }
      return key
    case .phase(let phase): try await set(volume, phase: phase)
    case .unbind(let keepsReservation):
      var changed = volume
      if keepsReservation {
        changed.set(nil, at: "spec", "claimRef", "uid")
        changed.set(nil, at: "spec", "claimRef", "resourceVersion")
      } else {
        changed.set(nil, at: "spec", "claimRef")
        changed.set(nil, at: "metadata", "annotations", VolumeSelection.boundByController)
      }
      let written = try await context.api.update(
        .persistentVolumes, changed, subresource: nil, options: context.options)
      try await set(written, phase: "Available")
    case .released(let reclaim):
      // Whoever reclaims it may have come to an end that is not ours to write over.
      if ["Released", "Failed"].contains(volume.at("status", "phase")?.string ?? "") { break }
      guard case .failed(let event) = reclaim else {
        try await set(volume, phase: "Released")
        break
      }
      context.events.record(volume, event.type, event.reason, event.message, from: Self.source)
      try await set(volume, phase: "Failed", message: event.message)
    }
    return nil
  }

  /// The claim that a volume names. What the informer does not show, the API is asked for: a volume must not be taken from a
  /// claim that is only too new.
  private func claim(of volume: JSON) async throws -> JSON? {
    guard let reference = volume.at("spec", "claimRef") else { return nil }
    let key = ObjectKey(reference["namespace"]?.string ?? "", reference["name"]?.string ?? "")
    let uid = reference["uid"]?.string ?? ""
    if let known = claims[key], uid.isEmpty || known.uid == uid { return known }
    do {
      return try await context.api.get(.persistentVolumeClaims, namespace: key.namespace, name: key.name)
    } catch let error as APIStatusError where error.isNotFound { return nil }
  }

  private func set(_ volume: JSON, phase: String, message: String? = nil) async throws {
    if volume.at("status", "phase")?.string == phase { return }
    var changed = volume
    changed["status"] = [
      "phase": JSON(phase), "lastPhaseTransitionTime": JSON(Timestamp.text(seconds: context.now)),
    ]
    if let message { changed.set(JSON(message), at: "status", "message") }
    _ = try await context.api.update(
      .persistentVolumes, changed, subresource: "status", options: context.options)
  }
}

extension JSON {
  /// What a volume says of the claim that has it.
  var referenceToClaim: JSON {
    [
      "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": JSON(namespace), "name": JSON(name),
      "uid": JSON(uid), "resourceVersion": JSON(resourceVersion),
    ]
  }
}

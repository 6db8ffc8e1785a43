// Makes volumes for claims of classes with our provisioner, and removes those that nobody claims any more. It works as
// provisioners outside do, on what the binder and the scheduler write; folders are removed on their node by a pod.

import ClusterClient
import ClusterObjects
import Diagnostics

func localPathProvisioner(_ context: ControllerContext) -> [Controller] {
  let sides = ClaimsAndVolumes(context, prefix: "local-path-")
  let provisioner = LocalPathProvisioner(
    context: context, claims: sides.claims, volumes: sides.volumes,
    storageClasses: context.informers.informer(.storageClasses),
    nodes: context.informers.informer(.nodes), pods: context.informers.informer(.pods))
  return sides.controllers(
    claimRegistrations: [
      sides.claims.onChange { changes in
        for change in changes where change.new.map(LocalPathProvisioner.isAsked) ?? false {
          sides.claimQueue.add(change.key)
        }
      }
    ],
    volumeRegistrations: [
      sides.volumes.onChange { changes in
        for change in changes where change.new.map(LocalPathProvisioner.isLeft) ?? false {
          sides.volumeQueue.add(change.key.name)
        }
      },
      provisioner.pods.onChange { changes in
        for change in changes {
          if let volume = change.object.labels[LocalPath.removesLabel] { sides.volumeQueue.add(volume) }
        }
      },
    ],
    reconcileClaim: { try await provisioner.make(for: $0) },
    reconcileVolume: { try await provisioner.remove($0) })
}

private struct LocalPathProvisioner: Sendable {
  /// A failed removal is tried again after this.
  static let retry: Duration = .seconds(30)
  let context: ControllerContext
  let claims: Informer
  let volumes: Informer
  let storageClasses: Informer
  let nodes: Informer
  let pods: Informer

  /// The binder asked for a volume of ours.
  static func isAsked(_ claim: JSON) -> Bool {
    claim.annotations["volume.kubernetes.io/storage-provisioner"] == LocalPath.provisioner
      && (claim.at("spec", "volumeName")?.string ?? "").isEmpty && !claim.isTerminating
  }

  static func isLeft(_ volume: JSON) -> Bool {
    volume.annotations[VolumeNames.provisionedBy] == LocalPath.provisioner
      && ["Released", "Failed"].contains(volume.at("status", "phase")?.string ?? "")
      && volume.at("spec", "persistentVolumeReclaimPolicy")?.string == "Delete"
  }

  func make(for key: ObjectKey) async throws {
    guard let claim = claims[key], Self.isAsked(claim), volumes["", "pvc-\(claim.uid)"] == nil,
      let storageClass = storageClasses["", VolumeSelection.className(claim)],
      storageClass["provisioner"]?.string == LocalPath.provisioner
    else { return }
    do {
      guard let node = claim.annotations[VolumeSelection.selectedNode], !node.isEmpty else {
        if storageClass["volumeBindingMode"]?.string == "WaitForFirstConsumer" { return }
        throw LocalPathProblem(
          message: "no node was selected: the class needs volumeBindingMode WaitForFirstConsumer")
      }
      record(
        claim, .normal("Provisioning", "External provisioner is provisioning volume for claim \"\(key)\""))
      let volume = try planLocalVolume(
        claim, storageClass: storageClass, nodeName: node, node: nodes["", node])
      do {
        _ = try await context.api.create(.persistentVolumes, volume, options: context.options)
      } catch let error as APIStatusError where error.isAlreadyExists { return }
      record(claim, .normal("ProvisioningSucceeded", "Successfully provisioned volume \(volume.name)"))
    } catch let problem as LocalPathProblem {
      record(
        claim,
        .warning(
          "ProvisioningFailed",
          "failed to provision volume with StorageClass \"\(storageClass.name)\": \(problem.message)"))
      guard problem.isOfNode else { return }
      var changed = claim
      changed.set(nil, at: "metadata", "annotations", VolumeSelection.selectedNode)
      _ = try await context.api.update(
        .persistentVolumeClaims, changed, subresource: nil, options: context.options)
    }
  }

  func remove(_ name: String) async throws -> Duration? {
    guard let volume = volumes["", name], Self.isLeft(volume), !volume.isTerminating else { return nil }
    // Of a node that is gone nothing is left to remove.
    guard let host = volume.localPathHost,
      let node = nodes.snapshot.values.first(where: { ($0.labels[LocalPath.hostName] ?? $0.name) == host })
    else {
      try await delete(volume)
      return nil
    }
    guard let remover = planRemoval(of: volume, on: node.name, image: context.settings.localPathImage) else {
      failed(volume, "its path is not one that was made for it")
      return nil
    }
    guard let pod = pods[remover.key] else {
      do {
        _ = try await context.api.create(.pods, remover, options: context.options)
      } catch let error as APIStatusError where error.isAlreadyExists {}
      return nil
    }
    switch pod.at("status", "phase")?.string {
    case "Succeeded":
      try await delete(volume)
      try await context.api.deleteIfPresent(.pods, pod.key, options: DeleteOptions(uid: pod.uid))
    case "Failed":
      if pod.isTerminating { break }
      let why = pod.at("status", "message")?.string ?? "pod \(pod.key) failed"
      failed(volume, why)
      try await context.api.deleteIfPresent(.pods, pod.key, options: DeleteOptions(uid: pod.uid))
      return Self.retry
    default: break
    }
    return nil
  }

  private func failed(_ volume: JSON, _ why: String) {
    record(volume, .warning("VolumeFailedDelete", "the folder of the volume cannot be removed: \(why)"))
  }

  private func delete(_ volume: JSON) async throws {
    try await context.api.deleteIfPresent(
      .persistentVolumes, volume.key, options: DeleteOptions(uid: volume.uid))
  }

  private func record(_ object: JSON, _ event: PlannedEvent) {
    context.events.record(object, event.type, event.reason, event.message, from: LocalPath.provisioner)
  }
}

// Claims of pods' ephemeral volumes: made from the template in the pod, owned by it, gone with it.

import ClusterClient
import ClusterObjects
import Diagnostics

func ephemeralVolumeController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("ephemeral_volume")
  let pods = context.informers.informer(.pods)
  let claims = context.informers.informer(.persistentVolumeClaims)
  let creations = context.metrics.counter(
    "ephemeral_volume_controller_create_total", "Claims made for pods, tried."
  ).child()
  let failures = context.metrics.counter(
    "ephemeral_volume_controller_create_failures_total", "Claims that could not be made for pods."
  ).child()
  @Sendable func hasEphemeral(_ pod: JSON?) -> Bool {
    pod?.at("spec", "volumes")?.elements.contains { $0["ephemeral"] != nil } ?? false
  }
  let registrations = [
    pods.onChange { changes in
      for change in changes where change.old == nil && hasEphemeral(change.new) { queue.add(change.key) }
    },
    // One that went while its pod is there is made again.
    claims.onChange { changes in
      for change in changes where change.isDeletion {
        guard let owner = change.object.controllerReference, owner["kind"]?.string == "Pod",
          let name = owner["name"]?.string
        else { continue }
        queue.add(ObjectKey(change.key.namespace, name))
      }
    },
  ]
  return Controller(
    "ephemeral-volume", context, queue: queue, registrations: registrations, workers: 1,
    resync: { for pod in pods.snapshot.values where hasEphemeral(pod) { queue.add(pod.key) } }
  ) { key in
    guard let pod = pods[key], !pod.isTerminating else { return nil }
    for claim in planEphemeralClaims(pod) {
      if let existing = claims[claim.key] {
        if existing.isControlled(by: pod) { continue }
        throw EphemeralClaimTaken(claim: claim.name, pod: pod.name)
      }
      creations.increment()
      do {
        _ = try await context.api.create(.persistentVolumeClaims, claim, options: context.options)
      } catch let error as APIStatusError where error.isAlreadyExists || error.isOfEndingNamespace {
      } catch let error as APIStatusError {
        failures.increment()
        let message = "ephemeral volume controller: \(error.message)"
        context.events.record(pod, "Warning", "FailedCreate", message, from: "ephemeral_volume")
        throw error
      }
    }
    return nil
  }
}

/// A claim of that name belongs to somebody else: its data are not this pod's.
struct EphemeralClaimTaken: Error, CustomStringConvertible {
  var claim: String
  var pod: String
  var description: String { "PVC \(claim) was not created for pod \(pod) (pod is not owner)" }
}

/// The claims that a pod's ephemeral volumes stand for.
func planEphemeralClaims(_ pod: JSON) -> [JSON] {
  (pod.at("spec", "volumes")?.elements ?? []).compactMap { volume in
    guard let template = volume.at("ephemeral", "volumeClaimTemplate"), let name = volume["name"]?.string
    else { return nil }
    var owner = pod.controllerReferenceToThis
    owner["apiVersion"] = "v1"
    owner["kind"] = "Pod"
    var metadata: JSON = [
      "namespace": JSON(pod.namespace), "name": JSON("\(pod.name)-\(name)"), "ownerReferences": [owner],
    ]
    for field in ["labels", "annotations"] {
      if let value = template.at("metadata", field) { metadata[field] = value }
    }
    return [
      "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
      "spec": template["spec"] ?? [:],
    ]
  }
}

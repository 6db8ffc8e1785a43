// A pod's priority is what its PriorityClass says, else the default class's, else 0.

import ClusterClient
import ClusterObjects

struct PriorityPlugin: AdmissionPlugin {
  let name = "Priority"
  let interest = AdmissionInterest.both(
    [GroupResource("", "pods"), GroupResource("scheduling.k8s.io", "priorityclasses")], [.create, .update])
  let state: AdmissionState

  /// The classes that exist without anybody making them: name, value, what it is for.
  static let builtin: [(name: String, value: Int64, use: String)] = [
    (
      "system-cluster-critical", 2_000_000_000,
      "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
    ),
    (
      "system-node-critical", 2_000_001_000,
      "Used for system critical pods that must not be moved from their current node."
    ),
  ]

  func admit(_ request: inout AdmissionRequest) async throws {
    guard request.kind.kind == "Pod", var pod = request.object else { return }
    if request.operation == .update {
      // Priority never changes; a writer that left it out meant no change.
      if let old = request.old {
        for field in ["priority", "preemptionPolicy"] where pod.at("spec", field) == nil {
          pod.set(old.at("spec", field), at: "spec", field)
        }
        request.object = pod
      }
      return
    }
    var value: Int64 = 0
    var policy = "PreemptLowerPriority"
    var name = pod.at("spec", "priorityClassName")?.string ?? ""
    if name.isEmpty, let standard = globalDefault() {
      name = standard.name
      pod.set(JSON(name), at: "spec", "priorityClassName")
    }
    if !name.isEmpty {
      if let found = await state.lookUp(.priorityClasses, name: name) {
        value = found.tree["value"]?.integer ?? 0
        policy = found.tree["preemptionPolicy"]?.string ?? policy
      } else if let known = Self.builtin.first(where: { $0.name == name }) {
        value = known.value
      } else {
        throw request.forbidden("no PriorityClass with name \(name) was found")
      }
    }
    if let asked = pod.at("spec", "priority")?.integer, asked != value {
      throw request.forbidden(
        "the integer value of priority (\(asked)) must not be provided in pod spec; "
          + "priority admission controller computed \(value) from the given PriorityClass name")
    }
    if let asked = pod.at("spec", "preemptionPolicy")?.string, asked != policy {
      throw request.forbidden(
        "the string value of PreemptionPolicy (\(asked)) must not be provided in pod spec; "
          + "priority admission controller computed \(policy) from the given PriorityClass name")
    }
    pod.set(JSON(value), at: "spec", "priority")
    pod.set(JSON(policy), at: "spec", "preemptionPolicy")
    request.object = pod
  }

  /// Of several default classes, the one with the smallest value.
  private func globalDefault() -> CachedObject? {
    state.objects(.priorityClasses).filter { $0.tree["globalDefault"]?.bool == true }
      .min { ($0.tree["value"]?.integer ?? 0) < ($1.tree["value"]?.integer ?? 0) }
  }

  func validate(_ request: inout AdmissionRequest) async throws {
    guard request.kind.kind == "PriorityClass", let wanted = request.object,
      wanted["globalDefault"]?.bool == true, let present = globalDefault()
    else { return }
    if request.operation == .create || present.name != wanted.name {
      throw request.forbidden(
        "PriorityClass \(present.name) is already marked as default. Only one default can exist")
    }
  }
}

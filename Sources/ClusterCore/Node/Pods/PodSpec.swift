// What the agent reads of a pod's tree, by the names it uses. Pure.

import ClusterObjects

/// Which part a container plays in its pod's life.
enum ContainerRole: Sendable, Hashable {
  /// Runs to its end before the next begins.
  case initial
  /// An init container that keeps running (`restartPolicy: Always`); stopped last.
  case sidecar
  case main
  /// Added to a running pod, as `kubectl debug` does: started once, never again.
  case ephemeral
}

/// A container of a pod's specification.
struct ContainerSpec: Sendable, Hashable {
  var tree: JSON
  var role: ContainerRole
  var name: String { tree["name"]?.string ?? "" }
  var image: String { tree["image"]?.string ?? "" }

  /// Absent: Always for `:latest` or no tag, else IfNotPresent.
  var pullPolicy: String {
    if let policy = tree["imagePullPolicy"]?.string { return policy }
    let last = image.split(separator: "/").last.map(String.init) ?? image
    if last.contains("@") { return "IfNotPresent" }
    return last.hasSuffix(":latest") || !last.contains(":") ? "Always" : "IfNotPresent"
  }

  /// What a running container is compared with: a new image means a new container.
  var hash: String {
    var value: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in image.utf8 { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return String(value, radix: 16)
  }

  /// The number of a port named in the specification, or the number itself.
  func port(_ value: JSON?) -> Int? {
    if let number = value?.int { return number }
    guard let name = value?.string else { return nil }
    if let number = Int(name) { return number }
    return tree["ports"]?.elements.first { $0["name"]?.string == name }?["containerPort"]?.int
  }
}

/// A pod's specification, read.
struct PodSpec: Sendable {
  var pod: JSON
  var initContainers: [ContainerSpec]
  var containers: [ContainerSpec]
  var ephemeralContainers: [ContainerSpec]

  init(_ pod: JSON) {
    self.pod = pod
    initContainers = (pod.at("spec", "initContainers")?.elements ?? []).map {
      ContainerSpec(tree: $0, role: $0["restartPolicy"]?.string == "Always" ? .sidecar : .initial)
    }
    containers = (pod.at("spec", "containers")?.elements ?? []).map { ContainerSpec(tree: $0, role: .main) }
    ephemeralContainers = (pod.at("spec", "ephemeralContainers")?.elements ?? []).map {
      ContainerSpec(tree: $0, role: .ephemeral)
    }
  }

  /// Those that make up the pod: what it asks for and whether it is ready is told by them.
  var all: [ContainerSpec] { initContainers + containers }
  func container(_ name: String) -> ContainerSpec? { (all + ephemeralContainers).first { $0.name == name } }
  /// A container of it was started once, by this agent or one before it.
  var hasRun: Bool {
    pod.at("status", "containerStatuses")?.elements.contains { $0["containerID"]?.string?.isEmpty == false }
      == true
  }
  var restartPolicy: String { pod.at("spec", "restartPolicy")?.string ?? "Always" }
  var isHostNetwork: Bool { pod.at("spec", "hostNetwork")?.bool ?? false }
  var graceSeconds: Int {
    pod.at("metadata", "deletionGracePeriodSeconds")?.int ?? pod.at("spec", "terminationGracePeriodSeconds")?
      .int
      ?? 30
  }

  /// Guaranteed when every container limits CPU and memory and asks for as much; BestEffort when none says anything.
  var qosClass: String {
    var isGuaranteed = true
    var says = false
    for container in all {
      let limits = container.tree.at("resources", "limits")
      let requests = container.tree.at("resources", "requests")
      for resource in ["cpu", "memory"] {
        let limit = Self.amount(limits?[resource])
        let request = Self.amount(requests?[resource])
        if (limit ?? 0) > 0 || (request ?? 0) > 0 { says = true }
        if limit == nil || limit == 0 || (request ?? limit) != limit { isGuaranteed = false }
      }
    }
    return !says ? "BestEffort" : isGuaranteed ? "Guaranteed" : "Burstable"
  }

  /// Thousandths of a quantity, written as text or as a number.
  static func amount(_ value: JSON?) -> Int64? {
    switch value {
    case .string(let text): Amount.milli(text)
    case .integer(let number): Amount.milli(String(number))
    case .number(let text): Amount.milli(text)
    default: nil
    }
  }
}

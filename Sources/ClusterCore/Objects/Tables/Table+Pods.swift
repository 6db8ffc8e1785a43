// The line of a pod: READY, STATUS and RESTARTS, told from container statuses as people know them.

extension TablePrinter {
  static let pods = TablePrinter(columns: [
    name, TableColumn("Ready", "Containers that are ready, of all."),
    TableColumn("Status", "What the pod is doing."),
    TableColumn("Restarts", "Restarts of its containers, and when the last was."), age,
    TableColumn("IP", priority: 1, "The pod's address."), TableColumn("Node", priority: 1, "Where it runs."),
    TableColumn("Nominated Node", priority: 1, "Where room is being made for it."),
    TableColumn("Readiness Gates", priority: 1, "Conditions of its own that have come true, of all."),
  ]) { pod, now in
    let line = PodLine(pod)
    let gates = pod.at("spec", "readinessGates")?.elements ?? []
    let conditions = pod.at("status", "conditions")?.elements ?? []
    let open = gates.filter { gate in
      conditions.contains { $0["type"] == gate["conditionType"] && $0["status"] == "True" }
    }
    var restarts = "\(line.restarts)"
    if line.restarts > 0, let last = line.lastRestart {
      restarts += " (\(KubeTime.age(of: last, now: now)) ago)"
    }
    return [
      JSON(pod.name), JSON("\(line.readyCount)/\(line.count)"), JSON(line.status), JSON(restarts),
      Cell.age(pod, now),
      Cell.text(pod.at("status", "podIP")?.string), Cell.text(pod.at("spec", "nodeName")?.string),
      Cell.text(pod.at("status", "nominatedNodeName")?.string),
      gates.isEmpty ? "<none>" : JSON("\(open.count)/\(gates.count)"),
    ]
  }
}

/// A pod's state in a few words.
public struct PodLine: Sendable {
  public private(set) var status: String
  public private(set) var readyCount = 0
  public private(set) var count = 0
  public private(set) var restarts: Int64 = 0
  public private(set) var lastRestart: String?

  public init(_ pod: JSON) {
    let containers = pod.at("spec", "containers")?.elements ?? []
    count = containers.count
    let phase = pod.at("status", "phase")?.string ?? ""
    let reason = pod.at("status", "reason")?.string ?? ""
    status = reason.isEmpty ? phase : reason
    let conditions = pod.at("status", "conditions")?.elements ?? []
    if conditions.contains(where: { $0["type"] == "PodScheduled" && $0["reason"] == "SchedulingGated" }) {
      status = "SchedulingGated"
    }
    let isInitializing = readInitContainers(pod)
    let isInitialized = conditions.contains { $0["type"] == "Initialized" && $0["status"] == "True" }
    if !isInitializing || isInitialized { readContainers(pod, conditions) }
    if pod.isTerminating {
      status =
        reason == "NodeLost" ? "Unknown" : phase == "Succeeded" || phase == "Failed" ? status : "Terminating"
    }
  }

  /// True while an init container holds the others back; the status then tells which.
  private mutating func readInitContainers(_ pod: JSON) -> Bool {
    let specs = pod.at("spec", "initContainers")?.elements ?? []
    let sidecars = Set(specs.filter { $0["restartPolicy"] == "Always" }.compactMap { $0["name"]?.string })
    count += sidecars.count
    for (position, state) in (pod.at("status", "initContainerStatuses")?.elements ?? []).enumerated() {
      let isSidecar = sidecars.contains(state["name"]?.string ?? "")
      count(state)
      if let ended = state.at("state", "terminated") {
        if ended["exitCode"] == 0 { continue }
        status = "Init:" + Self.end(ended)
        return true
      }
      if isSidecar, state["started"] == true {
        if state["ready"] == true { readyCount += 1 }
        continue
      }
      if let waiting = state.at("state", "waiting", "reason")?.string, !waiting.isEmpty,
        waiting != "PodInitializing"
      {
        status = "Init:\(waiting)"
      } else {
        status = "Init:\(position)/\(specs.count)"
      }
      return true
    }
    return false
  }

  private mutating func readContainers(_ pod: JSON, _ conditions: [JSON]) {
    var isRunning = false
    for state in (pod.at("status", "containerStatuses")?.elements ?? []).reversed() {
      count(state)
      if let waiting = state.at("state", "waiting", "reason")?.string, !waiting.isEmpty {
        status = waiting
      } else if let ended = state.at("state", "terminated") {
        status = Self.end(ended)
      } else if state["ready"] == true, state.at("state", "running") != nil {
        isRunning = true
        readyCount += 1
      }
    }
    // One container has ended well while another still runs: the pod is not completed.
    if status == "Completed", isRunning {
      status =
        conditions.contains { $0["type"] == "Ready" && $0["status"] == "True" } ? "Running" : "NotReady"
    }
  }

  private mutating func count(_ state: JSON) {
    restarts += state["restartCount"]?.integer ?? 0
    if let finished = state.at("lastState", "terminated", "finishedAt")?.string, finished > lastRestart ?? ""
    {
      lastRestart = finished
    }
  }

  private static func end(_ terminated: JSON) -> String {
    if let reason = terminated["reason"]?.string, !reason.isEmpty { return reason }
    if let signal = terminated["signal"]?.integer, signal != 0 { return "Signal:\(signal)" }
    return "ExitCode:\(terminated["exitCode"]?.integer ?? 0)"
  }
}

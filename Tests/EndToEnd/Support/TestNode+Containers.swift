// Looks into the containers of a node, as `kubectl exec` will.
import Foundation

extension TestNode {
  /// The process identifier of a pod's first container.
  func containerProcess(_ pod: String, namespace: String = "demo") -> Int32? {
    let text = kubectl(
      "get", "pod", pod, "-n", namespace, "-o", "jsonpath={.status.containerStatuses[0].containerID}"
    ).trimmed
    guard let id = text.split(separator: "/").last else { return nil }
    let tasks = run(["ctr", "--address", "\(runFolder)/containerd.sock", "-n", "k8s.io", "tasks", "ls"])
    for line in tasks.lines where line.hasPrefix(id) {
      let fields = line.split(separator: " ").map(String.init)
      if fields.count > 1 { return Int32(fields[1]) }
    }
    return nil
  }

  /// Runs one of the image's own programs in a container: its files, its network, its resolver.
  func inContainer(_ pod: String, namespace: String = "demo", _ arguments: String..., seconds: Double = 60)
    -> Output
  {
    guard let process = containerProcess(pod, namespace: namespace) else {
      return Output(
        command: "\(arguments)", status: -1, standardOutput: "", standardError: "no container of \(pod) runs")
    }
    return run(
      ["nsenter", "--target", "\(process)", "--mount", "--net", "--uts", "--pid", "--"] + arguments,
      seconds: seconds,
      environment: ["PATH": "/bin:/usr/bin"])
  }

  /// Runs a program of this machine in a pod's network.
  func inPodNetwork(_ pod: String, namespace: String = "demo", _ arguments: [String], seconds: Double = 60)
    -> Output
  {
    guard let process = containerProcess(pod, namespace: namespace) else {
      return Output(
        command: "\(arguments)", status: -1, standardOutput: "", standardError: "no container of \(pod) runs")
    }
    return run(["nsenter", "--target", "\(process)", "--net", "--"] + arguments, seconds: seconds)
  }

  func containerFile(_ pod: String, namespace: String = "demo", _ path: String) -> String {
    guard let process = containerProcess(pod, namespace: namespace) else { return "" }
    return (try? String(contentsOfFile: "/proc/\(process)/root\(path)", encoding: .utf8)) ?? ""
  }
}

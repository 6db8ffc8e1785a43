// The scheduler of a `weft server`, as kubectl sees it: nodes that are objects only, and pods that go where
// they should or say why not.
import ClusterClient
import ClusterObjects
import Foundation
import Testing

@Suite(.serialized) struct SchedulingTests {
  private let server: KilledServer
  private let folder: String

  init() throws {
    folder = NSTemporaryDirectory() + "weft-scheduling-\(UInt32.random(in: 0...UInt32.max))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    // Nodes that are objects only never say that they are alive.
    server = try KilledServer(
      folder: folder + "/data",
      flags: ["--node-monitor-grace-period", "1h", "--node-startup-grace-period", "1h"])
  }

  private func kubectl(_ arguments: String...) -> Output {
    run(
      ["\(Project.root.path())/.tools/bin/kubectl", "--kubeconfig", "\(folder)/data/admin.kubeconfig"]
        + arguments)
  }

  private func apply(_ text: String) throws {
    let file = "\(folder)/objects.yaml"
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    let made = eventually(within: 60) { kubectl("apply", "-f", file).status == 0 }
    try #require(made != nil, "\(kubectl("apply", "-f", file))")
  }

  private func node(_ name: String, cpu: String = "2", _ labels: String = "", _ spec: String = "{}") -> String
  {
    """
    ---
    apiVersion: v1
    kind: Node
    metadata: {name: \(name), labels: {kubernetes.io/hostname: \(name)\(labels)}}
    spec: \(spec)
    status:
      allocatable: {cpu: "\(cpu)", memory: 4Gi, pods: "20"}
      conditions: [{type: Ready, status: "True", reason: KubeletReady, message: m}]

    """
  }

  private func pod(_ name: String, cpu: String = "100m", _ spec: String = "") -> String {
    """
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: \(name), labels: {app: \(name)}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists}]
      containers: [{name: c, image: i, resources: {requests: {cpu: \(cpu)}}}]
    \(spec.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n"))

    """
  }

  private func nodeName(_ pod: String) -> String {
    kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}").standardOutput
  }
  private func message(_ pod: String) -> String {
    kubectl("get", "pod", pod, "-o", "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}")
      .standardOutput
  }

  @Test(.timeLimit(.minutes(5))) func `pods go where kubectl's user asks, or say by counts why not`()
    async throws
  {
    try await server.start()
    defer {
      server.kill()
      try? FileManager.default.removeItem(atPath: folder)
    }
    try apply(
      node("n1", ", disk: ssd, generation: \"5\"") + node("n2", ", disk: hdd")
        + node("n3", cpu: "500m", "", "{taints: [{key: k, value: v, effect: NoSchedule}]}"))
    // Rows 41, 42 and 44: selector, affinity, taints, and the counts of what speaks against each node.
    let newer =
      "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
      + "[{matchExpressions: [{key: generation, operator: Gt, values: [\"4\"]}]}]}}}"
    try apply(
      pod("ssd", "nodeSelector: {disk: ssd}") + pod("newer", newer) + pod("large", cpu: "3")
        + pod("nowhere", "nodeSelector: {disk: tape}"))
    #expect(eventually(within: 60) { nodeName("ssd") == "n1" && nodeName("newer") == "n1" } != nil)
    #expect(
      eventually(within: 60) {
        message("large").hasPrefix(
          "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: ")
      } != nil, "\(message("large"))")
    #expect(
      eventually(within: 60) {
        kubectl("get", "events", "--field-selector", "involvedObject.name=nowhere,reason=FailedScheduling")
          .standardOutput.contains(
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match Pod's node "
              + "affinity/selector. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
          )
      } != nil, "\(kubectl("get", "events"))")
    #expect(kubectl("label", "node", "n2", "disk=tape", "--overwrite").status == 0)
    #expect(eventually(within: 60) { nodeName("nowhere") == "n2" } != nil)

    // Row 43: apart from one, together with another.
    func near(_ kind: String, _ app: String) -> String {
      "affinity: {\(kind): {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, "
        + "labelSelector: {matchLabels: {app: \(app)}}}]}}"
    }
    try apply(pod("apart", near("podAntiAffinity", "ssd")) + pod("together", near("podAffinity", "nowhere")))
    #expect(eventually(within: 60) { nodeName("apart") == "n2" && nodeName("together") == "n2" } != nil)

    // Row 47: the more important pod is nominated and takes the place of a lesser one.
    try apply(
      "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: vip}\nvalue: 1000\n"
        + pod("filler", cpu: "1800m", "nodeSelector: {disk: ssd}"))
    #expect(kubectl("delete", "pod", "newer", "--force", "--grace-period=0").status == 0)
    #expect(eventually(within: 60) { nodeName("filler") == "n1" } != nil, "\(message("filler"))")
    try apply(pod("important", cpu: "1800m", "priorityClassName: vip\nnodeSelector: {disk: ssd}"))
    #expect(eventually(within: 60) { nodeName("important") == "n1" } != nil, "\(message("important"))")
    #expect(kubectl("get", "pod", "filler").status != 0)
    #expect(kubectl("get", "pod", "ssd").status == 0)
    #expect(
      kubectl("get", "events", "--field-selector", "involvedObject.name=filler").standardOutput.contains(
        "Preempted by pod"))
  }

  @Test(.timeLimit(.minutes(5)))
  func `a second scheduler takes the pods of its own name, by its configuration`()
    async throws
  {
    try await server.start()
    defer {
      server.kill()
      try? FileManager.default.removeItem(atPath: folder)
    }
    let written = run([Project.weft, "scheduler", "--write-config-to", "\(folder)/all.yaml"])
    #expect(written.status == 0, "\(written)")
    let all = try String(contentsOfFile: "\(folder)/all.yaml", encoding: .utf8)
    #expect(all.contains("kind: KubeSchedulerConfiguration") && all.contains("- name: NodeResourcesFit"))
    let config = "\(folder)/scheduler.yaml"
    try """
    apiVersion: kubescheduler.config.k8s.io/v1
    kind: KubeSchedulerConfiguration
    profiles:
    - schedulerName: careless
      plugins: {multiPoint: {disabled: [{name: TaintToleration}]}}
    """.write(toFile: config, atomically: true, encoding: .utf8)
    let wrong = run([Project.weft, "scheduler", "--config", "\(folder)/none.yaml"])
    #expect(wrong.status == 2 && wrong.standardError.contains("SCH0004"), "\(wrong)")
    let second = Process()
    second.executableURL = URL(filePath: Project.weft)
    second.arguments = [
      "scheduler", "--config", config, "--kubeconfig", "\(folder)/data/admin.kubeconfig",
    ]
    try second.run()
    defer { second.terminate() }
    try apply(
      node("n1", "", "{taints: [{key: k, effect: NoSchedule}]}") + pod("careful")
        + pod("careless", "schedulerName: careless"))
    #expect(eventually(within: 60) { nodeName("careless") == "n1" } != nil, "\(message("careless"))")
    #expect(eventually(within: 60) { message("careful").contains("untolerated taint(s)") } != nil)
  }
}

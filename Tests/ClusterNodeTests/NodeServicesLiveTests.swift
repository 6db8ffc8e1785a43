// What the node does beside starting pods, on a real containerd: usage, debug containers, full logs, full volumes, pods that
// do not fit.

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import Testing

@testable import ClusterNode

@Suite(.serialized) struct NodeServicesLiveTests {
  /// A busy machine takes its time to start five pods.
  private let patience: Duration = .seconds(150)

  @Test(.timeLimit(.minutes(15)))
  func `usage is measured, pods are debugged, logs turn, a full volume evicts, what does not fit is refused`()
    async throws
  {
    var node = LiveNode()
    defer { node.remove() }
    node.settings.containerLogMaxBytes = 4096
    node.settings.containerLogMaxFiles = 3
    node.settings.containerLogMonitorInterval = .milliseconds(200)
    node.settings.podPIDsMax = 60
    node.settings.diskUsageInterval = .milliseconds(500)
    node.settings.eviction.interval = .milliseconds(500)
    let agent = node.agent()
    let cluster = node.cluster
    try await agent.start()

    let busy = node.pod(
      "busy", [container("main", "i=0; while :; do i=$((i+1)); [ $((i % 2000)) = 0 ] && echo line $i; done")])
    let filler = node.pod(
      "filler",
      [
        container(
          "main", "dd if=/dev/zero of=/cache/file bs=1024 count=2048; sleep 1000",
          extra: ["volumeMounts": [["name": "cache", "mountPath": "/cache"]]])
      ], extra: ["volumes": [["name": "cache", "emptyDir": ["sizeLimit": "1Mi"]]]])
    let large = node.pod(
      "large", [container("main", "sleep 1", extra: ["resources": ["requests": ["cpu": "4000"]]])])
    let failing = node.pod(
      "failing",
      [
        container(
          "main", "echo the reason; exit 3", extra: ["terminationMessagePolicy": "FallbackToLogsOnError"])
      ], extra: ["restartPolicy": "Never"])
    let absent = node.pod("absent", [container("main", "true", extra: ["image": "127.0.0.1:1/none:1"])])
    // Begins a hundred processes, and writes down each that it got.
    let breeding = node.pod(
      "breeding",
      [
        container(
          "main",
          "n=0; while [ $n -lt 100 ]; do sleep 1000 & n=$((n+1)); echo $n >/count/n; done; sleep 1000",
          extra: ["volumeMounts": [["name": "count", "mountPath": "/count"]]])
      ], extra: ["restartPolicy": "Never", "volumes": [["name": "count", "emptyDir": [:]]]])
    for pod in [busy, filler, large, failing, absent, breeding] { cluster.apply(pod) }

    // Too large for any node: refused, visibly.
    try #require(await eventually(patience) { cluster.status(large.uid)["phase"]?.string == "Failed" })
    #expect(cluster.status(large.uid)["reason"] == "OutOfcpu")
    #expect(
      cluster.status(large.uid)["message"]?.string?.hasPrefix(
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000000, used: 0") == true)

    // The last words of a container that failed without a message.
    try #require(await eventually(patience) { cluster.status(failing.uid)["phase"]?.string == "Failed" })
    #expect(
      cluster.status(failing.uid)["containerStatuses"]?[0]?.at("state", "terminated", "message")
        == "the reason\n")

    // The pod's limit of processes ends its shell, which cannot have another; the node goes on.
    try #require(
      await eventually(patience) { cluster.status(breeding.uid)["phase"]?.string == "Failed" },
      "\(cluster.status(breeding.uid).prettyText)")
    let bred = Files.readText("\(node.directory)/data/pods/\(breeding.uid)/volumes/count/n")
    #expect((20..<60).contains(bred.flatMap { Int($0.filter(\.isNumber)) } ?? 0), "\(bred ?? "")")

    // An image nobody gives: tried, then waited for, both visibly.
    try #require(
      await eventually(patience) {
        let waiting = cluster.status(absent.uid)["containerStatuses"]?[0]?.at("state", "waiting")
        return waiting?["reason"] == "ImagePullBackOff"
          && waiting?["message"]?.string?.hasPrefix(
            "Back-off pulling image \"127.0.0.1:1/none:1\": ErrImagePull: ") == true
      }, "\(cluster.status(absent.uid).prettyText)")
    let told = cluster.events.map(\.message)
    for message in [
      "Pulling image \"127.0.0.1:1/none:1\"", "Error: ErrImagePull",
      "Back-off pulling image \"127.0.0.1:1/none:1\"",
      "Error: ImagePullBackOff",
    ] { #expect(told.contains(message), "\(told)") }

    // Usage: the pod and its container, processor and memory.
    try #require(await eventually(patience) { cluster.status(busy.uid)["phase"]?.string == "Running" })
    func stats() async throws -> JSON? {
      let summary = planStatsSummary(nodeName: node.name, try await agent.usage())
      return summary["pods"]?.elements.first { $0.at("podRef", "name") == "busy" }
    }
    #expect(
      try await eventually(patience) {
        let pod = try await stats()
        let container = pod?["containers"]?[0]
        return (pod?.at("cpu", "usageNanoCores")?.integer ?? 0) > 0
          && (container?.at("cpu", "usageCoreNanoSeconds")?.integer ?? 0) > 1_000_000
          && (container?.at("memory", "workingSetBytes")?.integer ?? 0) > 1024
          && (container?.at("logs", "usedBytes")?.integer ?? 0) > 0
      }, "no usage was measured")
    let running = try await agent.runningPods()
    #expect(running["items"]?.elements.contains { $0.at("metadata", "name") == "busy" } == true)

    // A debug container beside the one that runs, seeing its processes.
    var debugged = busy
    let helper = container("debugger", "sleep 1000", extra: ["targetContainerName": "main"])
    debugged.set([helper], at: "spec", "ephemeralContainers")
    cluster.apply(debugged)
    try #require(
      await eventually(patience) {
        cluster.status(busy.uid)["ephemeralContainerStatuses"]?[0]?.at("state", "running") != nil
      }, "\(cluster.status(busy.uid).prettyText) \(cluster.events.map { $0.reason + ": " + $0.message })")
    let seen = try await agent.exec(
      namespace: "test", pod: "busy", container: "debugger", command: ["cat", "/proc/1/cmdline"])
    #expect(String(decoding: seen.output, as: UTF8.self).contains("echo line"))
    #expect(cluster.status(busy.uid)["containerStatuses"]?[0]?["restartCount"] == 0)

    // The log turned, the old ones are few, and the link of log shippers leads to it.
    let logs = "\(node.directory)/log/pods/test_busy_\(busy.uid)/main"
    #expect(
      await eventually(patience) { Files.list(logs).contains { $0.hasPrefix("0.log.") } },
      "\(Files.list(logs))")
    // Between the move and the new file there is a moment without one.
    #expect(await eventually(patience) { Files.exists(logs + "/0.log") })
    #expect(
      Files.list("\(node.directory)/log/containers").contains { $0.hasPrefix("busy_test_main-") })
    // The newest rotated one is as it was, the one before is packed, and there are no more.
    func archives() -> [String] { Files.list(logs).filter { $0.hasSuffix(".gz") } }
    #expect(await eventually(patience) { archives().count == 1 }, "\(Files.list(logs))")
    #expect(await eventually(patience) { Files.list(logs).count <= 3 }, "\(Files.list(logs))")
    // It may be the next one's turn meanwhile.
    #expect(
      await eventually(patience) {
        run("sh", "-c", "zcat \"$0\"/*.gz | grep -q 'stdout F line '", logs) == 0
      }, "\(Files.list(logs))")

    // More in a volume than it may hold: the pod goes, and says why.
    try #require(
      await eventually(patience) { cluster.status(filler.uid)["phase"]?.string == "Failed" },
      "\(cluster.status(filler.uid).prettyText)")
    #expect(cluster.status(filler.uid)["reason"] == "Evicted")
    #expect(
      cluster.status(filler.uid)["message"]
        == "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ")
    #expect(cluster.reasons.contains("Evicted"))
    #expect(cluster.status(busy.uid)["phase"] == "Running")

    await agent.stop(keepPods: false)
  }
}

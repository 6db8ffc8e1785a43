// The agent against a real containerd: pods start, fail, restart, are probed and logged, survive the agent, and leave
// nothing behind.

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import Testing

@testable import ClusterNode

@Suite(.serialized) struct LiveNodeTests {
  @Test(.timeLimit(.minutes(3))) func `pods run, are probed, restart, end, and leave nothing behind`()
    async throws
  {
    let node = LiveNode()
    defer { node.remove() }
    let agent = node.agent()
    let cluster = node.cluster
    let begin = ContinuousClock.now
    try await agent.start()
    print("agent and containerd up in \(ContinuousClock.now - begin)")

    // Plain start: status, environment, files, logs.
    cluster.put(
      "configMap", ["metadata": ["name": "settings", "namespace": "test"], "data": ["color": "green"]])
    cluster.put(
      "secret", ["metadata": ["name": "key", "namespace": "test"], "data": ["password": "c2VjcmV0"]])
    let web = node.pod(
      "web",
      [
        container(
          "main", "echo hello $NAME; echo done > /dev/termination-log; httpd -f -h /www -p 8088",
          extra: [
            "env": [
              ["name": "NAME", "valueFrom": ["fieldRef": ["fieldPath": "metadata.name"]]],
              ["name": "LINE", "value": "$(NAME)-$(PASSWORD)"],
              ["name": "PASSWORD", "valueFrom": ["secretKeyRef": ["name": "key", "key": "password"]]],
            ],
            "volumeMounts": [
              ["name": "config", "mountPath": "/config"], ["name": "scratch", "mountPath": "/scratch"],
            ],
            "readinessProbe": ["httpGet": ["path": "/", "port": 8088], "periodSeconds": 1],
            "livenessProbe": [
              "exec": ["command": ["test", "!", "-e", "/scratch/ill"]], "periodSeconds": 1,
              "failureThreshold": 1,
            ],
          ])
      ],
      extra: [
        "volumes": [
          ["name": "config", "configMap": ["name": "settings"]], ["name": "scratch", "emptyDir": [:]],
        ]
      ])
    let start = ContinuousClock.now
    cluster.apply(web)
    try #require(
      await eventually { cluster.status(web.uid)["phase"]?.string == "Running" },
      "\(cluster.status(web.uid).prettyText) \(cluster.events.map { $0.reason + ": " + $0.message })")
    if let running = cluster.firstRunning(web.uid) { print("pod create to Running: \(running - start)") }
    try #require(
      await eventually { Self.condition(cluster.status(web.uid), "Ready") == "True" },
      "\(cluster.status(web.uid).prettyText) \(cluster.events.map { $0.reason + ": " + $0.message })")
    print("pod create to Ready: \(ContinuousClock.now - start)")
    let status = cluster.status(web.uid)
    #expect(status["podIP"] == "127.0.0.1")
    #expect(status["qosClass"] == "BestEffort")
    #expect(status["containerStatuses"]?[0]?["ready"] == true)
    #expect(status["containerStatuses"]?[0]?["started"] == true)
    #expect(status["containerStatuses"]?[0]?["containerID"]?.string?.hasPrefix("containerd://") == true)
    for reason in ["Pulled", "Created", "Started"] { #expect(cluster.reasons.contains(reason)) }
    func exec(_ command: String...) async throws -> String {
      let result = try await agent.exec(namespace: "test", pod: "web", container: "main", command: command)
      return String(decoding: result.output, as: UTF8.self)
    }
    #expect(try await exec("sh", "-c", "echo $LINE") == "web-$(PASSWORD)\n")
    #expect(try await exec("cat", "/config/color") == "green")
    #expect(try await exec("sh", "-c", "echo $KUBERNETES_SERVICE_HOST") == "10.43.0.1\n")
    #expect(try await logs(agent, "web", "main") == "hello web\n")

    // A failed liveness probe restarts the container and nothing else.
    _ = try await exec("touch", "/scratch/ill")
    let before = cluster.status(web.uid)["containerStatuses"]?[0]?["containerID"]
    try #require(
      await eventually { cluster.status(web.uid)["containerStatuses"]?[0]?["restartCount"]?.int ?? 0 >= 1 })
    #expect(cluster.reasons.contains("Unhealthy") && cluster.reasons.contains("Killing"))
    _ = await eventually { (try? await exec("rm", "-f", "/scratch/ill")) != nil }
    try #require(
      await eventually { Self.condition(cluster.status(web.uid), "Ready") == "True" },
      "\(cluster.status(web.uid).prettyText)")
    #expect(cluster.status(web.uid)["containerStatuses"]?[0]?["containerID"] != before)
    #expect(
      cluster.status(web.uid)["containerStatuses"]?[0]?.at("lastState", "terminated", "message") == "done\n")

    // Deleted: gone from the runtime, then from the API.
    let deletion = ContinuousClock.now
    cluster.delete(web.uid, graceSeconds: 1)
    try #require(await eventually { cluster.isDeleted(web.uid) })
    print("pod delete (1 s of grace) to gone: \(ContinuousClock.now - deletion)")
    #expect(!exists("\(node.directory)/data/pods/\(web.uid)"))

    await agent.stop(keepPods: false)
    #expect(leftovers(node) == [])
  }

  @Test(.timeLimit(.minutes(3)))
  func `crashes back off, jobs finish, init containers come first, images are missed`()
    async throws
  {
    let node = LiveNode()
    defer { node.remove() }
    let agent = node.agent()
    let cluster = node.cluster
    try await agent.start()

    let crash = node.pod("crash", [container("main", "echo run; exit 3")])
    let job = node.pod("job", [container("main", "exit 0")], extra: ["restartPolicy": "Never"])
    let failed = node.pod("failed", [container("main", "exit 7")], extra: ["restartPolicy": "Never"])
    let ordered = node.pod(
      "ordered",
      [
        container(
          "main", "cat /shared/log; sleep 1000",
          extra: ["volumeMounts": [["name": "shared", "mountPath": "/shared"]]])
      ],
      extra: [
        "initContainers": [
          container(
            "first", "echo one >> /shared/log",
            extra: ["volumeMounts": [["name": "shared", "mountPath": "/shared"]]]),
          container(
            "second", "echo two >> /shared/log",
            extra: ["volumeMounts": [["name": "shared", "mountPath": "/shared"]]]),
        ], "volumes": [["name": "shared", "emptyDir": ["medium": "Memory"]]],
      ])
    var missing = node.pod(
      "missing",
      [container("main", "true", extra: ["imagePullPolicy": "Never", "image": "weft.local/none:1"])])
    missing.set("Never", at: "spec", "restartPolicy")
    for pod in [crash, job, failed, ordered, missing] { cluster.apply(pod) }

    try #require(
      await eventually { cluster.status(job.uid)["phase"]?.string == "Succeeded" },
      "\(cluster.status(job.uid).prettyText)")
    #expect(
      cluster.status(job.uid).at("containerStatuses")?[0]?.at("state", "terminated", "reason") == "Completed")
    try #require(await eventually { cluster.status(failed.uid)["phase"]?.string == "Failed" })
    #expect(
      cluster.status(failed.uid).at("containerStatuses")?[0]?.at("state", "terminated", "exitCode") == 7)
    try #require(
      await eventually { cluster.status(ordered.uid)["phase"]?.string == "Running" },
      "\(cluster.status(ordered.uid).prettyText)")
    #expect(try await eventually { try await logs(agent, "ordered", "main") == "one\ntwo\n" })
    #expect(Self.condition(cluster.status(ordered.uid), "Initialized") == "True")
    try #require(
      await eventually {
        cluster.status(missing.uid)["containerStatuses"]?[0]?.at("state", "waiting", "reason")
          == "ErrImageNeverPull"
      })
    try #require(
      await eventually {
        let state = cluster.status(crash.uid)["containerStatuses"]?[0]
        return state?.at("state", "waiting", "reason") == "CrashLoopBackOff"
          && (state?["restartCount"]?.int ?? 0) >= 2
      }, "\(cluster.status(crash.uid).prettyText)")
    let crashed = cluster.status(crash.uid)["containerStatuses"]?[0]
    #expect(crashed?.at("lastState", "terminated", "exitCode") == 3)
    #expect(cluster.reasons.contains("BackOff"))
    var previous = LogOptions()
    previous.previous = true
    #expect(try await logs(agent, "crash", "main", previous) == "run\n")

    await agent.stop(keepPods: false)
    #expect(leftovers(node) == [])
  }

  @Test(.timeLimit(.minutes(3)))
  func `pods outlive the agent, are adopted, survive containerd, and orphans go`() async throws {
    let node = LiveNode()
    defer { node.remove() }
    let cluster = node.cluster
    let first = node.agent()
    try await first.start()
    let kept = node.pod(
      "kept", [container("main", "sleep 1000", extra: ["readinessProbe": ["exec": ["command": ["true"]]]])])
    let orphan = node.pod("orphan", [container("main", "sleep 1000")])
    for pod in [kept, orphan] { cluster.apply(pod) }
    try #require(
      await eventually {
        Self.condition(cluster.status(kept.uid), "Ready") == "True"
          && cluster.status(orphan.uid)["phase"] == "Running"
      },
      "\(cluster.status(kept.uid).prettyText)")
    let id = cluster.status(kept.uid)["containerStatuses"]?[0]?["containerID"]
    await first.stop(keepPods: true)

    // While nobody looked, one pod left the API.
    try await cluster.finishDeletion(orphan)
    let second = node.agent()
    let begin = ContinuousClock.now
    try await second.start()
    print("agent restarted on running pods in \(ContinuousClock.now - begin)")
    try #require(
      await eventually { !exists("\(node.directory)/data/pods/\(orphan.uid)") }, "the orphan is removed")
    #expect(cluster.status(kept.uid)["containerStatuses"]?[0]?["containerID"] == id)
    #expect(cluster.status(kept.uid)["containerStatuses"]?[0]?["restartCount"] == 0)

    // containerd is killed: it comes back, and the pod did not notice.
    let pid =
      pid_t(readText("\(node.directory)/run/containerd/containerd.pid").split(separator: "\n").first ?? "")
      ?? 0
    try #require(pid > 1)
    kill(pid, SIGKILL)
    try #require(
      await eventually {
        let now =
          pid_t(
            readText("\(node.directory)/run/containerd/containerd.pid").split(separator: "\n").first ?? "")
          ?? 0
        return now != pid && now > 0
      })
    // Until it listens again, a call says that it is not available.
    #expect(
      await eventually {
        let answer = try? await second.exec(
          namespace: "test", pod: "kept", container: "main", command: ["echo", "alive"])
        return answer.map { String(decoding: $0.output, as: UTF8.self) } == "alive\n"
      })
    #expect(cluster.status(kept.uid)["containerStatuses"]?[0]?["containerID"] == id)

    // One connection carries many short calls, one after the other: none is lost to the HTTP/2 library's guards.
    let cri = try CRIClient(socketPath: node.settings.containerd.socketPath, metrics: Metrics())
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 { group.addTask { for _ in 0..<150 { _ = try await cri.version() } } }
      try await group.waitForAll()
    }
    cri.close()

    await second.stop(keepPods: false)
    #expect(leftovers(node) == [])
  }

  @Test(.timeLimit(.minutes(3)))
  func `a pod with a network of its own has its name, resolver, hosts file and limits`()
    async throws
  {
    let node = LiveNode()
    defer { node.remove() }
    node.installTestNetwork()
    let agent = node.agent()
    let cluster = node.cluster
    try await agent.start()
    var pod = node.pod(
      "net",
      [
        [
          "name": "main", "image": JSON(DemoImage.demoReference), "args": ["serve", "8080"],
          "ports": [["name": "http", "containerPort": 8080]],
          "resources": ["limits": ["memory": "64Mi", "cpu": "500m"]],
          "readinessProbe": ["httpGet": ["path": "/", "port": "http"], "periodSeconds": 1],
        ]
      ])
    pod.set(nil, at: "spec", "hostNetwork")
    let start = ContinuousClock.now
    cluster.apply(pod)
    try #require(
      await eventually { Self.condition(cluster.status(pod.uid), "Ready") == "True" },
      "\(cluster.status(pod.uid).prettyText) \(cluster.events.map { $0.reason + ": " + $0.message })")
    print("pod with a network, create to Ready: \(ContinuousClock.now - start)")
    #expect(cluster.status(pod.uid)["podIP"] == "10.99.0.2")
    #expect(cluster.status(pod.uid)["qosClass"] == "Guaranteed")
    func exec(_ script: String) async throws -> String {
      let result = try await agent.exec(
        namespace: "test", pod: "net", container: "main", command: ["sh", "-c", script])
      return String(decoding: result.output + result.errors, as: UTF8.self)
    }
    #expect(try await exec("hostname") == "net\n")
    let resolver = try await exec("cat /etc/resolv.conf")
    #expect(resolver.contains("nameserver 10.43.0.10") && resolver.contains("ndots:5"), "\(resolver)")
    #expect(resolver.contains("search test.svc.cluster.local svc.cluster.local cluster.local"), "\(resolver)")
    #expect(try await exec("cat /etc/hosts").contains("10.99.0.2\tnet\n"))
    // The demo's answer: who answered, from where, to whom.
    let page = try await exec("wget -q -O- http://10.99.0.2:8080/some/path/")
    #expect(page.hasPrefix("pod: net\naddress: 10.99.0.2\nclient: 10.99.0.2"), "\(page)")
    #expect(page.contains("request: GET /some/path/"), "\(page)")
    if exists("/sys/fs/cgroup/memory") {
      let limit = readText(
        "/sys/fs/cgroup/memory/\(node.name)/pod\(pod.uid)/"
          + (cluster.status(pod.uid)["containerStatuses"]?[0]?["containerID"]?.string?.dropFirst(13) ?? "")
          + "/memory.limit_in_bytes")
      #expect(limit == "67108864\n")
    }

    // Twenty at once.
    let many = (0..<20).map {
      node.pod("many\($0)", [container("main", "trap 'exit 0' TERM; sleep 1000 & wait")])
    }
    let burst = ContinuousClock.now
    for pod in many { cluster.apply(pod) }
    try #require(
      await eventually(.seconds(60)) { many.allSatisfy { cluster.status($0.uid)["phase"] == "Running" } })
    print("20 pods at once, all Running: \(ContinuousClock.now - burst)")
    let ending = ContinuousClock.now
    for pod in many + [pod] { cluster.delete(pod.uid, graceSeconds: 5) }
    try #require(await eventually(.seconds(60)) { (many + [pod]).allSatisfy { cluster.isDeleted($0.uid) } })
    print("21 pods deleted: \(ContinuousClock.now - ending)")

    await agent.stop(keepPods: false)
    #expect(leftovers(node) == [])
  }

  static func condition(_ status: JSON, _ type: String) -> String? {
    status["conditions"]?.elements.first { $0["type"]?.string == type }?["status"]?.string
  }

  func logs(_ agent: NodeAgent, _ pod: String, _ container: String, _ options: LogOptions = LogOptions())
    async throws -> String
  {
    var bytes: [UInt8] = []
    for await piece in try await agent.readLogs(
      namespace: "test", pod: pod, container: container, options: options)
    {
      bytes += piece
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  func readText(_ path: String) -> String {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var out: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while case let count = read(descriptor, &chunk, chunk.count), count > 0 { out += chunk[..<count] }
    return String(decoding: out, as: UTF8.self)
  }

  /// Processes, mounts and control groups that name the node's directories.
  func leftovers(_ node: LiveNode) -> [String] {
    var found: [String] = []
    for entry in names("/proc") where Int(entry) != nil {
      let line = readText("/proc/\(entry)/cmdline").split(separator: "\0").joined(separator: " ")
      if line.contains(node.directory) { found.append("process \(entry) \(line)") }
    }
    for line in readText("/proc/self/mounts").split(separator: "\n") where line.contains(node.directory) {
      found.append("mount \(line)")
    }
    for hierarchy in names("/sys/fs/cgroup") where exists("/sys/fs/cgroup/\(hierarchy)/\(node.name)") {
      found.append("cgroup \(hierarchy)/\(node.name)")
    }
    return found
  }

  func names(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var out: [String] = []
    while let entry = readdir(directory) {
      out.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return out
  }
}

// Pods of which each shows a duty of the node, on one real containerd: the signal that ends a container, host names, groups of volumes and
// parts of them, seccomp, control groups of pods, manifests of a server, the health port; at last a runtime that hangs.

import CLinux
import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import Synchronization
import Testing

@testable import ClusterNode

@Suite(.serialized, .timeLimit(.minutes(8))) struct NodeRowsLiveTests {
  /// A busy machine takes its time to start some pods.
  private let patience: Duration = .seconds(150)

  @Test
  func
    `signals, names, groups, parts, profiles and shares are as pods ask, and a runtime that hangs is told`()
    async throws
  {
    var node = LiveNode()
    defer { node.remove() }
    node.installTestNetwork()
    node.settings.seccompDirectory = node.directory + "/seccomp"
    node.settings.staticPodURL = ManifestURL("http://127.0.0.1:8099/pods.yaml")
    node.settings.staticPodURLInterval = .milliseconds(200)
    node.settings.podPIDsMax = 500
    let cluster = node.cluster
    cluster.isFollowed.store(true, ordering: .releasing)
    let mirrors = FakeMirrors()
    let settings = node.settings
    let source = StaticPodSource(
      own: StaticPods(settings, mirrors: mirrors, sink: cluster), source: cluster, sink: cluster)
    let agent = node.agent(source: source, sink: source)
    try await agent.start()

    let signalled = signalledPods(node)
    let named = namedPods(node)
    let owned = ownedPods(node)
    try profile(node)
    let confined = confinedPod(node)
    for pod in signalled + named + owned + [confined, manifests(node, "1")] { cluster.apply(pod) }
    try await groups(node, agent, owned[0])
    try await names(node, agent, named)
    try await profiles(agent)
    try await server(node, mirrors)
    try await signals(node, signalled)
    health(node)
    try await hangs(node, agent)
    await agent.stop(keepPods: false)
    for hierarchy in Files.list("/sys/fs/cgroup") {
      #expect(!Files.exists("/sys/fs/cgroup/\(hierarchy)/\(node.name)"), "\(hierarchy)")
    }
  }

  private func text(_ agent: NodeAgent, _ pod: String, _ command: String) async -> String {
    let result = try? await agent.exec(
      namespace: "test", pod: pod, container: "main", command: ["/bin/sh", "-c", command])
    return result.map { String(decoding: $0.output + $0.errors, as: UTF8.self) } ?? "(no answer)"
  }

  private func isRunning(_ node: LiveNode, _ pod: JSON) async throws {
    let runs = await eventually(patience) { node.cluster.status(pod.uid)["phase"] == "Running" }
    try #require(
      runs,
      "\(node.cluster.status(pod.uid).prettyText) \(node.cluster.events.map { $0.reason + ": " + $0.message })"
    )
  }

  // MARK: Signals

  private func signalledPods(_ node: LiveNode) -> [JSON] {
    func pod(_ name: String, _ traps: String) -> JSON {
      node.pod(
        name,
        [
          container(
            "main", "\(traps); touch /out/\(name).up; while :; do sleep 0.1; done",
            extra: [
              "lifecycle": ["stopSignal": "SIGUSR1"],
              "volumeMounts": [["name": "out", "mountPath": "/out"]],
            ])
        ],
        extra: [
          "os": ["name": "linux"],
          "volumes": [
            [
              "name": "out",
              "hostPath": ["path": JSON(node.directory + "/out"), "type": "DirectoryOrCreate"],
            ]
          ],
        ])
    }
    return [
      pod("obeys", "trap 'echo usr1 >>/out/obeys; exit 0' USR1; trap 'echo term >>/out/obeys; exit 0' TERM"),
      pod("deaf", "trap 'echo usr1 >>/out/deaf' USR1; trap 'echo term >>/out/deaf' TERM"),
    ]
  }

  private func signals(_ node: LiveNode, _ pods: [JSON]) async throws {
    for pod in pods {
      try await isRunning(node, pod)
      #expect(
        await eventually(patience) { Files.exists("\(node.directory)/out/\(pod.name).up") })
      #expect(node.cluster.status(pod.uid)["containerStatuses"]?[0]?["stopSignal"] == "SIGUSR1")
    }
    // Long enough that only one that obeys is gone before.
    node.cluster.delete(pods[0].uid, graceSeconds: 600)
    node.cluster.delete(pods[1].uid, graceSeconds: 1)
    for pod in pods {
      try #require(await eventually(patience) { node.cluster.isDeleted(pod.uid) }, "\(pod.name)")
      #expect(Files.readText("\(node.directory)/out/\(pod.name)") == "usr1\n", "\(pod.name)")
    }
  }

  // MARK: Names

  private func namedPods(_ node: LiveNode) -> [JSON] {
    func pod(_ name: String, _ extra: [String: JSON]) -> JSON {
      var more = extra
      more["hostNetwork"] = false
      return node.pod(name, [container("main", "sleep 1000")], extra: more)
    }
    let long = String(repeating: "long", count: 12)
    return [
      pod("full", ["hostname": "h", "subdomain": "web", "setHostnameAsFQDN": true]),
      pod("short", ["hostname": "h", "subdomain": "web"]),
      pod("too-long", ["subdomain": JSON(long), "setHostnameAsFQDN": true]),
    ]
  }

  private func names(_ node: LiveNode, _ agent: NodeAgent, _ pods: [JSON]) async throws {
    try await isRunning(node, pods[0])
    try await isRunning(node, pods[1])
    #expect(
      await text(agent, "full", "hostname; uname -n")
        == "h.web.test.svc.cluster.local\nh.web.test.svc.cluster.local\n")
    #expect(await text(agent, "short", "hostname") == "h\n")
    #expect(await text(agent, "full", "cat /etc/hosts").contains("\th.web.test.svc.cluster.local\th\n"))
    let refused = await eventually(patience) {
      node.cluster.events.contains {
        $0.reason == "FailedCreatePodSandBox"
          && $0.message.hasPrefix(
            "Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster domain")
      }
    }
    #expect(refused, "\(node.cluster.events.map(\.message))")
    #expect(node.cluster.status(pods[2].uid)["phase"] == "Pending")
  }

  // MARK: Groups and parts of volumes, control groups

  private func ownedPods(_ node: LiveNode) -> [JSON] {
    node.cluster.put(
      "secret", ["metadata": ["name": "key", "namespace": "test"], "data": ["password": "c2VjcmV0"]])
    let volumes: JSON = [
      ["name": "work", "emptyDir": [:]],
      ["name": "key", "secret": ["secretName": "key", "defaultMode": 256]],
    ]
    let owned = node.pod(
      "owned",
      [
        container(
          "main", "sleep 1000",
          extra: [
            "env": [["name": "ME", "value": "mine"]],
            "resources": [
              "requests": ["cpu": "250m", "memory": "16Mi"], "limits": ["cpu": "500m", "memory": "64Mi"],
            ],
            "volumeMounts": [
              ["name": "work", "mountPath": "/all"],
              ["name": "work", "mountPath": "/part", "subPath": "a/b"],
              ["name": "work", "mountPath": "/named", "subPathExpr": "of-$(ME)"],
              ["name": "key", "mountPath": "/password", "subPath": "password"],
              ["name": "key", "mountPath": "/key"],
            ],
          ])
      ],
      extra: [
        "volumes": volumes, "securityContext": ["runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000],
      ]
    )
    let escaping = node.pod(
      "escaping",
      [
        container(
          "main", "sleep 1000",
          extra: ["volumeMounts": [["name": "work", "mountPath": "/part", "subPath": "out"]]])
      ],
      extra: [
        "volumes": volumes,
        "initContainers": [
          container(
            "links", "ln -s /etc /all/out",
            extra: ["volumeMounts": [["name": "work", "mountPath": "/all"]]])
        ],
      ])
    return [owned, escaping]
  }

  private func groups(_ node: LiveNode, _ agent: NodeAgent, _ pod: JSON) async throws {
    try await isRunning(node, pod)
    #expect(await text(agent, "owned", "id -u; id -G") == "1000\n1000 2000\n")
    #expect(
      await text(
        agent, "owned", "echo x >/part/file && echo y >/named/file && cat /all/a/b/file /all/of-mine/file")
        == "x\ny\n")
    #expect(await text(agent, "owned", "stat -L -c %g /all /part/file /key/password") == "2000\n2000\n2000\n")
    // 0400 becomes 0440, so that the group reads it.
    #expect(await text(agent, "owned", "cat /key/password; cat /password") == "secretsecret")
    let refused = await eventually(patience) {
      node.cluster.status("uid-escaping-\(node.name)")["containerStatuses"]?[0]?.at("state", "waiting")
        == ["reason": "CreateContainerConfigError", "message": "subPath \"out\" leaves its volume"]
    }
    #expect(refused, "\(node.cluster.status("uid-escaping-\(node.name)").prettyText)")

    // What the pod asks for as a whole, and its class beside the others.
    guard Files.exists("/sys/fs/cgroup/cpu/\(node.name)") else { return }
    func value(_ hierarchy: String, _ path: String) -> String {
      (Files.readText("/sys/fs/cgroup/\(hierarchy)/\(node.name)\(path)") ?? "").filter { $0 != "\n" }
    }
    let group = "/burstable/pod\(pod.uid)"
    #expect(value("cpu", group + "/cpu.shares") == "256")
    #expect(value("cpu", group + "/cpu.cfs_quota_us") == "50000")
    #expect(value("memory", group + "/memory.limit_in_bytes") == "67108864")
    #expect(value("pids", group + "/pids.max") == "500")
    #expect(value("cpu", "/burstable/cpu.shares") == "256" && value("cpu", "/besteffort/cpu.shares") == "2")
  }

  // MARK: Profiles

  private func profile(_ node: LiveNode) throws {
    try Files.makeDirectory(node.directory + "/seccomp")
    try Files.write(
      node.directory + "/seccomp/no-links.json",
      #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["symlink","symlinkat"],"action":"SCMP_ACT_ERRNO"}]}"#
    )
  }

  private func confinedPod(_ node: LiveNode) -> JSON {
    node.pod(
      "confined",
      [
        container("main", "sleep 1000"),
        container(
          "free", "sleep 1000", extra: ["securityContext": ["seccompProfile": ["type": "Unconfined"]]]),
        container(
          "own", "sleep 1000",
          extra: [
            "securityContext": [
              "seccompProfile": ["type": "Localhost", "localhostProfile": "no-links.json"]
            ]
          ]),
      ], extra: ["securityContext": ["seccompProfile": ["type": "RuntimeDefault"]]])
  }

  private func profiles(_ agent: NodeAgent) async throws {
    func run(_ container: String, _ command: String) async -> String {
      let result = try? await agent.exec(
        namespace: "test", pod: "confined", container: container, command: ["/bin/sh", "-c", command])
      return result.map { String(decoding: $0.output + $0.errors, as: UTF8.self) } ?? "(no answer)"
    }
    let state = "grep Seccomp: /proc/self/status"
    #expect(await eventually(patience) { await run("own", "true") == "" })
    #expect(await run("main", state) == "Seccomp:\t2\n")
    #expect(await run("free", state) == "Seccomp:\t0\n")
    #expect(
      await run("own", "\(state); ln -s a /tmp/b 2>/dev/null || echo refused") == "Seccomp:\t2\nrefused\n")
    #expect(await run("free", "ln -s a /tmp/b && echo made") == "made\n")
  }

  // MARK: Manifests of a server

  /// The server is a pod, and what it says is a ConfigMap's.
  private func manifests(_ node: LiveNode, _ version: String) -> JSON {
    put(node, version)
    return node.pod(
      "server",
      [
        container(
          "main", "httpd -f -p 127.0.0.1:8099 -h /www",
          extra: ["volumeMounts": [["name": "www", "mountPath": "/www"]]])
      ], extra: ["volumes": [["name": "www", "configMap": ["name": "manifests"]]]])
  }

  private func put(_ node: LiveNode, _ version: String) {
    node.cluster.put(
      "configMap",
      [
        "kind": "ConfigMap",
        "metadata": ["name": "manifests", "namespace": "test", "resourceVersion": JSON(version)],
        "data": [
          "pods.yaml": JSON(
            """
            apiVersion: v1
            kind: Pod
            metadata: {name: told, namespace: test}
            spec:
              hostNetwork: true
              terminationGracePeriodSeconds: 0
              containers: [{name: main, image: "\(DemoImage.demoReference)", command: [sleep, "100\(version)"]}]
            """)
        ],
      ])
  }

  private func server(_ node: LiveNode, _ mirrors: FakeMirrors) async throws {
    /// The uid is the manifest's digest: the status is that of its mirror.
    func told() -> JSON? {
      mirrors.mirrors.first {
        $0.name == "told-\(node.name)" && node.cluster.status($0.uid)["phase"] == "Running"
      }
    }
    let isThere = await eventually(patience) { told() != nil }
    try #require(isThere, "\(mirrors.mirrors) \(node.cluster.events.map(\.message))")
    let first = told()?.annotations["kubernetes.io/config.mirror"]
    put(node, "2")
    let isChanged = await eventually(patience) {
      told().map { $0.annotations["kubernetes.io/config.mirror"] != first } ?? false
    }
    #expect(isChanged, "\(mirrors.mirrors)")
  }

  // MARK: Health

  private func health(_ node: LiveNode) {
    func ask(_ path: String) -> Int32 {
      run(
        "ip", "netns", "exec", node.name, "sh", "-c",
        "test \"$(busybox wget -q -O- http://127.0.0.1:10248\(path))\" = ok")
    }
    #expect(ask("/healthz") == 0)
    #expect(ask("/pods") != 0)
    // Of all addresses the loopback alone.
    #expect(run("sh", "-c", "ip netns exec \(node.name) ss -ltnH | grep -q '127.0.0.1:10248 '") == 0)
  }

  /// containerd is stopped in the middle: the node says so, and is well when it goes on.
  private func hangs(_ node: LiveNode, _ agent: NodeAgent) async throws {
    let cri = try CRIClient(socketPath: node.settings.containerd.socketPath, metrics: Metrics())
    defer { cri.close() }
    let api = MemoryClusterAPI()
    let registrar = NodeRegistrar(api, node.settings, cri, certificateDigest: nil)
    func ready() async throws -> JSON? {
      try await registrar.register()
      try await registrar.writeStatus(failure: await registrar.runtimeFailure(), force: false)
      return api.objects(.nodes).first?.status["conditions"]?.elements.first { $0["type"] == "Ready" }
    }
    #expect(try await eventually(patience) { try await ready()?["status"] == "True" })
    let words = Files.readText("\(node.directory)/run/containerd/containerd.pid")?.split(separator: "\n")
    let pid = try #require(words?.first.flatMap { pid_t($0) })
    kill(pid, SIGSTOP)
    let hung = try await ready()
    kill(pid, SIGCONT)
    #expect(hung?["status"] == "False" && hung?["reason"] == "KubeletNotReady", "\(hung ?? .null)")
    #expect(hung?["message"] == "container runtime is down")
    #expect(try await eventually(patience) { try await ready()?["status"] == "True" })
    #expect(await eventually(patience) { await text(agent, "owned", "echo well") == "well\n" })
  }
}

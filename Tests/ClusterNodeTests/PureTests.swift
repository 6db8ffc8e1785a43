// The parts that compute: environments, quantities, volumes, archives, logs, probes, configuration.

import Addresses
import ClusterObjects
import GRPCWindowProbe
import NIOCore
import Testing

@testable import ClusterNode

@Suite struct EnvironmentTests {
  @Test(arguments: [
    ("$(A)", "1"), ("x$(A)y$(B)z", "x1y2z"), ("$(NONE)", "$(NONE)"), ("$$(A)", "$(A)"), ("$", "$"),
    ("$(A", "$(A"),
    ("cost $5", "cost $5"), ("$$$(A)", "$1"),
  ])
  func `variables are expanded as Kubernetes does`(text: String, result: String) {
    #expect(expandVariables(text, ["A": "1", "B": "2"]) == result)
  }

  @Test func `a later variable wins, sees earlier ones, and references are read`() throws {
    let pod: JSON = [
      "metadata": ["name": "web", "namespace": "demo", "labels": ["app": "x"]],
      "status": ["podIP": "10.42.0.7"],
    ]
    let container: JSON = [
      "envFrom": [["prefix": "P_", "configMapRef": ["name": "map"]]],
      "env": [
        ["name": "IP", "valueFrom": ["fieldRef": ["fieldPath": "status.podIP"]]],
        ["name": "URL", "value": "http://$(IP)/$(P_path)"],
        ["name": "LABEL", "valueFrom": ["fieldRef": ["fieldPath": "metadata.labels['app']"]]],
        [
          "name": "MEMORY",
          "valueFrom": ["resourceFieldRef": ["resource": "limits.memory", "divisor": "1Mi"]],
        ],
        // The API writes a divisor of zero where there is none.
        [
          "name": "BYTES",
          "valueFrom": ["resourceFieldRef": ["resource": "limits.memory", "divisor": "0"]],
        ],
        ["name": "GONE", "valueFrom": ["secretKeyRef": ["name": "none", "key": "k", "optional": true]]],
      ],
      "resources": ["limits": ["memory": "64Mi"]],
    ]
    let environment = try planEnvironment(
      container, pod: pod, services: [("IP", "old")], capacity: [:],
      data: { kind, name in kind == "configMap" && name == "map" ? ["path": Array("home".utf8)] : nil })
    #expect(
      environment.map { "\($0.0)=\($0.1)" } == [
        "IP=10.42.0.7", "P_path=home", "URL=http://10.42.0.7/home", "LABEL=x", "MEMORY=64",
        "BYTES=67108864",
      ])
  }

  @Test func `a missing secret is named`() {
    let container: JSON = ["env": [["name": "A", "valueFrom": ["secretKeyRef": ["name": "s", "key": "k"]]]]]
    let error = #expect(throws: MissingReference.self) {
      try planEnvironment(container, pod: [:], services: [], capacity: [:], data: { _, _ in nil })
    }
    #expect(error?.message == "secret \"s\" not found")
  }

  @Test func `a Service becomes the variables that clients expect`() {
    let service: JSON = [
      "metadata": ["name": "my-db", "namespace": "demo"],
      "spec": ["clusterIP": "10.43.1.2", "ports": [["name": "sql", "port": 5432, "protocol": "TCP"]]],
    ]
    let names = Dictionary(
      planServiceEnvironment([service], namespace: "demo", allServices: true), uniquingKeysWith: { $1 })
    #expect(names["MY_DB_SERVICE_HOST"] == "10.43.1.2" && names["MY_DB_SERVICE_PORT_SQL"] == "5432")
    #expect(names["MY_DB_PORT"] == "tcp://10.43.1.2:5432" && names["MY_DB_PORT_5432_TCP_ADDR"] == "10.43.1.2")
    #expect(planServiceEnvironment([service], namespace: "other", allServices: true).isEmpty)
  }
}

@Suite struct QuantityTests {
  @Test(arguments: [
    ("250m", 250), ("1", 1000), ("1.5", 1500), ("64Mi", 67_108_864_000), ("1e3", 1_000_000),
    ("2k", 2_000_000),
    ("100n", 1),
  ])
  func `quantities are read in thousandths`(text: String, milli: Int64) {
    #expect(Amount.milli(text) == milli)
  }

  @Test(arguments: ["", "Mi", "one", "--1", "1e999"])
  func `what is no quantity is refused`(text: String) {
    #expect(Amount.milli(text) == nil)
  }
}

@Suite struct ImageTests {
  @Test func `a tar header is ustar with its checksum`() {
    var tar = TarWriter()
    tar.file("hello", "hi", mode: 0o644)
    tar.link("link", to: "hello")
    let bytes = tar.finish()
    #expect(bytes.count == 512 + 512 + 512 + 1024)
    // Name, mode, size in octal, kind, magic.
    #expect(Array(bytes[0..<5]) == Array("hello".utf8) && bytes[156] == UInt8(ascii: "0"))
    #expect(String(decoding: bytes[124..<135], as: UTF8.self) == "00000000002")
    #expect(String(decoding: bytes[257..<262], as: UTF8.self) == "ustar")
    let sum = bytes[0..<148].reduce(0) { $0 + Int($1) } + 8 * 32 + bytes[156..<512].reduce(0) { $0 + Int($1) }
    #expect(Int(String(decoding: bytes[148..<154], as: UTF8.self), radix: 8) == sum)
    #expect(bytes[1024 + 156] == UInt8(ascii: "2"))
  }

  @Test func `digests are SHA-256`() {
    #expect(
      OCIImage.digest(Array("abc".utf8))
        == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  @Test func `the same image gives the same archive, and its name is in the index`() {
    let image = DemoImage.demo([1, 2, 3], applets: ["sh"])
    let bytes = image.archive()
    #expect(bytes == DemoImage.demo([1, 2, 3], applets: ["sh"]).archive())
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(text.contains("\"io.containerd.image.name\":\"weft.local/demo:1\""))
    #expect(text.contains("application/vnd.oci.image.layer.v1.tar"))
  }

  @Test(arguments: [
    ("a:latest", "Always"), ("a", "Always"), ("a:1", "IfNotPresent"), ("h:5000/a", "Always"),
    ("a@sha256:00", "IfNotPresent"),
  ])
  func `the pull policy follows the tag`(image: String, policy: String) {
    #expect(ContainerSpec(tree: ["image": JSON(image)], role: .main).pullPolicy == policy)
  }
}

@Suite struct VolumeTests {
  @Test func `projected sources become one folder`() throws {
    let volume: JSON = [
      "name": "v",
      "projected": [
        "sources": [
          ["configMap": ["name": "ca", "items": [["key": "ca.crt", "path": "ca.crt"]]]],
          ["serviceAccountToken": ["path": "token"]],
          [
            "downwardAPI": [
              "items": [["path": "namespace", "fieldRef": ["fieldPath": "metadata.namespace"]]]
            ]
          ],
        ]
      ],
    ]
    var data = PodData()
    data.objects["configMap/ca"] = ["ca.crt": [1], "other": [2]]
    data.tokens[TokenWish(audience: "", seconds: 3600)] = "t"
    let files = try planVolumeFiles(
      volume, pod: ["metadata": ["namespace": "demo"]], data: data, capacity: [:])
    #expect(files?.map(\.path) == ["ca.crt", "token", "namespace"])
    #expect(files?.last?.bytes == Array("demo".utf8))
  }

  @Test func `a token is replaced after four fifths of its life, and used longer only in need`() {
    let wish = TokenWish(audience: "", seconds: 600)
    var tokens = PodTokens()
    #expect(tokens.fresh(wish, now: 0) == nil && tokens.usable(wish, now: 0) == nil)
    tokens.keep(PodToken(text: "t", end: 600), for: wish, now: 0)
    #expect(tokens.fresh(wish, now: 469) == "t")
    #expect(tokens.fresh(wish, now: 480) == nil)
    #expect(tokens.usable(wish, now: 599) == "t")
    #expect(tokens.usable(wish, now: 600) == nil)
    #expect(tokens.fresh(TokenWish(audience: "vault", seconds: 600), now: 1) == nil)
    tokens.retain([])
    #expect(tokens.usable(wish, now: 1) == nil)
  }

  @Test(
    arguments: [
      (0, 600, 480), (0, 3607, 2885), (0, 1_000_000, 86_400), (100, 100, 100), (100, 50, 100),
      (100, 101, 101),
    ] as [(Int64, Int64, Int64)])
  func `the moment to replace a token`(now: Int64, end: Int64, moment: Int64) {
    #expect(PodTokens.refreshMoment(now: now, end: end, jitter: 0) == moment)
    #expect(PodTokens.refreshMoment(now: now, end: nil, jitter: 0) == now + 86_400)
  }

  @Test(arguments: ["../x", "/etc/passwd", "a/../../b", ""])
  func `a path that leaves its volume is refused`(path: String) {
    #expect(!isSafeRelativePath(path))
  }
}

@Suite struct LogTests {
  private let file = Array(
    """
    2026-01-01T00:00:01.000000001Z stdout F one
    2026-01-01T00:00:02.000000001Z stderr F two
    2026-01-01T00:00:03.000000001Z stdout P thr
    2026-01-01T00:00:03.000000002Z stdout F ee

    """.utf8)

  private func shown(_ options: LogOptions, now: Int64 = 1_767_225_604) -> String {
    var filter = LogFilter(options, now: now)
    return String(decoding: filter.add(file), as: UTF8.self)
  }

  @Test func `entries are shown without their heads, parts joined`() {
    #expect(shown(LogOptions()) == "one\ntwo\nthree\n")
  }

  @Test func `streams, times and limits are kept`() {
    var options = LogOptions()
    options.stream = "Stderr"
    #expect(shown(options) == "two\n")
    options = LogOptions()
    options.sinceSeconds = 2
    #expect(shown(options) == "two\nthree\n")
    options = LogOptions()
    options.limitBytes = 6
    #expect(shown(options) == "one\ntw")
    options = LogOptions()
    options.timestamps = true
    #expect(shown(options).hasPrefix("2026-01-01T00:00:01.000000001Z one\n"))
  }

  @Test(arguments: [(0, ""), (1, "c\n"), (2, "b\nc\n"), (9, "a\nb\nc\n")])
  func `a tail begins at a line`(lines: Int, text: String) {
    let bytes = Array("a\nb\nc\n".utf8)
    #expect(String(decoding: bytes[tailOffset(bytes, lines: lines)...], as: UTF8.self) == text)
  }

  @Test func `a log that is no log is shown as it is, and never traps`() {
    var filter = LogFilter(LogOptions(), now: 0)
    #expect(filter.add(Array("garbage\n\n\u{0}\n".utf8)) == Array("garbage\n\n\u{0}\n".utf8))
  }
}

@Suite struct ProbeTests {
  @Test func `defaults are upstream's and named ports are found`() {
    let container = ContainerSpec(
      tree: [
        "ports": [["name": "http", "containerPort": 8080]],
        "readinessProbe": ["httpGet": ["port": "http", "path": "/ok"]],
      ], role: .main)
    let probe = ProbeSpec(.readiness, container)
    #expect(probe?.action == .http(HTTPProbe(isSecure: false, port: 8080, path: "/ok")))
    #expect(probe?.period == 10 && probe?.timeout == 1 && probe?.failureThreshold == 3)
    #expect(ProbeSpec(.liveness, container) == nil)
  }

  @Test func `a verdict needs its threshold of results in a row`() throws {
    let container = ContainerSpec(tree: ["livenessProbe": ["tcpSocket": ["port": 1]]], role: .main)
    let probe = try #require(ProbeSpec(.liveness, container))
    var count = ProbeCount()
    let changes = [true, false, false, true, false, false, false].map { count.add($0, probe) }
    #expect(changes == [true, false, false, false, false, false, true])
    #expect(count.verdict == false)
  }
}

@Suite struct SandboxPlanTests {
  private let settings = NodeSettings(nodeName: "n", addresses: [])

  @Test func `cluster DNS is first, the node's search list last`() {
    let pod: JSON = ["metadata": ["name": "web", "namespace": "demo"], "spec": [:]]
    let dns = planDNS(pod, settings: settings, nodeResolver: "search example.com\nnameserver 192.0.2.53\n")
    #expect(dns.servers == ["10.43.0.10"] && dns.options == ["ndots:5"])
    #expect(dns.searches == ["demo.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"])
  }

  @Test func `a pod on the node's network uses the node's resolver and no host name`() throws {
    let spec = PodSpec([
      "metadata": ["name": "p", "namespace": "d", "uid": "u"], "spec": ["hostNetwork": true],
    ])
    let config = try planSandbox(spec, attempt: 0, settings: settings, nodeResolver: "nameserver 192.0.2.53")
    #expect(config.hostname.isEmpty && config.dnsConfig.servers == ["192.0.2.53"])
    #expect(config.linux.securityContext.namespaceOptions.pid == .container)
  }

  @Test func `limits become quota and bytes, requests become shares`() {
    let tree: JSON = [
      "resources": ["limits": ["cpu": "500m", "memory": "64Mi"], "requests": ["cpu": "250m"]]
    ]
    let resources = planResources(tree, qosClass: "Burstable", memoryCapacity: 1 << 30)
    #expect(resources.cpuShares == 256 && resources.cpuQuota == 50000 && resources.cpuPeriod == 100_000)
    #expect(resources.memoryLimitInBytes == 67_108_864 && (3...999).contains(resources.oomScoreAdj))
  }

  @Test func `the hosts file names the pod`() {
    let pod: JSON = [
      "metadata": ["name": "web-0", "namespace": "demo"],
      "spec": ["subdomain": "web", "hostAliases": [["ip": "192.0.2.9", "hostnames": ["x", "y"]]]],
    ]
    let text = planHostsFile(pod, addresses: ["10.42.0.7"], clusterDomain: "cluster.local")
    #expect(
      text.contains("10.42.0.7\tweb-0.web.demo.svc.cluster.local\tweb-0\n")
        && text.contains("192.0.2.9\tx\ty\n"))
  }

  @Test func `containerd is told to live with few privileges and quotes its paths`() {
    var containerd = ContainerdSettings(dataDirectory: "/data", runDirectory: "/run/a\"b")
    containerd.cniBinDirectory = "/bin/cni"
    let text = planContainerdConfig(containerd)
    #expect(text.contains("restrict_oom_score_adj = true") && text.contains("disable_apparmor = true"))
    #expect(
      text.contains("address = \"/run/a\\\"b/containerd.sock\"") && text.contains("bin_dir = \"/bin/cni\""))
  }
}

@Suite struct NodeObjectTests {
  private let machine = MachineInfo(
    cpus: 2, memoryBytes: 4 << 30, memoryAvailableBytes: 2 << 30, diskBytes: 100, diskFreeBytes: 5,
    machineID: "m",
    bootID: "b", kernelVersion: "6.1", osImage: "Debian", runtimeVersion: "1.6")

  @Test func `a node says its labels, blocks and amounts`() {
    var settings = NodeSettings(nodeName: "n1", addresses: [])
    settings.podCIDRs = [IPPrefix("10.42.0.0/24")].compactMap { $0 }
    let node = planNode(settings)
    #expect(node.annotations["weft.dev/local-path"] == "/var/lib/weft/volumes")
    #expect(node.labels["kubernetes.io/hostname"] == "n1" && node.at("spec", "podCIDR") == "10.42.0.0/24")
    let health = planNodeHealth(failure: nil, [.pid, .disk])
    let status = planNodeStatus(
      settings, machine, health, images: [], old: .null, now: "2026-01-01T00:00:00Z")
    #expect(status.at("capacity", "cpu") == "2" && status.at("capacity", "pods") == "110")
    let conditions = Dictionary(
      (status["conditions"]?.elements ?? []).map { ($0["type"]?.string ?? "", $0["status"]?.string ?? "") },
      uniquingKeysWith: { $1 })
    #expect(
      conditions == [
        "Ready": "True", "MemoryPressure": "False", "DiskPressure": "True", "PIDPressure": "True",
      ])
  }

  @Test func `an attachment's line is read, with prefixes or without`() throws {
    let tree = try JSON(
      parsing:
        #"{"event":"add","namespace":"demo","pod":"web","containerID":"c","ifname":"eth0","ips":["10.42.0.7/24","fd00::7"]}"#
    )
    let attachment = try #require(CNIAttachment(tree))
    #expect(attachment.pod == "web" && attachment.addresses.map(\.description) == ["10.42.0.7", "fd00::7"])
    #expect(CNIAttachment(["pod": "x"]) == nil)
  }
}

@Suite struct WindowProbeFilterTests {
  @Test(arguments: [1, 2, 5, 64])
  func `bandwidth pings are taken out, everything else passes, however the bytes are cut`(piece: Int) {
    func frame(_ type: UInt8, _ flags: UInt8, _ payload: [UInt8]) -> [UInt8] {
      [0, 0, UInt8(payload.count), type, flags, 0, 0, 0, 1] + payload
    }
    let probe: [UInt8] = [2, 4, 16, 16, 9, 14, 7, 7]
    let data = frame(0, 0, [6, 0, 0, 8, 6])
    let alive = frame(6, 0, [0, 0, 0, 0, 0, 0, 0, 0])
    let answer = frame(6, 1, probe)
    let bytes = frame(4, 0, []) + data + frame(6, 0, probe) + alive + answer + frame(6, 0, probe) + data
    let filter = WindowProbeFilter()
    var rest = ByteBuffer()
    var out: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: piece) {
      rest.writeBytes(bytes[start..<min(start + piece, bytes.count)])
      out += Array(buffer: filter.filter(&rest))
    }
    #expect(out == frame(4, 0, []) + data + alive + answer + data)
    #expect(rest.readableBytes == 0)
  }

  @Test func `the kernel's line of a memory kill names its container`() throws {
    let id = "4f1c0de4f1c0de"
    let line =
      "6,1234,5678,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=\(id),mems_allowed=0,"
      + "oom_memcg=/kubepods/pod1/\(id),task_memcg=/kubepods/pod1/\(id),task=tail,pid=42,uid=0"
    #expect(KernelLog.isMemoryKill(line, of: id) && !KernelLog.isMemoryKill(line, of: "other"))
    #expect(!KernelLog.isMemoryKill("6,1,2,-;eth0: \(id)", of: id))
    let whole = line.replacing("CONSTRAINT_MEMCG", with: "CONSTRAINT_NONE")
    #expect(!KernelLog.isMemoryKill(whole, of: id), "the machine's memory, not the container's")
    #expect(!KernelLog.saysMemoryKill(of: id, path: "/nonexistent"))
  }
}

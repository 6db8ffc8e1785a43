// A node of its own for a test: a network namespace, a containerd with its own root, state and socket, an agent. Pods are
// pushed by hand and their statuses kept, so no API server is needed.

import Addresses
import CLinux
import ClusterNode
import ClusterObjects
import Diagnostics
import Glibc
import Synchronization

/// Pods pushed by the test; what the agent says of them.
final class FakeCluster: PodSource, PodStatusSink, PodObjects, Sendable {
  struct State {
    var statuses: [String: JSON] = [:]
    var deleted: Set<String> = []
    var events: [PodEvent] = []
    var objects: [String: JSON] = [:]
    var firstRunning: [String: ContinuousClock.Instant] = [:]
    var input: AsyncStream<PodChange>.Continuation?
    var followers: [UInt64: (key: String, input: AsyncStream<JSON?>.Continuation)] = [:]
  }
  /// Whether its objects can be followed, as those of an API server.
  let isFollowed = Atomic(false)
  private let state = Mutex(State())
  private let pods = Mutex<[String: JSON]>([:])

  func podChanges() -> AsyncStream<PodChange> {
    let (stream, input) = AsyncStream.makeStream(of: PodChange.self)
    // In this order a pod applied meanwhile is delivered twice rather than never.
    state.withLock { $0.input = input }
    for pod in pods.withLock({ Array($0.values) }) { input.yield(.desired(pod)) }
    input.yield(.synced)
    return stream
  }

  func apply(_ pod: JSON) {
    pods.withLock { $0[pod.uid] = pod }
    _ = state.withLock { $0.input?.yield(.desired(pod)) }
  }

  func delete(_ uid: String, graceSeconds: Int) {
    guard var pod = pods.withLock({ $0[uid] }) else { return }
    pod.set(JSON(Timestamp.nowText()), at: "metadata", "deletionTimestamp")
    pod.set(JSON(graceSeconds), at: "metadata", "deletionGracePeriodSeconds")
    apply(pod)
  }

  func put(_ kind: String, _ object: JSON) { set("\(kind)/\(object.namespace)/\(object.name)", object) }

  func remove(_ kind: String, _ namespace: String, _ name: String) {
    set("\(kind)/\(namespace)/\(name)", nil)
  }

  private func set(_ key: String, _ object: JSON?) {
    state.withLock { state in
      state.objects[key] = object
      for follower in state.followers.values where follower.key == key { follower.input.yield(object) }
    }
  }

  func follow(
    _ kind: String, namespace: String, name: String, change: @Sendable (JSON?) async -> Void
  ) async throws {
    guard isFollowed.load(ordering: .acquiring) else { throw CannotFollow() }
    let (stream, input) = AsyncStream.makeStream(of: JSON?.self)
    let key = "\(kind)/\(namespace)/\(name)"
    let id = UInt64.random(in: 0 ... .max)
    state.withLock { state in
      state.followers[id] = (key, input)
      input.yield(state.objects[key])
    }
    await withTaskCancellationHandler {
      for await object in stream { await change(object) }
    } onCancel: {
      input.finish()
    }
    _ = state.withLock { $0.followers.removeValue(forKey: id) }
  }

  func report(_ pod: JSON, status: JSON) async throws {
    state.withLock {
      $0.statuses[pod.uid] = status
      if status["phase"]?.string == "Running", $0.firstRunning[pod.uid] == nil {
        $0.firstRunning[pod.uid] = .now
      }
    }
    pods.withLock { $0[pod.uid]?["status"] = status }
  }

  func finishDeletion(_ pod: JSON) async throws {
    pods.withLock { _ = $0.removeValue(forKey: pod.uid) }
    state.withLock { state in
      state.deleted.insert(pod.uid)
      _ = state.input?.yield(.gone(uid: pod.uid))
    }
  }

  func object(_ kind: String, namespace: String, name: String) async throws -> JSON? {
    state.withLock { $0.objects["\(kind)/\(namespace)/\(name)"] }
  }

  func services(namespace: String) async throws -> [JSON] {
    namespace == "default"
      ? [
        [
          "metadata": ["name": "kubernetes", "namespace": "default"],
          "spec": ["clusterIP": "10.43.0.1", "ports": [["name": "https", "port": 443]]],
        ]
      ] : []
  }

  func token(_ pod: JSON, audience: String, seconds: Int) async throws -> PodToken {
    PodToken(text: "token-of-\(pod.name)")
  }

  func record(_ event: PodEvent) { state.withLock { $0.events.append(event) } }
  func status(_ uid: String) -> JSON { state.withLock { $0.statuses[uid] ?? .null } }
  func isDeleted(_ uid: String) -> Bool { state.withLock { $0.deleted.contains(uid) } }
  func firstRunning(_ uid: String) -> ContinuousClock.Instant? { state.withLock { $0.firstRunning[uid] } }
  var reasons: [String] { state.withLock { $0.events.map(\.reason) } }
  var events: [PodEvent] { state.withLock { $0.events } }
}

/// Runs a program and waits; returns its exit code.
@discardableResult func run(_ words: String...) -> Int32 {
  var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
  defer { for word in arguments { free(word) } }
  var pid: pid_t = 0
  guard posix_spawnp(&pid, words[0], nil, nil, &arguments, environ) == 0 else { return 127 }
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  return (status >> 8) & 0xff
}

/// Asks again until it is true, at most so long.
func eventually(
  _ timeout: Duration = .seconds(60), _ condition: () async throws -> Bool
) async rethrows -> Bool {
  let deadline = ContinuousClock.now + timeout
  while ContinuousClock.now < deadline {
    if try await condition() { return true }
    try? await Task.sleep(for: .milliseconds(5))
  }
  return false
}

/// The node and its directories.
struct LiveNode {
  let name: String
  let directory: String
  let cluster = FakeCluster()
  var settings: NodeSettings
  /// Those that were made, to be stopped also when a test ends in the middle.
  private let made = Made()
  /// How many there were in this process: no two have one name.
  private static let made = Atomic(0)

  private final class Made: Sendable {
    let agents = Mutex<[NodeAgent]>([])
    let isStopped = Atomic(false)
  }

  init() {
    name = "wn\(getpid())x\(Self.made.add(1, ordering: .relaxed).newValue)"
    directory = "/tmp/\(name)"
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    settings = NodeSettings(
      nodeName: name, addresses: [.v4(IPv4Address("127.0.0.1") ?? IPv4Address(bits: 0x7f00_0001))],
      dataDirectory: directory + "/data", runDirectory: directory + "/run", netnsPath: "/run/netns/\(name)")
    settings.logDirectory = directory + "/log"
    settings.cgroupRoot = "/\(name)"
    settings.containerd.cniConfDirectory = directory + "/cni"
    settings.containerd.cniBinDirectory = directory + "/bin"
    settings.crashBackoffSeconds = (1, 4)
    // How full the machine's own disk is decides no test.
    settings.eviction.hard = []
    settings.imageGCPercent = (high: 100, low: 100)
  }

  /// With the cluster as the source of its pods, or with sources around it.
  func agent(source: (any PodSource)? = nil, sink: (any PodStatusSink)? = nil) -> NodeAgent {
    let cluster = cluster
    let agent = NodeAgent(
      settings, source: source ?? cluster, sink: sink ?? cluster, objects: cluster,
      record: { cluster.record($0) }, metrics: Metrics())
    made.agents.withLock { $0.append(agent) }
    return agent
  }

  /// Two small plugins in shell: `loopback`, and one that gives each pod a veth and a /32.
  func installTestNetwork() {
    let plugin = """
      #!/bin/sh
      # A CNI plugin for tests: eth0 with 10.99.0.N, the node end routed.
      state=\(directory)/bin/last
      namespace=$(basename "$CNI_NETNS")
      case "$CNI_COMMAND" in
      ADD)
        n=$(( $(cat $state 2>/dev/null || echo 1) + 1 )); echo $n >$state
        ip link add vt$n type veth peer name eth0 netns "$namespace"
        ip addr add 10.99.0.1/32 dev vt$n; ip link set vt$n up; ip route add 10.99.0.$n/32 dev vt$n
        ip -n "$namespace" addr add 10.99.0.$n/32 dev eth0; ip -n "$namespace" link set eth0 up
        ip -n "$namespace" route add 10.99.0.1 dev eth0; ip -n "$namespace" route add default via 10.99.0.1
        printf '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"%s"}],' "$CNI_NETNS"
        printf '"ips":[{"interface":0,"address":"10.99.0.%s/32","gateway":"10.99.0.1"}]}' $n ;;
      VERSION) printf '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
      esac
      """
    let loopback = """
      #!/bin/sh
      case "$CNI_COMMAND" in
      ADD) ip -n "$(basename "$CNI_NETNS")" link set lo up; printf '{"cniVersion":"0.3.1","interfaces":[],"ips":[]}' ;;
      VERSION) printf '{"cniVersion":"0.3.1","supportedVersions":["0.3.1","0.4.0","1.0.0"]}' ;;
      esac
      """
    let list = #"{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"testnet"}]}"#
    run("mkdir", "-p", directory + "/bin", directory + "/cni")
    for (path, text) in [("bin/testnet", plugin), ("bin/loopback", loopback), ("cni/10-test.conflist", list)]
    {
      run("sh", "-c", "printf '%s' \"$1\" >\"$0\"; chmod 755 \"$0\"", "\(directory)/\(path)", text)
    }
  }

  /// Also after a failure in the middle: stops the agents, kills and unmounts what names the node's directory.
  func remove() {
    let made = made
    let agents = made.agents.withLock { $0 }
    let stopping = Task.detached {
      for agent in agents { await agent.stop(keepPods: true) }
      made.isStopped.store(true, ordering: .releasing)
    }
    // A `defer` cannot await.
    for _ in 0..<1500 where !made.isStopped.load(ordering: .acquiring) { usleep(10_000) }
    stopping.cancel()
    run(
      "sh", "-c",
      """
      for p in /proc/[0-9]*; do
        tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q "$0/run/containerd" && kill -9 ${p#/proc/}
      done
      grep -o "$0/[^ ]*" /proc/self/mounts | sort -r | xargs -r umount -l 2>/dev/null
      """, directory)
    run("ip", "netns", "del", name)
    run("rm", "-rf", directory)
  }

  /// A pod on the node's own network: no CNI plugin is needed for it.
  func pod(_ name: String, _ containers: [JSON], extra: [String: JSON] = [:]) -> JSON {
    var spec: JSON = [
      "hostNetwork": true, "nodeName": JSON(self.name), "containers": .array(containers),
      "terminationGracePeriodSeconds": 2,
    ]
    for (key, value) in extra { spec[key] = value }
    return [
      "apiVersion": "v1", "kind": "Pod",
      "metadata": ["name": JSON(name), "namespace": "test", "uid": JSON("uid-\(name)-\(self.name)")],
      "spec": spec,
    ]
  }
}

func container(_ name: String, _ script: String, extra: [String: JSON] = [:]) -> JSON {
  var tree: JSON = [
    "name": JSON(name), "image": JSON(DemoImage.demoReference), "command": ["/bin/sh", "-c", JSON(script)],
  ]
  for (key, value) in extra { tree[key] = value }
  return tree
}

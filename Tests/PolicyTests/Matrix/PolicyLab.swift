// Nine pods in three namespaces, each in a network namespace of its own that our CNI plugin has wired, and probes between all of
// them: TCP connections, UDP datagrams and SCTP INITs to two ports, over IPv4 and IPv6, one pod's in a round.
//
// A round needs no guess how long a refused packet takes to not arrive: it is over when those that arrived and those that the
// rules have counted as denied are as many as were sent.
import Addresses
import CLinux
import CNI
import ClusterObjects
import ClusterView
import KernelSockets
import Glibc
import KernelNetlink
import KernelNftables
import NamespaceLab
import Policy
import Ruleset

/// One question of the matrix.
struct Probe: Hashable, CustomStringConvertible {
  var from: String
  var to: String
  var port: UInt16
  var transport: TransportProtocol
  var family: IPFamily
  var description: String { "\(from) > \(to):\(port)/\(transport.rawValue) over IP\(family)" }
}

final class PolicyLab {
  struct Member {
    var name: String
    var key: ObjectKey
    var addresses: [IPFamily: IPAddress]
    /// Its network namespace, open.
    var namespace: Int32
    /// By family: where datagrams are sent from.
    var senders: [IPFamily: Int32] = [:]
    var raw: [IPFamily: Int32] = [:]
    /// By descriptor: the port that it serves.
    var datagrams: [Int32: UInt16] = [:]
    var listeners: [Int32] = []
  }

  static let namespaces = ["x", "y", "z"]
  static let ports: [UInt16] = [80, 81]
  private(set) var members: [Member] = []
  private var byAddress: [IPAddress: Int] = [:]
  var view = ClusterView()
  var attachments: [PodAttachment] = []
  private var planner: PolicyPlanner
  private let syncer: RulesetSyncer
  private let kernel: NftablesSocket
  private let home: Int32
  private let label: String
  private let folder: String
  private var round: UInt32 = 0
  static let owned = [
    Table.ID(.ip, PolicyNames.table), .init(.ip6, PolicyNames.table), .init(.bridge, PolicyNames.guardTable),
  ]
  static let settings = PolicySettings(
    nodeName: "n1", podBlocks: [IPPrefix("10.42.0.0/24")!, IPPrefix("fd00:42::/64")!],
    gateways: [IPAddress("10.42.0.1")!, IPAddress("fd00:42::1")!])

  /// The calling thread's namespace is the node: to be called within `inFreshNamespace`.
  init(_ name: String) throws {
    label = "weft-np-\(getpid())-\(name)"
    folder = "/tmp/\(label)"
    planner = PolicyPlanner(Self.settings)
    home = try Self.openNamespace("/proc/thread-self/ns/net")
    syncer = try RulesetSyncer(owned: Self.owned)
    kernel = try NftablesSocket()
    view.namePods()
    view.apply(node("n1", ["10.42.0.1", "fd00:42::1"], ["zone": "a"]))
    for namespace in Self.namespaces { label(namespace: namespace, [:]) }
    for namespace in Self.namespaces {
      for pod in ["a", "b", "c"] { members.append(try wire(ObjectKey(namespace, pod))) }
    }
    for (name, value) in [
      ("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"),
      ("net/bridge/bridge-nf-call-iptables", "1"), ("net/bridge/bridge-nf-call-ip6tables", "1"),
    ] { try Sysctl.set(name, value) }
    for index in members.indices {
      for address in members[index].addresses.values { byAddress[address] = index }
      put(members[index].key)
      try open(index)
    }
    try enforce()
  }

  deinit {
    for member in members {
      let ends = Array(member.senders.values) + member.raw.values + member.datagrams.keys + member.listeners
      for end in ends + [member.namespace] { close(end) }
      _ = try? NetworkNamespace.delete(named: "\(label)-\(member.key.namespace)-\(member.key.name)")
    }
    close(home)
    run("rm -rf \(folder)")
  }

  /// ADD as a runtime calls it, in the node's namespace.
  private func wire(_ key: ObjectKey) throws -> Member {
    let path = try NetworkNamespace.create(named: "\(label)-\(key.namespace)-\(key.name)")
    let id = "\(label)-\(key.namespace)\(key.name)"
    let environment = [
      "CNI_COMMAND": "ADD", "CNI_CONTAINERID": id, "CNI_NETNS": path, "CNI_IFNAME": "eth0",
      "CNI_PATH": "/opt/cni/bin",
      "CNI_ARGS": "K8S_POD_NAMESPACE=\(key.namespace);K8S_POD_NAME=\(key.name)",
    ]
    let configuration = """
      {"cniVersion":"1.0.0","name":"t","type":"weft-cni","bridge":"cni0","ipam":{"type":"host-local",
       "dataDir":"\(folder)","ranges":[[{"subnet":"10.42.0.0/24"}],[{"subnet":"fd00:42::/64"}]]}}
      """
    let answer = Plugin.run(
      program: "weft-cni", environment: { environment[$0] },
      input: { () throws(CNIError) in Array(configuration.utf8) })
    guard answer.exitCode == 0 else { throw NamespaceError(text: answer.output) }
    let result = try JSON(parsing: Array(answer.output.utf8))
    let addresses = (result["ips"]?.elements ?? []).compactMap {
      $0["address"]?.string.flatMap { IPAddress(String($0.prefix { $0 != "/" })) }
    }
    let links = result["interfaces"]?.elements ?? []
    let inside = links.first { $0["sandbox"]?.string == path }
    let outside = links.first { $0["name"]?.string?.hasPrefix("vp") == true }
    attachments.append(
      PodAttachment(
        pod: key, addresses: addresses,
        hardwareAddress: inside?["mac"]?.string.flatMap { MACAddress(text: $0) },
        hostInterface: outside?["name"]?.string ?? ""))
    return Member(
      name: "\(key.namespace)/\(key.name)", key: key,
      addresses: Dictionary(addresses.map { ($0.family, $0) }, uniquingKeysWith: { first, _ in first }),
      namespace: try Self.openNamespace(path))
  }

  private static func openNamespace(_ path: String) throws -> Int32 {
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SocketFailure(call: "open \(path)") }
    return descriptor
  }

  private func enter(_ namespace: Int32) throws {
    guard weft_setns(namespace, CLONE_NEWNET) == 0 else { throw SocketFailure(call: "setns") }
  }

  private func open(_ index: Int) throws {
    try enter(members[index].namespace)
    defer { try? enter(home) }
    for (family, address) in members[index].addresses {
      members[index].senders[family] = try MatrixSocket.bound(address, 40000, SOCK_DGRAM)
      let raw = try MatrixSocket.make(family, SOCK_RAW, 132)
      guard withSocketAddress(address, 0, { bind(raw, $0, $1) }) == 0 else {
        throw SocketFailure(call: "bind raw")
      }
      members[index].raw[family] = raw
      for port in Self.ports {
        members[index].datagrams[try MatrixSocket.bound(address, port, SOCK_DGRAM)] = port
        members[index].listeners.append(try MatrixSocket.bound(address, port, SOCK_STREAM))
      }
    }
  }

  // MARK: - The cluster

  /// Label `ns` is always there, and what the API server adds.
  func label(namespace: String, _ labels: [String: String]) {
    var all = ["ns": namespace, "kubernetes.io/metadata.name": namespace]
    all.merge(labels) { $1 }
    view.apply(["kind": "Namespace", "metadata": ["name": JSON(namespace), "labels": Self.tree(all)]])
  }

  /// Label `pod` is always there. Ports have names as upstream's servers have them: serve-80-tcp.
  func put(_ key: ObjectKey, _ labels: [String: String] = [:]) {
    guard let member = members.first(where: { $0.key == key }) else { return }
    var all = ["pod": key.name]
    all.merge(labels) { $1 }
    let ports = Self.ports.flatMap { port in
      TransportProtocol.allCases.map { transport -> JSON in
        [
          "name": JSON("serve-\(port)-\(transport.rawValue.lowercased())"), "containerPort": JSON(Int(port)),
          "protocol": JSON(transport.rawValue),
        ]
      }
    }
    view.apply([
      "kind": "Pod",
      "metadata": ["name": JSON(key.name), "namespace": JSON(key.namespace), "labels": Self.tree(all)],
      "spec": ["nodeName": "n1", "containers": [["ports": .array(ports)]]],
      "status": [
        "phase": "Running",
        "podIPs": .array(member.addresses.values.sorted().map { ["ip": JSON($0.description)] }),
      ],
    ])
  }

  static func tree(_ labels: [String: String]) -> JSON {
    .object(JSONObject(labels.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }))
  }

  /// As it was at the beginning, whatever has been changed.
  func reset() {
    for key in view.networkPolicies.keys { view.remove(kind: "NetworkPolicy", key) }
    for name in view.clusterNetworkPolicies.keys {
      view.remove(kind: "ClusterNetworkPolicy", ObjectKey("", name))
    }
    for namespace in Self.namespaces { label(namespace: namespace, [:]) }
    for member in members { put(member.key) }
  }

  /// Puts in force what is in the view.
  func enforce() throws {
    let delta = planner.apply(view.takeChanges(), attachments: round == 0 ? attachments : nil)
    if delta.isWhole {
      _ = try syncer.sync(planner.tables)
    } else if !delta.tables.isEmpty {
      _ = try syncer.sync([], deltas: delta.tables, keeping: Set(Self.owned))
    }
  }

  // MARK: - Probes

  var probes: [Probe] {
    members.flatMap { from in
      members.flatMap { to -> [Probe] in
        from.name == to.name
          ? []
          : Self.ports.flatMap { port in
            TransportProtocol.allCases.flatMap { transport in
              IPFamily.allCases.map {
                Probe(from: from.name, to: to.name, port: port, transport: transport, family: $0)
              }
            }
          }
      }
    }
  }

  /// What the evaluator says of every probe.
  func decided() -> Set<Probe> {
    let byName = Dictionary(uniqueKeysWithValues: members.map { ($0.name, $0) })
    return Set(
      probes.filter { probe in
        guard let from = byName[probe.from], let to = byName[probe.to],
          let source = from.addresses[probe.family],
          let destination = to.addresses[probe.family]
        else { return false }
        return decidePolicy(
          view: view, from: PolicyParty(address: source, pod: from.key),
          to: PolicyParty(address: destination, pod: to.key), port: probe.port, transport: probe.transport
        ).isAllowed
      })
  }

  /// The probes that arrived, one sender's after the other's. Throws when a sender's cannot be told in twenty tries.
  func arrived() throws -> Set<Probe> {
    var all: Set<Probe> = []
    for from in members {
      var told: Set<Probe>?
      for _ in 0..<20 where told == nil { told = try tryRound(from) }
      guard let told else {
        throw NamespaceError(
          text: "what became of the probes cannot be told: some neither arrived nor were counted in time")
      }
      all.formUnion(told)
    }
    return all
  }

  /// Whether a datagram of a pod reaches its own node, and one of the node the pod.
  func meetsNode(_ name: String, _ family: IPFamily) throws -> (out: Bool, back: Bool) {
    guard let pod = members.first(where: { $0.name == name }), let address = pod.addresses[family],
      let own = Self.settings.gateways.first(where: { $0.family == family }),
      let sender = pod.senders[family]
    else { throw NamespaceError(text: "no \(name)") }
    let node = try MatrixSocket.bound(own, 7000, SOCK_DGRAM)
    let other = try MatrixSocket.bound(own, 7001, SOCK_DGRAM)
    defer { for end in [node, other] { close(end) } }
    drain()
    let before = try denied()
    let there = withSocketAddress(own, 7000) { sendto(sender, "out", 3, 0, $0, $1) }
    let back = withSocketAddress(address, 80) { sendto(other, "back", 4, 0, $0, $1) }
    guard there == 3, back == 4 else { throw SocketFailure(call: "send to and from the node") }
    var found = (out: false, back: false)
    for _ in 0..<5000 {
      if receiveDatagram(node) != nil { found.out = true }
      for (end, port) in pod.datagrams where port == 80 && receiveDatagram(end) != nil {
        found.back = true
      }
      let arrived = (found.out ? 1 : 0) + (found.back ? 1 : 0)
      if arrived + Int(try denied() - before) >= 2 { return found }
      usleep(1000)
    }
    throw NamespaceError(text: "neither arrived nor counted")
  }

  private func denied() throws -> UInt64 {
    var sum: UInt64 = 0
    for id in Self.owned.prefix(2) {
      for (name, counter) in try kernel.counters(of: id) where !name.hasPrefix("audited") {
        sum += counter.packets
      }
    }
    return sum
  }

  private static func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
  }

  /// Nil: it took so long that a connection may have asked twice.
  private func tryRound(_ from: Member) throws -> Set<Probe>? {
    round += 1
    drain()
    let before = try denied()
    let start = Self.now()
    var sent = 0
    var arrived: Set<Probe> = []
    var waiting: [Int32: Probe] = [:]
    defer { for end in waiting.keys { MatrixSocket.cut(end) } }
    try enter(from.namespace)
    defer { try? enter(home) }
    for to in members where to.name != from.name {
      for (family, address) in to.addresses {
        for port in Self.ports {
          let end = try MatrixSocket.make(family, SOCK_STREAM)
          let probe = Probe(from: from.name, to: to.name, port: port, transport: .tcp, family: family)
          _ = withSocketAddress(address, port) { connect(end, $0, $1) }
          waiting[end] = probe
          let payload = withUnsafeBytes(of: round) { Array($0) }
          let datagram = withSocketAddress(address, port) {
            sendto(from.senders[family] ?? -1, payload, payload.count, 0, $0, $1)
          }
          let association = SCTPInit.packet(
            from: 20000 + UInt16(round % 20000), to: port, tag: round)
          let begun = withSocketAddress(address, 0) {
            sendto(from.raw[family] ?? -1, association, association.count, 0, $0, $1)
          }
          guard datagram > 0, begun > 0 else { throw SocketFailure(call: "send \(probe)") }
          sent += 3
        }
      }
    }
    try enter(home)
    while Self.now() - start < 10_000 {
      collect(&waiting, &arrived)
      // After a second a connection repeats its question, which would be counted twice.
      if arrived.count + Int(try denied() - before) >= sent {
        return Self.now() - start < 900 ? arrived : nil
      }
      if Self.now() - start > 900 { return nil }
    }
    return nil
  }

  private func collect(_ waiting: inout [Int32: Probe], _ arrived: inout Set<Probe>) {
    var ends = waiting.keys.map { pollfd(fd: $0, events: Int16(POLLOUT), revents: 0) }
    for member in members {
      ends += (Array(member.datagrams.keys) + member.raw.values).map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
    }
    guard poll(&ends, nfds_t(ends.count), 2) > 0 else { return }
    for end in ends where end.revents != 0 {
      guard let probe = waiting.removeValue(forKey: end.fd) else { continue }
      var number: Int32 = 0
      var length = socklen_t(4)
      getsockopt(end.fd, SOL_SOCKET, SO_ERROR, &number, &length)
      if number == 0 { arrived.insert(probe) }
      MatrixSocket.cut(end.fd)
    }
    for member in members {
      for (end, port) in member.datagrams {
        while let (from, bytes) = receiveDatagram(end) {
          guard bytes == withUnsafeBytes(of: round, { Array($0) }), let sender = byAddress[from] else {
            continue
          }
          arrived.insert(
            Probe(
              from: members[sender].name, to: member.name, port: port, transport: .udp, family: from.family))
        }
      }
      for (family, end) in member.raw {
        while let (from, bytes) = receiveDatagram(end) {
          guard let read = SCTPInit.read(bytes, family), read.tag == round, let sender = byAddress[from]
          else { continue }
          arrived.insert(
            Probe(
              from: members[sender].name, to: member.name, port: read.destination, transport: .sctp,
              family: family))
        }
      }
      for end in member.listeners {
        while case let taken = accept(end, nil, nil), taken >= 0 { MatrixSocket.cut(taken) }
      }
    }
  }

  /// What is left of the rounds before.
  private func drain() {
    for member in members {
      for end in Array(member.datagrams.keys) + member.raw.values {
        while receiveDatagram(end) != nil {}
      }
      for end in member.listeners {
        while case let taken = accept(end, nil, nil), taken >= 0 { MatrixSocket.cut(taken) }
      }
    }
  }
}

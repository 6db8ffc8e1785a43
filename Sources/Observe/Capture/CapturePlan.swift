// Where on this node the packets of a pod, a Service, a policy or the node pass, and which of them are meant.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import KernelSockets
import Policy

/// What is captured: links, and of their packets those from or to these ends.
public struct CapturePlan: Sendable, Hashable {
  /// One link of the node.
  public struct Link: Sendable, Hashable {
    public var index: Int32
    /// As the kernel calls it.
    public var name: String
    /// `demo/web-1`, or the link's own name.
    public var title: String
    /// The pod at the other end: what the link sends is what comes in to the pod.
    public var isPod: Bool
    public init(index: Int32, name: String, title: String, isPod: Bool) {
      self.index = index
      self.name = name
      self.title = title
      self.isPod = isPod
    }
  }

  public var links: [Link] = []
  /// Empty: everything that the links carry.
  public var ends: [PacketFilter.Endpoint] = []
  /// What the asker should know.
  public var remarks: [String] = []

  /// Links of one capture, and ends of a Service.
  public static let linksMax = 512
  public static let endsMax = 128

  public init() {}
}

/// What a plan is made of: this node as it is now.
public struct CaptureGround: Sendable {
  public var nodeName: String
  public var view: ClusterView
  /// This node's pods, as the CNI plugin reported them.
  public var attachments: [PodAttachment]
  /// The links of this network namespace with Ethernet frames, bridges left out; index and name.
  public var links: [(index: Int32, name: String)]
  public init(
    nodeName: String, view: ClusterView, attachments: [PodAttachment], links: [(index: Int32, name: String)]
  ) {
    self.nodeName = nodeName
    self.view = view
    self.attachments = attachments
    self.links = links
  }
}

extension CaptureGround {
  /// Other nodes that have one of these pods.
  fileprivate func nodes(of pods: [Pod]) -> [String] {
    Set(pods.map(\.nodeName)).subtracting(["", nodeName]).sorted()
  }
}

extension ObjectKey {
  /// Whether a name of the same namespace begins with this one.
  fileprivate func isBeginning(of other: ObjectKey) -> Bool {
    other.namespace == namespace && other.name.hasPrefix(name)
  }
}

/// Looks the targets up. Throws `CAP0002` for what is not there, `CAP0003` for what is on another node, `CAP0001` for too much.
public func planCapture(_ targets: [CaptureTarget], on ground: CaptureGround) throws(WeftError) -> CapturePlan
{
  var planner = CapturePlanner(ground: ground)
  for target in targets { try planner.add(target) }
  return try planner.finish()
}

private struct CapturePlanner {
  let ground: CaptureGround
  private var pods: Set<ObjectKey> = []
  private var hasService = false
  private var isWholeNode = false
  private var plan = CapturePlan()

  init(ground: CaptureGround) { self.ground = ground }

  mutating func add(_ target: CaptureTarget) throws(WeftError) {
    switch target {
    case .object(let key):
      if !isHere(key), ground.view.pods[key] == nil, ground.view.services[key] != nil {
        return try add(.service(key))
      }
      try add(pod: key)
    case .pod(let key): try add(pod: key)
    case .podsBeginning(let key):
      try add(podsBeginning: key)
    case .policy(let key): try add(policy: key)
    case .clusterPolicy(let name): try add(clusterPolicy: name)
    case .service(let key): try add(service: key)
    case .node(let name):
      guard name == ground.nodeName else { throw elsewhere("node \(name)", name) }
      isWholeNode = true
    }
  }

  private func isHere(_ key: ObjectKey) -> Bool { ground.attachments.contains { $0.pod == key } }

  private mutating func add(pod key: ObjectKey) throws(WeftError) {
    if isHere(key) {
      pods.insert(key)
      return
    }
    guard let pod = ground.view.pods[key] else {
      throw Self.missing("pod \(key)", "is not in the cluster", key.namespace)
    }
    if !pod.nodeName.isEmpty, pod.nodeName != ground.nodeName { throw elsewhere("pod \(key)", pod.nodeName) }
    if pod.isHostNetwork {
      throw WeftError(
        "CAP0002", object: "pod \(key)", cause: "has no link of its own: it uses the node's network",
        next: "weft capture node/\(ground.nodeName) 'port NUMBER'")
    }
    throw WeftError(
      "CAP0002", object: "pod \(key)",
      cause: pod.hasEnded
        ? "has ended" : "has no link on this node that Weft's CNI plugin made (\(pod.phase))",
      next: "look at: kubectl describe pod -n \(key.namespace) \(key.name)")
  }

  private mutating func add(podsBeginning key: ObjectKey) throws(WeftError) {
    let found = ground.attachments.map(\.pod).filter(key.isBeginning(of:))
    let others = ground.nodes(of: ground.view.pods(beginning: key))
    guard !found.isEmpty else {
      if !others.isEmpty { throw elsewhere("pods \(key)*", others.joined(separator: ", ")) }
      throw Self.missing("pods \(key)*", "no such pod runs on node \(ground.nodeName)", key.namespace)
    }
    if !others.isEmpty { plan.remarks.append("pods \(key)* run on other nodes, too: \(Self.allNodes)") }
    pods.formUnion(found)
  }

  private static let allNodes = "--all-nodes captures them as well"

  private mutating func add(policy key: ObjectKey) throws(WeftError) {
    guard let policy = ground.view.networkPolicies[key] else {
      throw WeftError(
        "CAP0002", object: "NetworkPolicy \(key)", cause: "is not in the cluster",
        next: "list them: kubectl get networkpolicies -n \(key.namespace)")
    }
    let selected = ground.view.subjects(of: policy)
    try add(
      selected, of: "NetworkPolicy \(key)",
      next: "see whom it selects: kubectl describe networkpolicy -n \(key.namespace) \(key.name)")
  }

  private mutating func add(clusterPolicy name: String) throws(WeftError) {
    guard let policy = ground.view.clusterNetworkPolicies[name] else {
      throw WeftError(
        "CAP0002", object: "ClusterNetworkPolicy \(name)", cause: "is not in the cluster",
        next: "list them: kubectl get clusternetworkpolicies")
    }
    try add(
      ground.view.subjects(of: policy), of: "ClusterNetworkPolicy \(name)",
      next: "see whom it is about: kubectl describe clusternetworkpolicy \(name)")
  }

  private mutating func add(_ selected: [Pod], of object: String, next: String) throws(WeftError) {
    let here = selected.map(\.key).filter(isHere)
    let others = ground.nodes(of: selected)
    guard !here.isEmpty else {
      let nodes = others.joined(separator: ", ")
      throw WeftError(
        nodes.isEmpty ? "CAP0002" : "CAP0003", object: object,
        cause: "selects no pod of node \(ground.nodeName)" + (nodes.isEmpty ? "" : ", but of \(nodes)"),
        next: next)
    }
    if !others.isEmpty {
      plan.remarks.append("\(object) selects pods of other nodes, too: \(Self.allNodes)")
    }
    pods.formUnion(here)
  }

  /// In front of the translation at whoever asks, behind it at the endpoints: both sides of each connection that this node sees.
  private mutating func add(service key: ObjectKey) throws(WeftError) {
    guard let service = ground.view.services[key] else {
      throw WeftError(
        "CAP0002", object: "Service \(key)", cause: "is not in the cluster",
        next: "list them: kubectl get services -n \(key.namespace)")
    }
    hasService = true
    let own = Set(ground.attachments.flatMap(\.addresses))
    for port in service.ports {
      for address in service.clusterIPs + service.externalIPs + service.loadBalancerIPs {
        plan.ends.append(.init(address, port: port.port, transport: port.transport))
      }
    }
    var others = 0
    for slice in ground.view.slices(of: key) {
      for endpoint in slice.endpoints {
        guard own.contains(endpoint.address) else {
          others += 1
          continue
        }
        for port in slice.ports {
          plan.ends.append(.init(endpoint.address, port: port.port, transport: port.transport))
        }
      }
    }
    if others > 0 {
      plan.remarks.append(
        "\(others) endpoints of Service \(key) are on other nodes: \(Self.allNodes)")
    }
    guard !plan.ends.isEmpty else {
      throw WeftError(
        "CAP0002", object: "Service \(key)", cause: "has neither an address nor an endpoint on this node",
        next: "see: kubectl get endpointslices -n \(key.namespace) -l kubernetes.io/service-name=\(key.name)")
    }
  }

  func finish() throws(WeftError) -> CapturePlan {
    var plan = plan
    if hasService, !pods.isEmpty || isWholeNode {
      throw WeftError(
        "CAP0001", object: "Service and pods", cause: "cannot be captured together",
        next: "name pods alone, with a filter: 'host \(plan.ends.first.map { "\($0.address)" } ?? "ADDRESS")'"
      )
    }
    if plan.ends.count > CapturePlan.endsMax {
      throw WeftError(
        "CAP0001", object: "Service", cause: "has more than \(CapturePlan.endsMax) addresses and ports here",
        next: "name one of its pods")
    }
    var titles: [String: String] = [:]
    for attachment in ground.attachments where hasService || isWholeNode || pods.contains(attachment.pod) {
      titles[attachment.hostInterface] = "\(attachment.pod)"
    }
    for link in ground.links {
      let title = titles[link.name]
      guard title != nil || isWholeNode else { continue }
      plan.links.append(
        CapturePlan.Link(
          index: link.index, name: link.name, title: title ?? link.name, isPod: title != nil))
    }
    guard !plan.links.isEmpty else {
      throw WeftError(
        "CAP0002", object: "node \(ground.nodeName)",
        cause: hasService ? "has no pod that could ask or answer" : "has no link for it any more",
        next: "look at: weft cni check")
    }
    guard plan.links.count <= CapturePlan.linksMax else {
      throw WeftError(
        "CAP0001", object: "\(plan.links.count) links", cause: "are more than \(CapturePlan.linksMax)",
        next: "name pods")
    }
    return plan
  }

  private func elsewhere(_ object: String, _ node: String) -> WeftError {
    WeftError(
      "CAP0003", object: object,
      cause: "is on node \(node), and packets are captured where they pass; this is \(ground.nodeName)",
      next: "run the same command on \(node), or with the cluster's kubeconfig: --kubeconfig FILE")
  }

  private static func missing(_ object: String, _ cause: String, _ namespace: String) -> WeftError {
    WeftError(
      "CAP0002", object: object, cause: cause, next: "list them: kubectl get pods -n \(namespace) -o wide")
  }
}

extension ClusterView {
  /// Pods that a policy selects, those that have ended left out.
  func subjects(of policy: NetworkPolicy) -> [Pod] {
    pods.values.filter {
      $0.key.namespace == policy.key.namespace && policy.podSelector.matches($0.labels) && !$0.hasEnded
    }
  }

  func subjects(of policy: ClusterNetworkPolicy) -> [Pod] {
    pods.values.filter { pod in
      !pod.hasEnded && policy.concerns(namespace: namespaces[pod.key.namespace]?.labels)
        && policy.subjectPods?.matches(pod.labels) ?? true
    }
  }

  fileprivate func pods(beginning key: ObjectKey) -> [Pod] {
    pods.values.filter { key.isBeginning(of: $0.key) && !$0.hasEnded && !$0.isHostNetwork }
  }

  /// The nodes where a target can be captured. A Service is captured where pods are that may ask or answer. Empty: it is not in the
  /// cluster, or has no pod.
  private func captureNodes(of target: CaptureTarget) -> Set<String> {
    let living = pods.values.lazy.filter { !$0.hasEnded }
    let found: Set<String> =
      switch target {
      case .pod(let key): Set([pods[key]?.nodeName].compactMap(\.self))
      case .object(let key) where pods[key] != nil: Set([pods[key]?.nodeName].compactMap(\.self))
      case .object(let key), .service(let key):
        services[key] == nil ? [] : Set(living.filter { !$0.isHostNetwork }.map(\.nodeName))
      case .podsBeginning(let key): Set(pods(beginning: key).map(\.nodeName))
      case .policy(let key): Set(networkPolicies[key].map { subjects(of: $0).map(\.nodeName) } ?? [])
      case .clusterPolicy(let name):
        Set(clusterNetworkPolicies[name].map { subjects(of: $0).map(\.nodeName) } ?? [])
      case .node(let name): nodes[name] == nil ? [] : [name]
      }
    return found.subtracting([""])
  }

  /// All nodes that targets concern. Throws `CAP0002` for what is not in the cluster.
  public func captureNodes(_ targets: [CaptureTarget]) throws(WeftError) -> Set<String> {
    var all: Set<String> = []
    for target in targets {
      let own = captureNodes(of: target)
      guard !own.isEmpty else {
        throw WeftError(
          "CAP0002", object: target.words, cause: "is not in the cluster, or no pod of it runs",
          next: "list them: kubectl get pods,services,networkpolicies -A -o wide; kubectl get nodes")
      }
      all.formUnion(own)
    }
    return all
  }

  /// The targets of a node, as they are written.
  public func captureTargets(_ targets: [CaptureTarget], on node: String) -> String {
    targets.filter { captureNodes(of: $0).contains(node) }.map(\.words).joined(separator: ",")
  }
}

extension CaptureTarget {
  /// As it is written.
  public var words: String {
    switch self {
    case .object(let key): "\(key)"
    case .pod(let key): "pod/\(key)"
    case .podsBeginning(let key): "pod/\(key)*"
    case .service(let key): "svc/\(key)"
    case .policy(let key): "policy/\(key)"
    case .clusterPolicy(let name): "clusterpolicy/\(name)"
    case .node(let name): "node/\(name)"
    }
  }
}

// The steps of one explanation, in the order in which a packet meets them.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Policy
import Ruleset

struct Walk {
  let explainer: Explainer
  /// Who opens the connection that is looked at: of a request to an ingress first its client, then the ingress.
  var source: PolicyParty
  var explanation: Explanation

  var view: ClusterView { explainer.view }

  mutating func add(
    _ step: String, _ mark: Explanation.Step.Mark, _ text: String, objects: [String] = [], hint: String? = nil
  ) {
    explanation.steps.append(.init(step, mark, text, objects: objects, hint: hint))
  }

  mutating func describeSource() {
    if let pod = source.pod {
      let node = view.pods[pod]?.nodeName ?? ""
      add(
        "source", .fine, "pod \(pod) at \(source.address) on node \(node.isEmpty ? "(none)" : node)",
        objects: ["Pod \(pod)"])
      if let known = view.pods[pod] { describeStop(known, "source") }
    } else {
      let isNode = explainer.localAddresses.contains(source.address)
      add("source", .fine, "\(source.address), \(isNode ? "this node itself" : "no pod of this cluster")")
    }
  }

  mutating func follow(_ target: ExplainTarget) throws(WeftError) {
    switch target.name {
    case .service(let key): try toService(key, target)
    case .pod(let key): try toPod(key, target)
    case .object(let key):
      if view.services[key] != nil || view.pods[key] == nil {
        try toService(key, target)
      } else {
        try toPod(key, target)
      }
    case .address(let address): try toAddress(address, target)
    case .dns(let name): try toName(found(name), target, depth: 0)
    case .web(let web): toWeb(web)
    }
  }

  // MARK: - Names and addresses

  mutating func toAddress(_ address: IPAddress, _ target: ExplainTarget) throws(WeftError) {
    for service in view.services.values.sorted(by: { $0.key < $1.key })
    where service.clusterIPs.contains(address) || service.externalIPs.contains(address)
      || service.loadBalancerIPs.contains(address)
    {
      return try toService(service.key, target, at: address)
    }
    if let pod = view.pod(at: address) { return try toPod(pod.key, target) }
    let port = try number(target, of: "\(address)", choices: [])
    add("address", .note, "\(address) is no Service and no pod of this cluster")
    finish([SocketEndpoint(address, port)], via: SocketEndpoint(address, port), target.transport ?? .tcp)
  }

  // MARK: - Services

  private mutating func toService(_ key: ObjectKey, _ target: ExplainTarget, at address: IPAddress? = nil)
    throws(WeftError)
  {
    guard let service = view.services[key] else {
      if let unreadable = view.quarantined[.init(kind: "Service", key: key)] {
        add(
          "service", .fault, unreadable.description, objects: ["Service \(key)"],
          hint: "mend it: kubectl edit service -n \(key.namespace) \(key.name)")
        return
      }
      let meant = Spelling.service(key, in: view).map { "did you mean \($0)? " } ?? ""
      throw WeftError(
        "CLI0011", object: "service \(key)", cause: "does not exist, and no pod has that name",
        next: "\(meant)look at: kubectl get services,pods -n \(key.namespace)", exit: .finding)
    }
    if service.kind == .externalName {
      add(
        "service", .fine, "\(key) stands for the outside name \(service.externalName)",
        objects: ["Service \(key)"])
      return try toName(service.externalName, target, depth: 0)
    }
    guard let port = try port(of: service, target) else { return }
    if service.isHeadless {
      add(
        "service", .fine, "\(key) is headless: its name leads straight to the endpoints",
        objects: ["Service \(key)"])
    } else if let vip = address ?? service.clusterIPs.first {
      add(
        "service", .fine, "\(key) is \(SocketEndpoint(vip, port.port))/\(port.transport.rawValue)",
        objects: ["Service \(key)"])
      explanation.asked = .init(
        source: source.address, destination: SocketEndpoint(vip, port.port), transport: port.transport)
    } else {
      add("service", .fault, "\(key) has no cluster IP", objects: ["Service \(key)"])
      return
    }
    let family = (address ?? service.clusterIPs.first)?.family ?? source.address.family
    guard let chosen = endpoints(of: service, port, family) else { return }
    let via =
      service.isHeadless ? nil : (address ?? service.clusterIPs.first).map { SocketEndpoint($0, port.port) }
    finish(chosen, via: via, port.transport)
  }

  /// Those that take traffic; nil after saying why there are none.
  mutating func endpoints(of service: Service, _ port: Service.Port, _ family: IPFamily) -> [SocketEndpoint]?
  {
    let all = view.allEndpoints(of: service.key, port: port, family: family, on: explainer.nodeName)
    let isLocalOnly = service.internalTrafficPolicy == .local && !service.isHeadless
    let chosen = ClusterView.usable(isLocalOnly ? all.filter(\.isLocal) : all)
    guard !chosen.isEmpty else {
      noEndpoints(of: service, all, isLocalOnly: isLocalOnly)
      return nil
    }
    let left = all.count - chosen.count
    add(
      "endpoints", .fine,
      chosen.map { "\($0.target)\($0.pod.map { " (\($0.name))" } ?? "")" }.joined(separator: ", ")
        + (left > 0 ? "; \(left) more not used" : ""),
      objects: chosen.compactMap { $0.pod.map { "Pod \($0)" } })
    let pods = chosen.compactMap { $0.pod.flatMap { view.pods[$0] } }
    if let target = chosen.first?.target,
      let strange = undeclaredPort(target.port, port.transport, pods)
    {
      add(
        "endpoints", .note,
        "CLI0134 \(service.key) \(strange): where nobody listens, connections are refused",
        objects: ["Service \(service.key)"],
        hint:
          "compare targetPort: kubectl get service -n \(service.key.namespace) \(service.key.name) -o yaml")
    }
    return chosen.map(\.target)
  }

  /// The Service's port that is meant; nil after saying that it has no such port.
  private mutating func port(of service: Service, _ target: ExplainTarget) throws(WeftError) -> Service.Port?
  {
    let choices = service.ports.filter { target.transport == nil || $0.transport == target.transport }
    let found: Service.Port? =
      switch target.port {
      case .number(let number): choices.first { $0.port == number }
      case .name(let name): choices.first { $0.name == name }
      case nil: choices.count == 1 ? choices.first : nil
      }
    if let found { return found }
    let list = service.ports.map { "\($0.port)/\($0.transport.rawValue)" }.joined(separator: ", ")
    guard target.port != nil else {
      throw WeftError(
        "CLI0012", object: "service \(service.key)", cause: "has \(service.ports.count) ports: \(list)",
        next: "add :PORT to the destination")
    }
    explanation.verdict = service.isHeadless ? .unreachable : .reject
    add(
      "service", .fault, "\(service.key) has no such port; it has \(list)",
      objects: ["Service \(service.key)"],
      hint:
        "use one of these ports, or add it: kubectl edit service -n \(service.key.namespace) \(service.key.name)"
    )
    return nil
  }

  mutating func noEndpoints(of service: Service, _ all: [ServiceEndpoint], isLocalOnly: Bool) {
    explanation.verdict = .reject
    let key = service.key
    if isLocalOnly, !ClusterView.usable(all).isEmpty {
      add(
        "endpoints", .fault,
        "internalTrafficPolicy is Local and no ready endpoint is on node \(explainer.nodeName)",
        objects: ["Service \(key)"], hint: "run a pod on this node, or set internalTrafficPolicy to Cluster")
      return
    }
    if !all.isEmpty {
      let list = all.map { endpoint in
        let stopped = endpoint.pod.flatMap { view.pods[$0]?.stoppedContainers } ?? []
        return "\(endpoint.target)" + (stopped.isEmpty ? "" : " (\(stopped.joined(separator: ", ")))")
      }
      let isStopped = all.contains { $0.pod.flatMap { view.pods[$0]?.stoppedContainers.isEmpty } == false }
      add(
        "endpoints", .fault, "none of \(all.count) is ready: \(list.joined(separator: ", "))",
        objects: all.compactMap { $0.pod.map { "Pod \($0)" } },
        hint: "see \(isStopped ? "why" : "which probe fails"): kubectl describe pods -n \(key.namespace)")
      return
    }
    let matching = view.pods.values.filter {
      $0.key.namespace == key.namespace && !service.selector.isEmpty
        && LabelSelector(matchLabels: service.selector).matches($0.labels)
    }
    let selector = service.selector.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(
      separator: ",")
    if service.selector.isEmpty {
      add(
        "endpoints", .fault, "none, and the Service has no selector", objects: ["Service \(key)"],
        hint: "create an EndpointSlice for it")
    } else if matching.isEmpty {
      add(
        "endpoints", .fault, "none: no pod has the labels \(selector)", objects: ["Service \(key)"],
        hint: "compare with: kubectl get pods -n \(key.namespace) --show-labels")
    } else {
      add(
        "endpoints", .fault,
        "none: \(matching.count) pods have the labels \(selector), but none has this port and an address",
        objects: matching.map { "Pod \($0.key)" }.sorted(), hint: "compare targetPort with the pods' ports")
    }
  }

  // MARK: - Pods

  private mutating func toPod(_ key: ObjectKey, _ target: ExplainTarget) throws(WeftError) {
    guard let pod = view.pods[key] else {
      throw WeftError(
        "CLI0011", object: "pod \(key)", cause: "does not exist",
        next:
          "\(Spelling.pod(key, in: view).map { "did you mean \($0)? " } ?? "")look at: kubectl get pods -n \(key.namespace)",
        exit: .finding)
    }
    guard let address = pod.addresses.first else {
      add(
        "pod", .fault, "\(key) has no address yet (phase \(pod.phase))", objects: ["Pod \(key)"],
        hint: "kubectl describe pod -n \(key.namespace) \(key.name)")
      return
    }
    let transport = target.transport ?? .tcp
    let port = try number(target, of: "pod \(key)", choices: pod.ports.filter { $0.transport == transport })
    add("pod", .fine, "\(key) is \(SocketEndpoint(address, port))", objects: ["Pod \(key)"])
    describeStop(pod)
    finish([SocketEndpoint(address, port)], via: nil, transport)
  }

  private func number(_ target: ExplainTarget, of object: String, choices: [Pod.ContainerPort])
    throws(WeftError) -> UInt16
  {
    switch target.port {
    case .number(let number): return number
    case .name(let name):
      if let port = choices.first(where: { $0.name == name }) { return port.port }
    case nil:
      if choices.count == 1 { return choices[0].port }
    }
    throw WeftError(
      "CLI0012", object: object, cause: "the port is not clear", next: "add :PORT to the destination")
  }

  /// Whether its containers run: rules may let in what nobody answers.
  mutating func describeStop(_ pod: Pod, _ step: String = "pod") {
    guard pod.hasEnded || !pod.stoppedContainers.isEmpty else { return }
    let why =
      pod.hasEnded
      ? "has ended (\(pod.phase))" : "does not run: \(pod.stoppedContainers.joined(separator: ", "))"
    add(
      step, .note, "\(pod.key) \(why)", objects: ["Pod \(pod.key)"],
      hint: "see why: kubectl describe pod -n \(pod.key.namespace) \(pod.key.name)")
  }

  // MARK: - Policy and kernel

  mutating func finish(
    _ targets: [SocketEndpoint], via: SocketEndpoint?, _ transport: TransportProtocol
  ) {
    var denied = 0
    for target in targets {
      let party = PolicyParty(address: target.address, pod: view.pod(at: target.address)?.key)
      let decision = decidePolicy(
        view: view, from: source, to: party, port: target.port, transport: transport)
      if !decision.isAllowed { denied += 1 }
      add(
        "policy", decision.isAllowed ? .fine : .fault, sentence(decision, target, party),
        objects: objects(decision), hint: hint(decision))
      for audited in decision.audited {
        add("policy", .note, "\(party.pod.map { "\($0.name) " } ?? "")\(target): \(audited.auditWords)")
      }
    }
    explanation.verdict = denied == 0 ? .allow : .deny
    explanation.asked = (via ?? targets.first).map {
      .init(
        source: source.address, destination: $0, transport: transport, open: targets.count - denied,
        closed: denied)
    }
    if denied > 0, denied < targets.count {
      add(
        "policy", .note,
        "\(denied) of \(targets.count) endpoints are out of reach: the connection fails now and then")
    }
    describeWays(targets, via: via)
    askKernel(targets, via: via, transport, denied: denied)
    judgeWays()
  }

  func sentence(_ decision: PolicyDecision, _ target: SocketEndpoint, _ party: PolicyParty) -> String {
    let to = party.pod.map { "\($0.name) " } ?? ""
    switch decision.reason {
    case .itself: return "\(to)\(target): a pod always reaches itself"
    case .notIsolated: return "\(to)\(target): no policy isolates either end"
    case .ownNode(.ingress): return "\(to)\(target): a pod's own node always reaches it"
    case .ownNode(.egress): return "\(to)\(target): no NetworkPolicy keeps a pod from its own node"
    case .ruled(let rule):
      return "\(to)\(target): \(rule.action == .deny ? "denied" : "allowed") by \(rule.words)"
    case .allowed(let policy, let rule, let direction):
      return
        "\(to)\(target): allowed by NetworkPolicy \(policy), \(direction == .ingress ? "ingress" : "egress") rule \(rule)"
    case .denied(let policies, let direction):
      let names = policies.map(\.description).joined(separator: ", ")
      let end =
        direction == .ingress
        ? "into \(party.pod?.name ?? "\(target.address)")"
        : "out of \(source.pod?.name ?? "\(source.address)")"
      return
        "\(to)\(target): denied by NetworkPolicy \(names): no \(direction == .ingress ? "ingress" : "egress") rule lets it \(end)"
    }
  }

  func objects(_ decision: PolicyDecision) -> [String] {
    switch decision.reason {
    case .itself, .notIsolated, .ownNode: []
    case .ruled(let rule): ["ClusterNetworkPolicy \(rule.policy)"]
    case .allowed(let policy, _, _): ["NetworkPolicy \(policy)"]
    case .denied(let policies, _): policies.map { "NetworkPolicy \($0)" }
    }
  }

  func hint(_ decision: PolicyDecision) -> String? {
    if case .ruled(let rule) = decision.reason, rule.action == .deny {
      return "look at: kubectl describe clusternetworkpolicy \(rule.policy)"
    }
    guard case .denied(let policies, _) = decision.reason, let first = policies.first else { return nil }
    return "look at: kubectl describe networkpolicy -n \(first.namespace) \(first.name)"
  }

  /// Walks the same packet through the ruleset in force, once for each slot the balancer can draw.
  private mutating func askKernel(
    _ targets: [SocketEndpoint], via: SocketEndpoint?, _ transport: TransportProtocol, denied: Int
  ) {
    guard let observed = explainer.observed else {
      add("kernel", .note, "not asked: the ruleset of this node was not read")
      return
    }
    let wanted = Set(targets)
    var reached: Set<SocketEndpoint> = []
    var dropped = 0
    var refusal: String?
    for draw in 0..<UInt32(max(targets.count, 1)) {
      let first = via ?? targets[Int(draw)]
      let packet = Packet(
        source.address, first.address, transport: transport.number, destinationPort: first.port,
        inputInterface: source.pod == nil ? "" : "cni0")
      let context = EvaluationContext(localAddresses: explainer.localAddresses) { $0 == 0 ? 0 : draw % $0 }
      let isOwn = source.pod == nil && explainer.localAddresses.contains(source.address)
      let evaluation =
        isOwn ? observed.evaluateLeaving(packet, context) : observed.evaluateArriving(packet, context)
      let end = evaluation.destinationNAT ?? first
      if evaluation.outcome.isAccept {
        reached.insert(end)
      } else {
        dropped += 1
        let step = evaluation.decisive
        refusal = step.map { "\($0.table.name) \($0.chain)\($0.comment.map { " (\($0))" } ?? "")" }
      }
    }
    let agrees = reached.isSubset(of: wanted) && dropped == denied && reached.count + dropped == targets.count
    explanation.kernel = agrees ? .agrees : .differs
    var said =
      reached.isEmpty ? "" : "passes to \(reached.sorted().map(\.description).joined(separator: ", "))"
    if let refusal { said += "\(said.isEmpty ? "" : "; ")refuses in \(refusal)" }
    add(
      "kernel", agrees ? .fine : .fault,
      "\(agrees ? "" : "CLI0154 ")the ruleset in force \(said.isEmpty ? "does nothing" : said)",
      hint: agrees ? nil : "see what differs: weft diff")
  }
}

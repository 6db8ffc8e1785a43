// What the kernel tells, put into names: records of connections and told packets in, flows out. Pure: no clock, no socket.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import Policy
import Ruleset

/// How long connection tracking keeps an idle connection, in seconds: taken off a connection's life to get its duration.
public struct FlowTimeouts: Sendable, Hashable {
  /// By `enum tcp_conntrack`: 4 FIN_WAIT, 5 CLOSE_WAIT, 6 LAST_ACK, 7 TIME_WAIT, 8 CLOSE.
  public var tcp: [UInt8: UInt64] = [4: 120, 5: 60, 6: 30, 7: 120, 8: 10]
  public var udp: UInt64 = 30
  public var udpStream: UInt64 = 120
  public init() {}

  func idle(_ record: FlowRecord) -> UInt64 {
    switch record.transport {
    case TransportProtocol.tcp.number: record.tcpState.flatMap { tcp[$0] } ?? 0
    // `IPS_ASSURED`: packets went to and fro.
    case TransportProtocol.udp.number: record.status & 4 != 0 ? udpStream : udp
    default: 0
    }
  }
}

/// Not for several threads at once.
public struct FlowTranslator: Sendable {
  public var names = FlowNames()
  public var timeouts = FlowTimeouts()
  let nodeName: String
  /// What policies said of connections, by their ends; forgotten when anything changes that they depend on.
  private var decisions: [Question: Flow.Decision?] = [:]
  /// Questions to policies that may still be asked of connections that passed, this second.
  private var questionsLeft = 0
  private var questionSecond: UInt64 = 0

  /// Bound on remembered decisions.
  public static let decisionsMax = 8192
  /// Connections that passed are asked about at most so often a second: the rest go without the policy's name. What was refused is
  /// always asked about; its rate is the log rule's.
  public static let questionsPerSecond = 1000

  private struct Question: Hashable {
    var source: IPAddress
    var destination: IPAddress
    var port: UInt16
    var transport: UInt8
  }

  public init(nodeName: String) { self.nodeName = nodeName }

  /// Policies, pods or namespaces changed.
  public mutating func forgetDecisions() { decisions.removeAll(keepingCapacity: true) }

  /// Nil for connections that are neither a pod's nor a Service's: the machine's own.
  /// - Parameters:
  ///   - now: nanoseconds since 1970, for kernels that keep no times.
  ///   - view: asked when policies are; nil: they are not.
  public mutating func translate(
    _ record: FlowRecord, now: UInt64, view: (() -> ClusterView)?
  ) -> Flow? {
    guard record.event != .update else { return nil }
    let began = record.startNanoseconds
    let source = end(record.original.source, at: began)
    // Translated or not: it went to where its answers come from.
    let destination = end(record.reply.source, at: began)
    let service = names.service(at: record.original.destination, transport: record.transport)
    guard source.pod != nil || destination.pod != nil || service != nil else { return nil }
    let stopped = record.stopNanoseconds
    let time = record.event == .end ? (stopped > 0 ? stopped : now) : (began > 0 ? began : now)
    var flow = Flow(
      time: time, event: record.event == .end ? .end : .new, verdict: .forwarded, node: nodeName,
      transport: record.transport, source: source, destination: destination)
    flow.service = service.map {
      Flow.Service($0.key, portName: $0.portName, asked: record.original.destination)
    }
    flow.hasReply = record.hasReply
    if record.event == .end, let sent = record.sent, let received = record.received {
      flow.totals = Flow.Totals(
        bytesSent: sent.bytes, bytesReceived: received.bytes, packetsSent: sent.packets,
        packetsReceived: received.packets)
    }
    if record.event == .end, began > 0, stopped >= began {
      let life = stopped - began
      let idle = timeouts.idle(record) * 1_000_000_000
      // What was cut was not idle so long.
      let active = life >= idle ? life - idle : life
      flow.totals = flow.totals ?? Flow.Totals()
      flow.totals?.milliseconds = active / 1_000_000
    }
    if let view { flow.decision = decision(flow, now, isForwarded: true, view) }
    return flow
  }

  /// Nil for a prefix that is not ours.
  public mutating func translate(_ told: LoggedPacket, now: UInt64, view: () -> ClusterView) -> Flow? {
    guard let chain = DenyingChain(rawValue: told.prefix) else { return nil }
    let packet = told.packet
    let time = told.nanoseconds > 0 ? told.nanoseconds : now
    let source = end(SocketEndpoint(packet.source, packet.sourcePort), at: 0)
    let destination = end(SocketEndpoint(packet.destination, packet.destinationPort), at: 0)
    var flow = Flow(
      time: time, event: .packet, verdict: chain.isAudit ? .audited : .denied, node: nodeName,
      transport: packet.transport, source: source, destination: destination)
    if let asked = told.connection?.original.destination,
      let service = names.service(at: asked, transport: packet.transport)
    {
      flow.service = Flow.Service(service.key, portName: service.portName, asked: asked)
    }
    if chain == .quarantine {
      let unknown = source.pod == nil ? source.endpoint.address : destination.endpoint.address
      flow.decision = Flow.Decision(reason: "\(unknown) is of this node's block, and no known pod has it")
      return flow
    }
    let found =
      chain.isAudit ? audited(flow, chain, view) : decision(flow, now, isForwarded: false, view)
    if let found, found.rule == nil {
      flow.decision = found
    } else {
      // Objects and kernel disagree: a change is on its way, or something is wrong.
      flow.decision = Flow.Decision(
        direction: chain.direction,
        reason: "refused by \(chain.rawValue), and by no policy as it is now; if it goes on: weft diff")
    }
    if flow.decision?.direction.isEmpty == true { flow.decision?.direction = chain.direction }
    return flow
  }

  private func end(_ endpoint: SocketEndpoint, at time: UInt64) -> Flow.End {
    if let holder = names.holder(of: endpoint.address, at: time) {
      return Flow.End(endpoint, pod: holder.pod, labels: holder.labels)
    }
    var end = Flow.End(endpoint)
    end.node = names.node(at: endpoint.address)
    return end
  }

  /// What a policy in audit mode would have refused. Told packets are bounded by the log's rate.
  private func audited(_ flow: Flow, _ chain: DenyingChain, _ view: () -> ClusterView) -> Flow.Decision? {
    guard let transport = TransportProtocol(number: flow.transport) else { return nil }
    let answer = decidePolicy(
      view: view(), from: PolicyParty(address: flow.source.endpoint.address, pod: flow.source.pod),
      to: PolicyParty(address: flow.destination.endpoint.address, pod: flow.destination.pod),
      port: flow.destination.endpoint.port, transport: transport)
    return answer.audited.compactMap(Flow.Decision.init).first { $0.direction == chain.direction }
  }

  private mutating func decision(
    _ flow: Flow, _ now: UInt64, isForwarded: Bool, _ view: () -> ClusterView
  ) -> Flow.Decision? {
    guard let transport = TransportProtocol(number: flow.transport) else { return nil }
    let question = Question(
      source: flow.source.endpoint.address, destination: flow.destination.endpoint.address,
      port: flow.destination.endpoint.port, transport: flow.transport)
    if let known = decisions[question] { return known }
    if isForwarded {
      if questionSecond != now / 1_000_000_000 {
        questionSecond = now / 1_000_000_000
        questionsLeft = Self.questionsPerSecond
      }
      guard questionsLeft > 0 else { return nil }
      questionsLeft -= 1
    }
    let answer = decidePolicy(
      view: view(), from: PolicyParty(address: question.source, pod: flow.source.pod),
      to: PolicyParty(address: question.destination, pod: flow.destination.pod), port: question.port,
      transport: transport)
    let decision = Flow.Decision(answer.reason)
    if decisions.count >= Self.decisionsMax { decisions.removeAll(keepingCapacity: true) }
    decisions[question] = .some(decision)
    return decision
  }
}

/// The chains of our tables that tell what they meet, by the prefix that they tell it with.
enum DenyingChain: String {
  case ingress = "KUBE-DENY-IN"
  case egress = "KUBE-DENY-EG"
  case quarantine = "KUBE-QUARANTINE"
  case auditIngress = "KUBE-AUDIT-IN"
  case auditEgress = "KUBE-AUDIT-EG"

  var isAudit: Bool { self == .auditIngress || self == .auditEgress }
  var direction: String {
    switch self {
    case .ingress, .auditIngress: "Ingress"
    case .egress, .auditEgress: "Egress"
    case .quarantine: ""
    }
  }
}

extension Flow.Decision {
  /// Nil when no policy has a say.
  init?(_ reason: PolicyDecision.Reason) {
    if case .allowed(let policy, let rule, let direction) = reason {
      self.init(
        direction: direction.rawValue, policies: [policy], rule: rule,
        reason: "allowed by \(policy), \(direction.rawValue.lowercased()) rule \(rule + 1)")
    } else if case .denied(let policies, let direction) = reason {
      let names = policies.map(\.description).joined(separator: ", ")
      self.init(
        direction: direction.rawValue, policies: policies,
        reason: "no \(direction.rawValue.lowercased()) rule of \(names) allows it")
    } else if case .ruled(let ruling) = reason {
      let isDenial = ruling.action == .deny
      self.init(
        direction: ruling.direction.rawValue, policies: [ObjectKey("", ruling.policy)],
        rule: isDenial ? nil : ruling.rule,
        reason: "\(isDenial ? "denied" : "allowed") by \(ruling.words)")
    } else {
      return nil
    }
  }
}

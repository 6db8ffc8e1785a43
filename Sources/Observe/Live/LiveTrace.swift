// What the kernel's trace of one packet says, in the words of rules and objects, held against what the objects promise. Pure.

import Addresses
import Diagnostics
import Glibc
import KernelNftables
import Ruleset

/// The events of a traced packet with what is known of the rules that it met.
struct LiveTrace {
  var events: [TraceEvent]
  /// By table and handle.
  var notes: [Table.ID: [UInt64: RuleNote]]
  /// Printed rules by fingerprint: those that we plan.
  var rules: [UInt64: String]

  /// What became of the packet in this node's ruleset.
  enum End: Hashable {
    case passed
    case dropped(at: String)
    /// It met no rule: it never came to this node's ruleset.
    case unseen
  }

  /// - Parameter planned: what is in force as it was planned; rules of others have no text.
  init(events: [TraceEvent], notes: [Table.ID: [UInt64: RuleNote]], planned: Ruleset?) {
    // A segment that is sent again is another packet.
    let first = events.first?.packet
    self.events = events.filter { $0.packet == first }
    self.notes = notes
    rules = [:]
    for table in planned?.tables ?? [] {
      for chain in table.chains { for rule in chain.rules { rules[rule.fingerprint] = "\(rule)" } }
    }
  }

  var end: End {
    guard let last = events.last else { return .unseen }
    return last.verdict == .drop ? .dropped(at: place(last)) : .passed
  }

  /// `ip KUBE-PROXY KUBE-SERVICES rule 2`.
  private func place(_ event: TraceEvent) -> String {
    let chain = "\(event.table) \(event.chain)"
    switch event.kind {
    case .rule(let handle):
      guard let note = notes[event.table]?[handle] else { return "\(chain) handle \(handle)" }
      return "\(chain) rule \(note.place)"
    case .endOfChain: return "\(chain) end"
    case .policy: return "\(chain) policy"
    }
  }

  /// A line for each rule that the packet met, with where it was going when that changes. Policies of base chains that let it on are
  /// left out.
  func steps() -> [Explanation.Step] {
    var steps: [Explanation.Step] = []
    var heading: SocketEndpoint?
    for event in events {
      if let addresses = event.addresses, let ports = event.ports {
        let now = SocketEndpoint(addresses.destination, ports.destination)
        if let heading, heading != now { steps.append(.init("live", .fine, "translated: goes to \(now)")) }
        heading = now
      }
      if case .endOfChain = event.kind { continue }
      if event.kind == .policy, event.verdict != .drop { continue }
      var text = place(event)
      if case .rule(let handle) = event.kind, let note = notes[event.table]?[handle] {
        if let rule = rules[note.fingerprint] {
          text += ": \(rule)"
        } else if let comment = note.comment {
          text += " (\(comment))"
        }
      }
      steps.append(.init("live", event.verdict == .drop ? .fault : .fine, "\(text) → \(event.verdict.words)"))
    }
    return steps
  }
}

extension TraceEvent.Verdict {
  var words: String {
    switch self {
    case .accept: "accept"
    case .drop: "drop"
    case .next: "next rule"
    case .jump(let chain): "jump \(chain)"
    case .goto(let chain): "goto \(chain)"
    case .back: "return"
    case .other: "queued or stolen"
    }
  }
}

extension Explanation {
  /// Takes in what the network did, and says whether that is what the objects promise.
  mutating func add(_ trace: LiveTrace, _ outcome: LiveProbe.Outcome) {
    guard let asked else { return }
    steps += trace.steps()
    let (mark, text, hint) = outcome.sentence(asked, trace.end)
    steps.append(.init("live", mark, text, hint: hint))
    let isExpected =
      switch trace.end {
      case .passed: asked.open > 0
      case .dropped: asked.closed > 0 || asked.open == 0
      case .unseen: false
      }
    if isExpected { return }
    kernel = .differs
    if trace.end == .unseen {
      steps.append(
        .init(
          "live", .fault, "CLI0150 the packet met no rule of this node",
          hint:
            "pods of one node need br_netfilter (sysctl net.bridge.bridge-nf-call-iptables=1); a pod of another node is asked there: weft cni check"
        ))
    } else {
      let promised = asked.open > 0 ? "it passes" : asked.closed > 0 ? "policies deny it" : "it is refused"
      let happened = trace.end == .passed ? "it passed" : "it was dropped"
      steps.append(
        .init(
          "live", .fault, "CLI0153 the objects say that \(promised), and in the kernel \(happened)",
          hint: "see what differs: weft diff; a rule of somebody else is among those above"))
    }
  }
}

extension LiveProbe.Outcome {
  fileprivate func sentence(_ asked: Explanation.Asked, _ end: LiveTrace.End) -> (
    Explanation.Step.Mark, String, String?
  ) {
    let to = "\(asked.destination)/\(asked.transport.rawValue)"
    switch self {
    case .connected(let milliseconds):
      return (.fine, "connected to \(to) in \((milliseconds * 100).rounded() / 100) ms", nil)
    case .sent: return (.fine, "an empty datagram went to \(to); nothing refused it", nil)
    case .refused:
      guard case .passed = end else { return (.fault, "\(to) was refused by a rule", nil) }
      return (
        .fault, "\(to) was refused by the endpoint: nothing listens there",
        "compare targetPort with what the program listens on: kubectl exec POD -- ss -ltn"
      )
    case .unanswered:
      guard case .passed = end else { return (.fault, "\(to) did not answer", nil) }
      return (
        .fault, "\(to) did not answer, though this node let the packet pass",
        "the answer is lost behind this node: ask on the endpoint's node, or look with weft capture"
      )
    case .unreachable(let code):
      return (
        .fault, "\(to) cannot be reached: \(String(cString: strerror(code)))",
        "look at the routes of the source: ip route get \(asked.destination.address)"
      )
    }
  }
}

// The second reading of a ruleset: what would this packet meet? Walks hooks in the kernel's order, base
// chains by priority, and keeps a step for each rule that matched. `weft explain` shows the steps; tests hold
// them against the kernel.

import Addresses

extension Ruleset {
  /// Sends a packet from outside or from a pod through prerouting, then input or forward, then postrouting.
  public func evaluateArriving(_ packet: Packet, _ context: EvaluationContext = .init()) -> Evaluation {
    var walk = Walk(ruleset: self, packet: packet, context: context)
    guard walk.pass(.prerouting) else { return walk.result }
    if context.localAddresses.contains(walk.result.packet.destination) {
      _ = walk.pass(.input)
    } else if walk.pass(.forward) {
      _ = walk.pass(.postrouting)
    }
    return walk.result
  }

  /// Sends a packet of the machine itself through output and postrouting; to itself also through prerouting
  /// and input.
  public func evaluateLeaving(_ packet: Packet, _ context: EvaluationContext = .init()) -> Evaluation {
    var walk = Walk(ruleset: self, packet: packet, context: context)
    guard walk.pass(.output), walk.pass(.postrouting) else { return walk.result }
    let destination = walk.result.packet.destination
    if context.localAddresses.contains(destination) || destination.isLoopback {
      walk.isNATDone = true
      guard walk.pass(.prerouting) else { return walk.result }
      _ = walk.pass(.input)
    }
    return walk.result
  }

  /// One hook alone.
  public func evaluate(_ packet: Packet, at hook: BaseChain.Hook, _ context: EvaluationContext = .init())
    -> Evaluation
  {
    var walk = Walk(ruleset: self, packet: packet, context: context)
    _ = walk.pass(hook)
    return walk.result
  }
}

/// The state of one walk: the packet so far, and where it is.
struct Walk {
  let ruleset: Ruleset
  let context: EvaluationContext
  var result: Evaluation
  /// NAT is decided by the first packet of a connection, once for each direction.
  var isNATDone = false
  var rulesLeft: Int
  var hook: BaseChain.Hook = .prerouting
  /// Elements that `update` added on the way, by table and set.
  var dynamic: [String: [Datum: Datum]] = [:]

  /// Why a chain stopped.
  enum Flow { case onwards, accept, stop(Evaluation.Outcome) }

  init(ruleset: Ruleset, packet: Packet, context: EvaluationContext) {
    self.ruleset = ruleset
    self.context = context
    result = Evaluation(packet: packet)
    rulesLeft = context.rulesMax
  }

  /// Runs the base chains of a hook. False when the packet goes no further.
  mutating func pass(_ hook: BaseChain.Hook) -> Bool {
    self.hook = hook
    result.hooks.append(hook)
    let family: TableFamily = result.packet.family == .v4 ? .ip : .ip6
    var entries: [(priority: Int32, order: Int, table: Table, chain: Chain)] = []
    for table in ruleset.tables where table.id.family == family || table.id.family == .inet {
      for chain in table.chains {
        guard let base = chain.base, base.hook == hook else { continue }
        entries.append((base.priority, entries.count, table, chain))
      }
    }
    entries.sort { ($0.priority, $0.order) < ($1.priority, $1.order) }
    for (_, _, table, chain) in entries {
      guard let base = chain.base else { continue }
      if base.kind == .nat, !isNATOpen { continue }
      switch run(table, chain, depth: 0) {
      case .accept: continue
      case .stop(let outcome):
        result.outcome = outcome
        return false
      case .onwards where base.policy == .drop:
        step(table, chain, nil, "policy drop", "drop")
        result.outcome = .drop
        return false
      case .onwards: continue
      }
    }
    return true
  }

  /// Only the first packet of a tracked connection meets nat chains, and only until one has translated it.
  private var isNATOpen: Bool {
    guard result.packet.state.contains(.new), !result.isUntracked else { return false }
    return switch hook {
    case .prerouting, .output: !isNATDone && result.destinationNAT == nil
    case .postrouting, .input: !result.isMasqueraded
    case .forward: false
    }
  }

  private mutating func run(_ table: Table, _ chain: Chain, depth: Int) -> Flow {
    // The kernel allows 16 nested jumps.
    guard depth <= 16 else { return .stop(.drop) }
    for (index, rule) in chain.rules.enumerated() {
      rulesLeft -= 1
      guard rulesLeft > 0 else { return .stop(.drop) }
      var effects: [String] = []
      switch execute(rule, in: table, &effects) {
      case .noMatch: continue
      case .done:
        step(table, chain, index, rule.description, effects.joined(separator: ", "), comment: rule.comment)
      case .stop(let outcome):
        step(table, chain, index, rule.description, effects.joined(separator: ", "), comment: rule.comment)
        return outcome == .accept ? .accept : .stop(outcome)
      case .verdict(let verdict):
        effects.append(verdict.description)
        step(table, chain, index, rule.description, effects.joined(separator: ", "), comment: rule.comment)
        switch verdict {
        case .accept: return .accept
        case .drop: return .stop(.drop)
        case .return: return .onwards
        case .jump(let name):
          guard let next = table[chain: name] else { return .stop(.drop) }
          let flow = run(table, next, depth: depth + 1)
          if case .onwards = flow { continue }
          return flow
        case .goto(let name):
          guard let next = table[chain: name] else { return .stop(.drop) }
          return run(table, next, depth: depth + 1)
        }
      }
    }
    return .onwards
  }

  private mutating func step(
    _ table: Table, _ chain: Chain, _ rule: Int?, _ text: String, _ effect: String, comment: String? = nil
  ) {
    result.steps.append(
      .init(
        table: table.id, hook: hook, chain: chain.name, rule: rule, text: text, effect: effect,
        comment: comment))
  }
}

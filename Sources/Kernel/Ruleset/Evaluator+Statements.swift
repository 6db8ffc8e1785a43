// One rule against one packet: statements from left to right, expressions as register values.

import Addresses

extension Walk {
  enum RuleResult {
    case noMatch
    /// All statements ran, none gave a verdict.
    case done
    case stop(Evaluation.Outcome)
    case verdict(Verdict)
  }

  mutating func execute(_ rule: Rule, in table: Table, _ effects: inout [String]) -> RuleResult {
    for statement in rule.statements {
      switch statement {
      case .match(let expression, let comparison, let wanted):
        guard let value = load(expression, table) else { return .noMatch }
        // A shorter constant compares the beginning: `iifname "vp*"`.
        let equal =
          value.count > wanted.count
          ? value.slice(0..<Int(wanted.count)) == wanted : value == wanted
        if equal != (comparison == .equal) { return .noMatch }
      case .matchRange(let expression, let first, let last):
        guard let value = load(expression, table), first <= value, value <= last else { return .noMatch }
      case .ctState(let states):
        if result.packet.state.isDisjoint(with: states) { return .noMatch }
      case .ctStatus(let status):
        if result.isUntracked || result.status.isDisjoint(with: status) { return .noMatch }
      case .lookup(let expression, let name, let negated):
        guard let value = load(expression, table), let set = table[set: name] else { return .noMatch }
        if (find(value, in: set, table) != nil) == negated { return .noMatch }
      case .lookupAny(let expression, let intervals):
        guard let value = load(expression, table),
          intervals.contains(where: { $0.first <= value && value <= $0.last })
        else { return .noMatch }
      case .vmap(let expression, let name):
        guard let value = load(expression, table), let set = table[set: name],
          case .verdict(let verdict)? = find(value, in: set, table)?.value
        else { return .noMatch }
        return .verdict(verdict)
      case .setMetaMark(let expression):
        guard let value = load(expression, table) else { return .noMatch }
        result.packet.mark = value.asNumber
        effects.append("meta mark \(DataType.text([.mark], value))")
      case .setCtMark(let expression):
        guard let value = load(expression, table) else { return .noMatch }
        result.packet.ctMark = value.asNumber
        effects.append("ct mark \(DataType.text([.mark], value))")
      case .dnat(let expression):
        guard let value = load(expression, table), let endpoint = endpoint(value, expression.type) else {
          return .noMatch
        }
        // The kernel notes no translation of what is there already.
        if endpoint != SocketEndpoint(result.packet.destination, result.packet.destinationPort) {
          result.status.insert(.dnat)
        }
        result.destinationNAT = endpoint
        result.packet.destination = endpoint.address
        result.packet.destinationPort = endpoint.port
        effects.append("dnat to \(endpoint)")
        return .stop(.accept)
      case .masquerade:
        result.isMasqueraded = true
        effects.append("masquerade")
        return .stop(.accept)
      case .reject(.tcpReset):
        guard result.packet.transport == 6 else { return .noMatch }
        effects.append("reject with tcp reset")
        return .stop(.rejectWithReset)
      case .reject(.portUnreachable):
        effects.append("reject with port unreachable")
        return .stop(.rejectUnreachable)
      case .notrack:
        result.isUntracked = true
        result.packet.state = .untracked
        effects.append("notrack")
      case .update(let name, let key, let data, _):
        guard let value = load(key, table) else { return .noMatch }
        dynamic["\(table.id) \(name)", default: [:]][value] = data.flatMap { load($0, table) } ?? Datum()
      case .remove(let name, let key, _):
        guard let value = load(key, table) else { return .noMatch }
        dynamic["\(table.id) \(name)"]?[value] = nil
      case .counter, .counterNamed, .limit, .log, .trace: continue
      case .verdict(let verdict): return .verdict(verdict)
      }
    }
    return .done
  }

  /// The value of an expression; nil where the kernel would end the rule (no element, wrong header).
  private func load(_ expression: Expression, _ table: Table) -> Datum? {
    let packet = result.packet
    switch expression {
    case .sourceAddress(let family), .destinationAddress(let family):
      var address = packet.source
      if case .destinationAddress = expression { address = packet.destination }
      guard (address.family == .v4) == (family == .ip) else { return nil }
      return .address(address)
    case .sourcePort: return .port(packet.sourcePort)
    case .destinationPort: return .port(packet.destinationPort)
    case .tcpFlags: return packet.transport == 6 ? .byte(packet.tcpFlags) : nil
    case .etherSource: return packet.etherSource.map { .mac($0) }
    case .arpSourceAddress: return nil
    case .metaTransport: return .byte(packet.transport)
    case .metaMark: return .number(packet.mark)
    case .inputInterface: return .interface(packet.inputInterface)
    case .outputInterface: return .interface(packet.outputInterface)
    case .metaProtocol: return Datum(bytes: packet.family == .v4 ? [0x08, 0x00] : [0x86, 0xdd])
    // Without tracking there is no connection: the kernel ends the rule.
    case .ctMark: return result.isUntracked ? nil : .number(packet.ctMark)
    case .ctDirection: return result.isUntracked ? nil : .byte(packet.isReply ? 1 : 0)
    case .sourceAddressKind: return .number(kind(of: packet.source))
    case .destinationAddressKind: return .number(kind(of: packet.destination))
    case .random(let modulus): return .number(modulus == 0 ? 0 : context.draw(modulus) % modulus)
    case .hashed(let inner, let modulus, let seed):
      return load(inner, table).map {
        .number(modulus == 0 ? 0 : JenkinsHash.slot($0.bytes, modulus: modulus, seed: seed))
      }
    case .constant(let value, _): return value
    case .masked(let inner, let mask): return load(inner, table)?.combined(with: mask, &)
    case .or(let inner, let bits): return load(inner, table)?.combined(with: bits, |)
    case .xor(let inner, let bits): return load(inner, table)?.combined(with: bits, ^)
    case .networkOrder(let inner): return load(inner, table).map { .networkNumber($0.asNumber) }
    case .concatenation(let members):
      var values: [Datum] = []
      for member in members {
        guard let value = load(member, table) else { return nil }
        values.append(value)
      }
      return Datum(joining: values)
    case .mapped(let key, let map, _):
      guard let value = load(key, table), let set = table[set: map],
        case .data(let data)? = find(value, in: set, table)?.value
      else { return nil }
      return data
    }
  }

  /// The element that covers a value.
  private func find(_ value: Datum, in set: NamedSet, _ table: Table) -> Element? {
    if set.isDynamic, let data = dynamic["\(table.id) \(set.name)"]?[value] {
      return Element(set.isMap ? .data(data) : .present)
    }
    return set.element(covering: value)
  }

  private func kind(of address: IPAddress) -> UInt32 {
    // RTN_LOCAL is 2, RTN_UNICAST 1; nothing here asks for the others.
    context.localAddresses.contains(address) || address.isLoopback ? Expression.kindLocal : 1
  }

  private func endpoint(_ value: Datum, _ type: [DataType]) -> SocketEndpoint? {
    let ranges = DataType.ranges(of: type)
    guard type.count == 2, ranges[1].upperBound <= Int(value.count),
      let address = IPAddress(bytes: value.slice(ranges[0]).bytes)
    else { return nil }
    let port = value.slice(ranges[1]).bytes
    return SocketEndpoint(address, UInt16(port[0]) << 8 | UInt16(port[1]))
  }
}

extension NamedSet {
  /// The element that covers a value: by key, and in interval sets by range of each member. A scan for
  /// interval sets.
  public func element(covering value: Datum) -> Element? {
    if let exact = elements[value] { return exact }
    guard isInterval else { return nil }
    let ranges = DataType.ranges(of: key)
    return elements.first { first, element in
      guard case .through(let last) = element.value else { return false }
      return ranges.allSatisfy { range in
        guard range.upperBound <= Int(min(value.count, first.count, last.count)) else { return false }
        let part = value.slice(range)
        return first.slice(range) <= part && part <= last.slice(range)
      }
    }?.value
  }
}

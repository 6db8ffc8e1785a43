// Writes what the zone found into a reply: pre-encoded octets are copied, never built.

import Addresses

extension Zone {
  /// What the server does next.
  enum Outcome {
    /// The reply is complete.
    case answered
    /// The name belongs to someone else: ask upstream.
    case elsewhere
    /// An alias into someone else's names was written; the reply lacks the target's records. The target's wire form
    /// stands at `at` in the reply.
    case alias(at: Int, count: Int)
  }

  /// How many steps from alias to alias are followed inside the zone.
  static let aliasesMax = 8

  /// Answers a question. `rotation` turns the order of addresses, as `loadbalance` does.
  @inline(__always)
  func answer(_ packet: RawSpan, _ head: borrowing QueryHead, _ reply: inout Reply, rotation: UInt32)
    -> Outcome
  {
    guard let index = authority(packet, head) else { return .elsewhere }
    if !authorities[index].isReady {
      reply.flags |= ResponseCode.serverFailure.rawValue
      reply.extendedError = .notReady
      return .answered
    }
    let found = find(packet, head, authority: index)
    if case .respelled = found { reply.isMinimal = true }
    switch found {
    case .elsewhere: return .elsewhere
    case .nameError:
      reply.flags |= ResponseCode.nameError.rawValue
      writeDenial(head, index, &reply)
    case .emptyName: writeDenial(head, index, &reply)
    case .node(let group, let node), .respelled(let group, let node):
      guard let answer = group.answer(node, head.type) else {
        if head.type == .any, node.answers > 0 {
          Self.writeAnyRefusal(settings.ttl, &reply)
        } else {
          writeDenial(head, index, &reply)
        }
        break
      }
      write(answer, &reply, rotation)
      if answer.type == .cname, head.type != .cname {
        reply.flags |= Header.authoritative
        return follow(head.type, head.questionEnd, rotation, &reply)
      }
    case .pod(let address):
      if !writePod(address, head.type, &reply) { writeDenial(head, index, &reply) }
    case .reverse(let entries):
      guard head.type == .ptr else {
        writeDenial(head, index, &reply)
        break
      }
      writePointers(entries, &reply)
    }
    reply.flags |= Header.authoritative
    return .answered
  }

  /// Copies a pre-encoded answer. Without room, additional records go first and silently (RFC 2181 section 9); then
  /// whole addresses are left out and the client is told to come back over TCP.
  @inline(__always)
  func write(_ answer: GroupView.Answer, _ reply: inout Reply, _ rotation: UInt32) {
    var records = answer.records
    if answer.answerBytes > reply.room {
      reply.flags |= Header.truncated
      records = answer.unit > 0 ? max(0, reply.room / answer.unit) : 0
    }
    if answer.unit > 0, answer.records > 1 {
      let first = Int(rotation % UInt32(truncatingIfNeeded: answer.records))
      let untilEnd = min(records, answer.records &- first)
      reply.append(answer.octets + first &* answer.unit, untilEnd &* answer.unit)
      reply.append(answer.octets, (records &- untilEnd) &* answer.unit)
    } else if records == answer.records {
      reply.append(answer.octets, answer.answerBytes)
    }
    reply.answers &+= UInt16(truncatingIfNeeded: records)
    if answer.additional > 0, !reply.isMinimal, records == answer.records,
      answer.allBytes &- answer.answerBytes <= reply.room
    {
      reply.append(answer.octets + answer.answerBytes, answer.allBytes &- answer.answerBytes)
      reply.additional &+= UInt16(truncatingIfNeeded: answer.additional)
    }
  }

  /// NODATA and NXDOMAIN carry the zone's SOA, so that clients know how long to remember (RFC 2308 section 3). `nameAt` is
  /// where the name that `head` was read from stands in the reply.
  @inline(__always)
  func writeDenial(
    _ head: borrowing QueryHead, _ index: Int, _ reply: inout Reply, nameAt: Int = Header.byteCount
  ) {
    let authority = authorities[index]
    guard reply.room >= 2 &+ authority.soaLength else { return }
    let zoneAt = nameAt &+ head.suffixStart(head.labelCount &- authority.labels)
    let pointer = 0xc000 | UInt16(truncatingIfNeeded: zoneAt)
    reply.uint16(pointer)
    let start = reply.count
    reply.append(authority.soa, authority.soaLength)
    reply.patch(uint16: pointer, at: start &+ Self.soaPointers.0)
    reply.patch(uint16: pointer, at: start &+ Self.soaPointers.1)
    reply.authorities = 1
  }

  /// One small record for "anything you have" (RFC 8482 section 4.2): nothing to amplify.
  static func writeAnyRefusal(_ ttl: UInt32, _ reply: inout Reply) {
    guard reply.room >= 12 + 9 else { return }
    reply.uint16(0xc00c)
    reply.uint16(RecordType.hinfo.rawValue)
    reply.uint16(Header.internet)
    reply.uint32(ttl)
    reply.uint16(9)
    let text: StaticString = "\u{7}RFC8482\0"
    reply.append(text.utf8Start, 9)
    reply.answers &+= 1
  }

  /// The address that a pod's name spells; false when another type is asked.
  func writePod(_ address: IPAddress, _ type: RecordType, _ reply: inout Reply) -> Bool {
    switch (address, type) {
    case (.v4(let four), .a):
      writeHead(.a, 4, settings.ttl, &reply)
      reply.uint32(four.bits)
    case (.v6(let six), .aaaa):
      writeHead(.aaaa, 16, settings.ttl, &reply)
      for shift in [96, 64, 32, 0] as [UInt128] {
        reply.uint32(UInt32(truncatingIfNeeded: six.bits >> shift))
      }
    default: return false
    }
    return true
  }

  private func writeHead(_ type: RecordType, _ length: Int, _ ttl: UInt32, _ reply: inout Reply) {
    reply.uint16(0xc00c)
    reply.uint16(type.rawValue)
    reply.uint16(Header.internet)
    reply.uint32(ttl)
    reply.uint16(UInt16(truncatingIfNeeded: length))
    reply.answers &+= 1
  }

  func writePointers(_ entries: Slice<UnsafeBufferPointer<ReverseEntry>>, _ reply: inout Reply) {
    for entry in entries {
      let length = Int(entry.prefixLength) + Int(entry.keyLength)
      guard reply.room >= 12 + length, let base = UnsafeRawPointer(bitPattern: entry.group) else {
        reply.flags |= Header.truncated
        return
      }
      writeHead(.ptr, length, settings.ttl, &reply)
      reply.append(base + Int(entry.prefixAt), Int(entry.prefixLength))
      reply.append(GroupView(base: base).key, Int(entry.keyLength))
    }
  }
}

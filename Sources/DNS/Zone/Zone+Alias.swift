// Aliases inside the zone, which ExternalName Services make: the target's records follow the alias, whatever is asked.

import Addresses

extension Zone {
  /// Follows the alias at the end of a reply. ExternalName Services are rare: this path may allocate. A chain that ends in a
  /// name without such records, or in no name, is denied as that name is (RFC 2308 section 2, RFC 6604 section 3).
  func follow(_ type: RecordType, _ questionEnd: Int, _ rotation: UInt32, _ reply: inout Reply) -> Outcome {
    guard type != .any else { return .answered }
    var targetAt = questionEnd + 12
    let asked = UnsafeRawBufferPointer(start: reply.base + Header.byteCount, count: questionEnd - 16)
    var seen: Set<DomainName> = [DomainName(uncheckedWire: Array(asked))]
    for _ in 0..<Self.aliasesMax {
      guard reply.flags & Header.truncated == 0, targetAt < reply.count else { return .answered }
      let target = DomainName(
        uncheckedWire: Array(
          UnsafeRawBufferPointer(start: reply.base + targetAt, count: reply.count - targetAt)))
      guard seen.insert(target).inserted else { return .answered }
      let question = Message(query: target, type, id: 0).encoded
      var head = QueryHead()
      let isRead = question.withUnsafeBytes { head.read($0.bytes) } == .query
      guard isRead, let index = question.withUnsafeBytes({ authority($0.bytes, head) }) else {
        return .alias(at: targetAt, count: target.wire.count)
      }
      guard authorities[index].isReady else { return .answered }
      let at = reply.count
      let answers = reply.answers
      let additional = reply.additional
      var isDenied = false
      var isAlias = false
      let found = question.withUnsafeBytes { find($0.bytes, head, authority: index) }
      if case .respelled = found { reply.isMinimal = true }
      switch found {
      case .elsewhere: return .alias(at: targetAt, count: target.wire.count)
      case .node(let group, let node), .respelled(let group, let node):
        if let answer = group.answer(node, type) {
          // Pointers reach the first 16 KiB of a message.
          if at + answer.allBytes > 0x3fff { reply.isMinimal = true }
          write(answer, &reply, rotation)
          isAlias = answer.type == .cname
        } else {
          isDenied = true
        }
      case .pod(let address): isDenied = !writePod(address, type, &reply)
      case .reverse(let entries):
        isDenied = type != .ptr
        if !isDenied { writePointers(entries, &reply) }
      case .nameError:
        reply.flags |= ResponseCode.nameError.rawValue
        isDenied = true
      case .emptyName: isDenied = true
      }
      if isDenied {
        writeDenial(head, index, &reply, nameAt: targetAt)
        return .answered
      }
      move(
        &reply, from: at, answers: Int(reply.answers - answers),
        additional: Int(reply.additional - additional), owner: targetAt, by: at - head.questionEnd)
      guard isAlias, reply.flags & Header.truncated == 0 else { return .answered }
      targetAt = at + 12
    }
    return .answered
  }

  /// Records are encoded to stand behind a question for their own name: here they stand further on, their name as `owner`.
  private func move(
    _ reply: inout Reply, from start: Int, answers: Int, additional: Int, owner: Int, by distance: Int
  ) {
    var at = start
    for index in 0..<(answers + additional) {
      guard at + 12 <= reply.count else { return }
      let first = reply.uint16(at: at)
      if first >= 0xc000 {
        let place = index < answers ? owner : Int(first & 0x3fff) + distance
        reply.patch(uint16: 0xc000 | UInt16(truncatingIfNeeded: place), at: at)
        at += 2
      } else {
        while at < reply.count, reply.byte(at: at) != 0 { at += Int(reply.byte(at: at)) + 1 }
        at += 1
      }
      guard at + 10 <= reply.count else { return }
      at += 10 + Int(reply.uint16(at: at + 8))
    }
  }
}

// nftables over the same sockets and bytes as rtnetlink, for programs that may not link libnftnl: the static CNI
// plugin. A handful of rules and elements in one transaction, and reading a map or a chain back. Whole rulesets are
// KernelNftables' work.
import Glibc

/// A synchronous conversation with nf_tables and connection tracking of one network namespace.
public struct NetfilterSession: ~Copyable {
  private var socket: NetlinkSocket
  private var sequence: UInt32 = 1

  /// Opens a session in the calling thread's network namespace.
  public init() throws(NetlinkError) {
    socket = try NetlinkSocket(family: Netfilter.netlinkFamily)
    socket.isSlowToClose = true
  }

  /// Puts all of `changes` in force at once, or none of them. No change is no request.
  /// - Parameter command: what a person would type, for the error.
  public mutating func commit(_ changes: [NetfilterChange], command: String)
    throws(NetlinkError)
  {
    guard !changes.isEmpty else { return }
    let first = sequence
    var datagram = Self.frame(Netfilter.batchBegin).finished(sequence: first)
    var last = first
    for (index, change) in changes.enumerated() {
      last &+= 1
      var bytes = change.message.finished(sequence: last)
      if index == changes.count - 1 { bytes[6] |= UInt8(Wire.acknowledge) }
      datagram += bytes
    }
    datagram += Self.frame(Netfilter.batchEnd).finished(sequence: last &+ 1)
    sequence = last &+ 2
    do throws(NetlinkError) {
      try socket.send(datagram)
      var refusal: NetlinkError? = nil
      // Each refused message is answered, and the last one in any case.
      while true {
        for answer in NetlinkAnswer.parse(try socket.receive()) {
          guard answer.type == Wire.error, answer.sequence &- first <= last &- first else { continue }
          do throws(NetlinkError) {
            try RouteSession.check(answer)
          } catch {
            if refusal == nil { refusal = error }
            // What is said of the beginning is said of all, and nothing follows.
            if answer.sequence == first { throw error }
          }
          guard answer.sequence == last else { continue }
          if let refusal { throw refusal }
          return
        }
      }
    } catch {
      throw NetlinkError(errno: error.errno, command: command, explanation: error.explanation)
    }
  }

  /// The same, where a refusal with one of `codes` is no error: what was to be removed is gone, or still in use.
  /// - Returns: false when it was refused so.
  @discardableResult
  public mutating func commit(_ changes: [NetfilterChange], unless codes: [Int32], command: String)
    throws(NetlinkError) -> Bool
  {
    do throws(NetlinkError) {
      try commit(changes, command: command)
      return true
    } catch  where codes.contains(error.errno) {
      return false
    }
  }

  /// The elements of a set or map; none when it, or its table, does not exist.
  public mutating func elements(_ family: Netfilter.Family, table: String, set: String) throws(NetlinkError)
    -> [NetfilterElement]
  {
    var message = NetfilterChange.message(Netfilter.getSetElement, family)
    message.attribute(1, text: table)
    message.attribute(2, text: set)
    var elements: [NetfilterElement] = []
    for answer in try dump(message, command: "nft list set \(family) \(table) \(set)") {
      answer.body.dropping(4).attributes()[3]?.forEachAttribute { _, element in
        let attributes = element.attributes()
        guard let key = attributes[1]?.attributes()[1] else { return }
        let data = attributes[2]?.attributes()
        elements.append(
          NetfilterElement(
            key: key.payload, chain: data?[2]?.attributes()[2]?.text, data: data?[1]?.payload,
            comment: NetfilterChange.comment(in: attributes[6]?.payload ?? [])))
      }
    }
    return elements
  }

  /// The rules of a chain by handle, each with its comment and the raw bytes of its expressions; none when it does
  /// not exist.
  public mutating func rules(_ family: Netfilter.Family, table: String, chain: String) throws(NetlinkError)
    -> [NetfilterRule]
  {
    var message = NetfilterChange.message(Netfilter.getRule, family)
    message.attribute(1, text: table)
    message.attribute(2, text: chain)
    return try dump(message, command: "nft list chain \(family) \(table) \(chain)").compactMap { answer in
      let attributes = answer.body.dropping(4).attributes()
      guard attributes[1]?.text == table, attributes[2]?.text == chain,
        let handle = attributes[3]?.integer(as: UInt64.self)
      else { return nil }
      return NetfilterRule(
        handle: UInt64(bigEndian: handle), comment: NetfilterChange.comment(in: attributes[7]?.payload ?? []),
        expressions: attributes[4]?.payload ?? [])
    }
  }

  /// Names of a table's chains; none when there is no table.
  public mutating func chains(_ family: Netfilter.Family, table: String) throws(NetlinkError) -> [String] {
    let message = NetfilterChange.message(Netfilter.getChain, family)
    return try dump(message, command: "nft list chains \(family)").compactMap { answer in
      let attributes = answer.body.dropping(4).attributes()
      return attributes[1]?.text == table ? attributes[3]?.text : nil
    }
  }

  /// Forgets tracked UDP flows to `port` of this machine, so that the next packet meets the rules of today.
  /// `conntrack -D -p udp --dport PORT`. None is no error; a kernel that cannot filter (before 5.8) neither.
  public mutating func forgetFlows(_ family: Netfilter.Family, transport: UInt8, destinationPort port: UInt16)
    throws(NetlinkError)
  {
    var message = NetlinkMessage(type: Netfilter.deleteFlow, flags: Wire.acknowledge)
    // With version 0 the kernel passes over the family.
    message.append(bytes: [family.rawValue, 1, 0, 0])
    message.nest(1 | Netfilter.nested) { tuple in
      tuple.nest(2 | Netfilter.nested) {
        $0.attribute(1, transport)
        $0.attribute(3, port.bigEndian)
      }
    }
    message.nest(25 | Netfilter.nested) {
      $0.attribute(1, UInt32(1 << 3 | 1 << 5))
      $0.attribute(2, UInt32(0))
    }
    do throws(NetlinkError) {
      _ = try exchange(message)
    } catch  where error.errno == ENOENT || error.errno == EINVAL || error.errno == EOPNOTSUPP {
      return
    } catch {
      throw NetlinkError(
        errno: error.errno, command: "conntrack -D -p \(transport) --dport \(port)",
        explanation: error.explanation)
    }
  }

  private mutating func dump(_ message: NetlinkMessage, command: String)
    throws(NetlinkError) -> [NetlinkAnswer]
  {
    var request = message
    request.add(flags: Wire.dump)
    for _ in 0..<RouteSession.dumpAttemptsMax {
      do throws(NetlinkError) {
        let answers = try exchange(request)
        if !answers.contains(where: { $0.flags & Wire.dumpInterrupted != 0 }) { return answers }
      } catch  where error.errno == ENOENT {
        return []
      } catch  where error.errno == EINTR {
        continue
      } catch {
        throw NetlinkError(errno: error.errno, command: command, explanation: error.explanation)
      }
    }
    throw NetlinkError(
      errno: EAGAIN, command: command, explanation: "the table kept changing during the dump")
  }

  private mutating func exchange(_ message: NetlinkMessage) throws(NetlinkError) -> [NetlinkAnswer] {
    let own = sequence
    sequence &+= 1
    try socket.send(message.finished(sequence: own))
    var answers: [NetlinkAnswer] = []
    while true {
      for answer in NetlinkAnswer.parse(try socket.receive()) where answer.sequence == own {
        switch answer.type {
        case Wire.error, Wire.done:
          try RouteSession.check(answer)
          return answers
        default: answers.append(answer)
        }
      }
    }
  }

  private static func frame(_ type: UInt16) -> NetlinkMessage {
    var message = NetlinkMessage(type: type, flags: 0)
    message.append(bytes: [0, 0, 0, Netfilter.tables])
    return message
  }
}

/// An element as read back.
public struct NetfilterElement: Sendable, Hashable {
  public var key: [UInt8]
  /// Where a verdict map's element leads.
  public var chain: String?
  /// Data of a map of values.
  public var data: [UInt8]?
  public var comment: String
}

/// A rule as read back.
public struct NetfilterRule: Sendable, Hashable {
  public var handle: UInt64
  public var comment: String
  public var expressions: [UInt8]
}

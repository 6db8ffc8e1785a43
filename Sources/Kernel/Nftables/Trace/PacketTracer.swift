// Which rules the packets of one connection meet, told by the kernel itself.
//
//   a table of our own, first in every hook: our connection? -> meta nftrace set 1
//   every rule that such a packet then meets, of whichever table -> netlink group -> TraceEvent

import Addresses
import CLinux
import CNetfilter
import Glibc
import Ruleset

/// Traces packets in the network namespace in which it was made, for as long as it lives: its tables go with its socket, even when the
/// process is killed. Everybody else's packets cost one comparison more meanwhile. For one thread.
public final class PacketTracer {
  /// Before everything else, defragmentation and tracking included.
  private static let priority: Int32 = -500
  /// Events of one reading; a packet meets some dozens of rules.
  public static let eventsMax = 4096

  private let owner: NftablesSocket
  private let reader: NftablesSocket
  private let names: [Table.ID]

  /// Begins to trace packets from one address and port. Throws without CAP_NET_ADMIN.
  public init(from source: SocketEndpoint, transport: UInt8) throws(NftablesError) {
    owner = try NftablesSocket()
    reader = try NftablesSocket()
    var group = Int32(NFNLGRP_NFTRACE.rawValue)
    // SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
    guard setsockopt(reader.descriptor, 270, 1, &group, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
      throw NftablesError(operation: "follow traced packets", errno: errno)
    }
    let name = "weft-trace-\(getpid())"
    let family: TableFamily = source.address.family == .v4 ? .ip : .ip6
    names = [Table.ID(family, name), Table.ID(.bridge, name)]
    let plan = names.map { Self.table($0, source, transport) }
    try owner.apply(Ruleset([plan[0]]).operations(from: InForce()), endWithSocket: true)
    // Without bridges in the kernel there is nothing to see there.
    _ = try? owner.apply(Ruleset([plan[1]]).operations(from: InForce()), endWithSocket: true)
  }

  private static func table(_ id: Table.ID, _ source: SocketEndpoint, _ transport: UInt8) -> Table {
    let isFour = source.address.family == .v4
    var statements: [Statement] = []
    if id.family == .bridge {
      statements.append(
        .match(.metaProtocol, .equal, isFour ? Datum(bytes: [8, 0])! : Datum(bytes: [0x86, 0xdd])!))
    }
    statements += [
      .match(.sourceAddress(isFour ? .ip : .ip6), .equal, .address(source.address)), .transport(transport),
      .match(.sourcePort, .equal, .port(source.port)), .trace,
    ]
    let hooks: [BaseChain.Hook] = id.family == .bridge ? [.prerouting] : [.prerouting, .output]
    return Table(
      id.family, id.name,
      chains: hooks.map { hook in
        Chain(hook.rawValue, BaseChain(.filter, hook, priority: priority), rules: [Rule(statements)])
      })
  }

  /// Events that are there, in the kernel's order; waits so long for the first. Our own tables' are left out.
  public func read(milliseconds: Int32) throws(NftablesError) -> [TraceEvent] {
    var watched = pollfd(fd: reader.descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&watched, 1, milliseconds) == 1 else { return [] }
    var events: [TraceEvent] = []
    while events.count < Self.eventsMax, let bytes = try reader.receive(waiting: false) {
      for message in Messages(bytes: bytes)
      where message.type == UInt16(NFNL_SUBSYS_NFTABLES) << 8 | UInt16(NFT_MSG_TRACE.rawValue)
        && message.payload.count >= 4
      {
        let attributes = UnsafeRawBufferPointer(rebasing: message.payload[4...])
        if let event = TraceEvent(family: message.payload[0], attributes: attributes),
          !names.contains(event.table)
        {
          events.append(event)
        }
      }
    }
    return events
  }
}

/// What is known of a rule in force without reading its expressions.
public struct RuleNote: Sendable, Hashable {
  public var chain: String
  /// Its place in the chain, from 1.
  public var place: Int
  /// Zero for a rule that is not ours.
  public var fingerprint: UInt64
  public var comment: String?
}

extension NftablesSocket {
  /// The rules of a table by their handles.
  public func ruleNotes(of id: Table.ID) throws(NftablesError) -> [UInt64: RuleNote] {
    var notes: [UInt64: RuleNote] = [:]
    var places: [String: Int] = [:]
    try request(NFT_MSG_GETRULE, family: id.family.number, dump: true, "read rules of \(id)") {
      mnl_attr_put_strz($0, UInt16(NFTA_RULE_TABLE.rawValue), id.name)
    } each: { _, attributes in
      guard attributes.first(NFTA_RULE_TABLE.rawValue)?.text == id.name,
        let chain = attributes.first(NFTA_RULE_CHAIN.rawValue)?.text,
        let handle = attributes.first(NFTA_RULE_HANDLE.rawValue)?.longNumber
      else { return }
      places[chain, default: 0] += 1
      var note = RuleNote(chain: chain, place: places[chain] ?? 0, fingerprint: 0)
      if let data = attributes.first(NFTA_RULE_USERDATA.rawValue)?.payload {
        note.fingerprint = Self.fingerprint(data)
        note.comment = UserData.read(UInt8(NFTNL_UDATA_RULE_COMMENT.rawValue), in: data).map {
          String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
      }
      notes[handle] = note
    }
    return notes
  }

  /// The number in a rule's notes by which we know it again; zero when it has none.
  static func fingerprint(_ notes: UnsafeRawBufferPointer) -> UInt64 {
    guard let bytes = UserData.read(fingerprintNote, in: notes), bytes.count == 8 else { return 0 }
    return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}

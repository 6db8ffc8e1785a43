// One rule that a traced packet met, as the kernel tells it (linux/netfilter/nf_tables.h, `NFTA_TRACE_*`).

import Addresses
import CNetfilter
import Glibc
import Ruleset

/// What happened to a packet at one place of the ruleset.
public struct TraceEvent: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// A rule with this handle matched to its end.
    case rule(handle: UInt64)
    /// A chain came to its end, or a rule said `return`.
    case endOfChain
    /// The policy of a base chain decided.
    case policy
  }
  public enum Verdict: Sendable, Hashable {
    case accept, drop
    /// To the next rule.
    case next
    case jump(String), goto(String)
    /// Back to where the chain was jumped from.
    case back
    /// Queued or stolen.
    case other
  }

  public var table: Table.ID
  public var chain: String
  public var kind: Kind
  public var verdict: Verdict
  /// Equal for one packet at all of its places.
  public var packet: UInt32
  /// As it was there, translated or not; nil when the event tells no header (each chain's first alone does).
  public var addresses: (source: IPAddress, destination: IPAddress)? { Self.addresses(networkHeader) }
  public var ports: (source: UInt16, destination: UInt16)? {
    guard transportHeader.count >= 4 else { return nil }
    func number(_ at: Int) -> UInt16 { UInt16(transportHeader[at]) << 8 | UInt16(transportHeader[at + 1]) }
    return (number(0), number(2))
  }
  var networkHeader: [UInt8] = []
  var transportHeader: [UInt8] = []

  /// Reads the attributes of a message. Nil when something is missing, or of a family that has no tables of ours (`arp`, `netdev`).
  init?(family: UInt8, attributes: UnsafeRawBufferPointer) {
    var table = ""
    var chain = ""
    var handle: UInt64?
    var type: UInt32 = 0
    var packet: UInt32?
    var verdict: (code: Int32, chain: String)?
    var policy: UInt32?
    var headers: (network: [UInt8], transport: [UInt8]) = ([], [])
    for attribute in Attributes(bytes: attributes) {
      switch UInt32(attribute.type) {
      case NFTA_TRACE_TABLE.rawValue: table = attribute.text
      case NFTA_TRACE_CHAIN.rawValue: chain = attribute.text
      case NFTA_TRACE_RULE_HANDLE.rawValue: handle = attribute.longNumber
      case NFTA_TRACE_TYPE.rawValue: type = attribute.number ?? 0
      case NFTA_TRACE_ID.rawValue: packet = attribute.number
      case NFTA_TRACE_VERDICT.rawValue:
        guard let code = attribute.nested.first(NFTA_VERDICT_CODE.rawValue)?.number else { break }
        verdict = (
          Int32(bitPattern: code), attribute.nested.first(NFTA_VERDICT_CHAIN.rawValue)?.text ?? ""
        )
      case NFTA_TRACE_POLICY.rawValue: policy = attribute.number
      case NFTA_TRACE_NETWORK_HEADER.rawValue: headers.network = Array(attribute.payload.prefix(40))
      case NFTA_TRACE_TRANSPORT_HEADER.rawValue: headers.transport = Array(attribute.payload.prefix(20))
      default: break
      }
    }
    guard let family = TableFamily(number: family), !table.isEmpty, !chain.isEmpty, let packet else {
      return nil
    }
    self.table = Table.ID(family, table)
    self.chain = chain
    self.packet = packet
    switch type {
    case NFT_TRACETYPE_RULE.rawValue:
      guard let handle else { return nil }
      kind = .rule(handle: handle)
      self.verdict = verdict.map { Self.verdict($0.code, $0.chain) } ?? .next
    case NFT_TRACETYPE_RETURN.rawValue:
      kind = .endOfChain
      self.verdict = .back
    case NFT_TRACETYPE_POLICY.rawValue:
      kind = .policy
      self.verdict = policy == 0 ? .drop : .accept
    default: return nil
    }
    networkHeader = headers.network
    transportHeader = headers.transport
  }

  private static func verdict(_ code: Int32, _ chain: String) -> Verdict {
    switch code {
    case 0: .drop
    case 1: .accept
    case -1: .next
    case -3: .jump(chain)
    case -4: .goto(chain)
    case -5: .back
    default: .other
    }
  }

  private static func addresses(_ header: [UInt8]) -> (source: IPAddress, destination: IPAddress)? {
    switch header.first.map({ $0 >> 4 }) {
    case 4 where header.count >= 20:
      guard let source = IPAddress(bytes: header[12..<16]),
        let destination = IPAddress(bytes: header[16..<20])
      else { return nil }
      return (source, destination)
    case 6 where header.count >= 40:
      guard let source = IPAddress(bytes: header[8..<24]), let destination = IPAddress(bytes: header[24..<40])
      else { return nil }
      return (source, destination)
    default: return nil
    }
  }
}

// How many connections are open to each endpoint, as connection tracking knows: one dump, filtered by mark in the kernel.

import Addresses
import CNetfilter
import Glibc

/// Open connections by endpoint: where their answers come from, as they were translated.
public struct OpenConnections: Sendable, Hashable {
  public struct Backend: Sendable, Hashable {
    public var transport: TransportProtocol
    public var endpoint: SocketEndpoint
    public init(_ transport: TransportProtocol, _ endpoint: SocketEndpoint) {
      self.transport = transport
      self.endpoint = endpoint
    }
  }

  public var counts: [Backend: Int] = [:]
  /// Flows that were read, open or not.
  public var flows = 0

  public init(_ counts: [Backend: Int] = [:]) { self.counts = counts }

  public subscript(transport: TransportProtocol, endpoint: SocketEndpoint) -> Int {
    counts[Backend(transport, endpoint)] ?? 0
  }

  /// The endpoint of an open connection; nil for one that is closing, or that is not wanted.
  /// - Parameter bytes: attributes of a flow, as the kernel or anybody else sends them.
  static func backend(of bytes: UnsafeRawBufferPointer, isWanted: (UInt32) -> Bool) -> Backend? {
    let attributes = Attributes(bytes: bytes)
    guard let mark = attributes.first(CTA_MARK.rawValue)?.number, isWanted(mark),
      let reply = attributes.first(CTA_TUPLE_REPLY.rawValue)?.nested,
      let addresses = reply.first(CTA_TUPLE_IP.rawValue)?.nested,
      let ports = reply.first(CTA_TUPLE_PROTO.rawValue)?.nested,
      let number = ports.first(CTA_PROTO_NUM.rawValue)?.payload.first,
      let transport = TransportProtocol(number: number),
      let port = ports.first(CTA_PROTO_SRC_PORT.rawValue)?.payload, port.count >= 2
    else { return nil }
    if transport == .tcp, !isOpen(attributes) { return nil }
    let address: IPAddress
    if let four = addresses.first(CTA_IP_V4_SRC.rawValue)?.payload, four.count == 4 {
      address = .v4(IPv4Address(bits: UInt32(bigEndian: four.loadUnaligned(as: UInt32.self))))
    } else if let six = addresses.first(CTA_IP_V6_SRC.rawValue)?.payload, six.count == 16 {
      address = .v6(IPv6Address(bits: UInt128(bigEndian: six.loadUnaligned(as: UInt128.self))))
    } else {
      return nil
    }
    return Backend(
      transport, SocketEndpoint(address, UInt16(bigEndian: port.loadUnaligned(as: UInt16.self))))
  }

  /// From the first packet until both sides have finished: states 1 to 5 of nf_conntrack_tcp.h, and 9, two that open at once.
  private static func isOpen(_ attributes: Attributes) -> Bool {
    let state = attributes.first(CTA_PROTOINFO.rawValue)?.nested
      .first(CTA_PROTOINFO_TCP.rawValue)?.nested.first(CTA_PROTOINFO_TCP_STATE.rawValue)?.payload.first
    return state.map { (1...5).contains($0) || $0 == 9 } ?? false
  }
}

extension NftablesSocket {
  /// Counts connections of both families whose mark has the bits `mark` under `mask`. Costs the kernel a walk over all that it
  /// tracks, and this thread 1 µs for each that matches.
  func openConnections(
    mark: UInt32, mask: UInt32, isWanted: (UInt32) -> Bool
  ) throws(NftablesError) -> OpenConnections {
    let sequence = takeSequence()
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    guard let header = mnl_nlmsg_put_header(buffer) else {
      throw NftablesError(operation: "count connections", errno: ENOMEM)
    }
    header.pointee.nlmsg_type = UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(IPCTNL_MSG_CT_GET.rawValue)
    header.pointee.nlmsg_flags = UInt16(NLM_F_REQUEST | NLM_F_DUMP)
    header.pointee.nlmsg_seq = sequence
    // Family 0: both.
    _ = mnl_nlmsg_put_extra_header(header, 4)
    mnl_attr_put_u32(header, UInt16(CTA_MARK.rawValue), mark.bigEndian)
    mnl_attr_put_u32(header, UInt16(CTA_MARK_MASK.rawValue), mask.bigEndian)
    try send(
      UnsafeRawBufferPointer(start: buffer, count: Int(header.pointee.nlmsg_len)), "count connections")
    var open = OpenConnections()
    while let bytes = try receive(waiting: true) {
      for message in Messages(bytes: bytes) where message.sequence == sequence {
        switch Int32(message.type) {
        case NLMSG_DONE: return open
        case NLMSG_ERROR:
          let error = message.error
          throw NftablesError(operation: "count connections", errno: error.code, message: error.text)
        default:
          guard message.payload.count >= 4 else { continue }
          open.flows += 1
          let attributes = UnsafeRawBufferPointer(rebasing: message.payload[4...])
          if let backend = OpenConnections.backend(of: attributes, isWanted: isWanted) {
            open.counts[backend, default: 0] += 1
          }
        }
      }
    }
    return open
  }
}

/// Counts with a socket of its own, in a worker's network namespace: a long count holds up no transaction.
public actor ConnectionCounter {
  private final class Box: @unchecked Sendable {
    let socket: NftablesSocket
    init(_ socket: NftablesSocket) { self.socket = socket }
  }

  private let box: Box
  private let mark: UInt32
  private let mask: UInt32
  private let isWanted: @Sendable (UInt32) -> Bool

  /// - Parameters:
  ///   - mark: bits of the connection mark under `mask` that counted flows have; looked at in the kernel.
  ///   - isWanted: the last word, by the whole mark.
  public init(
    beside worker: RulesetWorker, mark: UInt32, mask: UInt32,
    isWanted: @escaping @Sendable (UInt32) -> Bool = { _ in true }
  ) async throws {
    self.mark = mark
    self.mask = mask
    self.isWanted = isWanted
    // The socket keeps the namespace of the thread that opens it.
    box = try await worker.perform { _ in Box(try NftablesSocket()) }
  }

  public func count() throws -> OpenConnections {
    try box.socket.openConnections(mark: mark, mask: mask, isWanted: isWanted)
  }
}

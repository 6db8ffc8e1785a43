// Reads tracked flows and deletes them one by one: what is done where the kernel's own filter is wrong or cannot say what is meant.

import Addresses
import CNetfilter
import Glibc

extension NftablesSocket {
  /// Flows of IPv6 to one endpoint. Costs a walk over all tracked flows, and one message for each that matches.
  func deleteReadFlows(_ filter: FlowFilter) throws(NftablesError) {
    var found: [FlowRecord] = []
    try forEachFlow(filter.family, mark: filter.mark, mask: filter.markMask) { flow in
      if flow.mark & filter.markMask == filter.mark, flow.transport == filter.transport.number,
        filter.replySource == nil || flow.reply.source == filter.replySource
      {
        found.append(flow)
      }
    }
    for flow in found { try deleteFlow(flow) }
  }

  /// Hands out every tracked flow of a family whose mark has the bits `mark` under `mask`, as `conntrack -L` does. Costs a walk over
  /// all that the kernel tracks, and this thread about 1 µs for each. A flow that comes or goes meanwhile may be missing.
  public func forEachFlow(
    _ family: IPFamily, mark: UInt32 = 0, mask: UInt32 = 0, _ body: (FlowRecord) -> Void
  ) throws(NftablesError) {
    let sequence = takeSequence()
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    let header = try conntrackHeader(
      buffer, IPCTNL_MSG_CT_GET, UInt16(NLM_F_REQUEST | NLM_F_DUMP), sequence, family)
    if mask != 0 {
      mnl_attr_put_u32(header, UInt16(CTA_MARK.rawValue), mark.bigEndian)
      mnl_attr_put_u32(header, UInt16(CTA_MARK_MASK.rawValue), mask.bigEndian)
    }
    try send(UnsafeRawBufferPointer(start: buffer, count: Int(header.pointee.nlmsg_len)), "read flows")
    while let bytes = try receive(waiting: true) {
      for message in Messages(bytes: bytes) where message.sequence == sequence {
        switch Int32(message.type) {
        case NLMSG_DONE: return
        case NLMSG_ERROR:
          let error = message.error
          throw NftablesError(operation: "read flows", errno: error.code, message: error.text)
        default:
          guard message.payload.count >= 4 else { continue }
          let attributes = UnsafeRawBufferPointer(rebasing: message.payload[4...])
          if let flow = FlowRecord(.update, attributes: attributes) { body(flow) }
        }
      }
    }
  }

  /// Forgets one flow that was read; that it is gone already is no error. Its next packet is a new connection's.
  public func deleteFlow(_ flow: FlowRecord) throws(NftablesError) {
    let sequence = takeSequence()
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    let header = try conntrackHeader(
      buffer, IPCTNL_MSG_CT_DELETE, UInt16(NLM_F_REQUEST | NLM_F_ACK), sequence, flow.family)
    put(flow.original, flow.transport, in: header)
    // Another flow that has taken its place meanwhile has another number.
    mnl_attr_put_u32(header, UInt16(CTA_ID.rawValue), flow.id)
    try acknowledged(header, sequence)
  }

  private func put(
    _ tuple: FlowRecord.Tuple, _ transport: UInt8, in header: UnsafeMutablePointer<nlmsghdr>
  ) {
    let whole = mnl_attr_nest_start(header, UInt16(CTA_TUPLE_ORIG.rawValue))
    let addresses = mnl_attr_nest_start(header, UInt16(CTA_TUPLE_IP.rawValue))
    let isFour = tuple.source.address.family == .v4
    for (type, address) in [
      (isFour ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.source.address),
      (isFour ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.destination.address),
    ] {
      address.bytes.withUnsafeBytes {
        mnl_attr_put(header, UInt16(type.rawValue), $0.count, $0.baseAddress)
      }
    }
    mnl_attr_nest_end(header, addresses)
    let ports = mnl_attr_nest_start(header, UInt16(CTA_TUPLE_PROTO.rawValue))
    mnl_attr_put_u8(header, UInt16(CTA_PROTO_NUM.rawValue), transport)
    mnl_attr_put_u16(header, UInt16(CTA_PROTO_SRC_PORT.rawValue), tuple.source.port.bigEndian)
    mnl_attr_put_u16(header, UInt16(CTA_PROTO_DST_PORT.rawValue), tuple.destination.port.bigEndian)
    mnl_attr_nest_end(header, ports)
    mnl_attr_nest_end(header, whole)
  }

  /// - Parameter version: 1 for a deletion by filter: with 0 the kernel passes over the family.
  func conntrackHeader(
    _ buffer: UnsafeMutableRawPointer, _ type: cntl_msg_types, _ flags: UInt16, _ sequence: UInt32,
    _ family: IPFamily, version: UInt8 = 0
  ) throws(NftablesError) -> UnsafeMutablePointer<nlmsghdr> {
    guard let header = mnl_nlmsg_put_header(buffer) else {
      throw NftablesError(operation: "read flows", errno: ENOMEM)
    }
    header.pointee.nlmsg_type = UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(type.rawValue)
    header.pointee.nlmsg_flags = flags
    header.pointee.nlmsg_seq = sequence
    let generic = mnl_nlmsg_put_extra_header(header, 4).assumingMemoryBound(to: UInt8.self)
    generic[0] = family == .v4 ? 2 : 10
    generic[1] = version
    return header
  }
}

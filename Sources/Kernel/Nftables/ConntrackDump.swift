// Reads tracked flows by mark and deletes those that match one by one: what is done where the kernel's own filter is wrong.

import Addresses
import CNetfilter
import Glibc

extension NftablesSocket {
  /// A flow as the kernel names it: its first packet's tuple and its number, as attributes.
  private struct TrackedFlow {
    var tuple: [UInt8]
    var id: UInt32
  }

  /// Costs a walk over all tracked flows, and one message for each that matches.
  func deleteReadFlows(_ filter: FlowFilter) throws(NftablesError) {
    for flow in try flows(filter) {
      let sequence = takeSequence()
      let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
      defer { buffer.deallocate() }
      let header = try conntrackHeader(
        buffer, IPCTNL_MSG_CT_DELETE, UInt16(NLM_F_REQUEST | NLM_F_ACK), sequence, filter.family)
      flow.tuple.withUnsafeBytes {
        mnl_attr_put(
          header, UInt16(CTA_TUPLE_ORIG.rawValue) | UInt16(NLA_F_NESTED), $0.count, $0.baseAddress)
      }
      mnl_attr_put_u32(header, UInt16(CTA_ID.rawValue), flow.id)
      try acknowledged(header, sequence)
    }
  }

  private func conntrackHeader(
    _ buffer: UnsafeMutableRawPointer, _ type: cntl_msg_types, _ flags: UInt16, _ sequence: UInt32,
    _ family: IPFamily
  ) throws(NftablesError) -> UnsafeMutablePointer<nlmsghdr> {
    guard let header = mnl_nlmsg_put_header(buffer) else {
      throw NftablesError(operation: "read flows", errno: ENOMEM)
    }
    header.pointee.nlmsg_type = UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(type.rawValue)
    header.pointee.nlmsg_flags = flags
    header.pointee.nlmsg_seq = sequence
    let generic = mnl_nlmsg_put_extra_header(header, 4).assumingMemoryBound(to: UInt8.self)
    generic[0] = family == .v4 ? 2 : 10
    return header
  }

  private func flows(_ filter: FlowFilter) throws(NftablesError) -> [TrackedFlow] {
    let sequence = takeSequence()
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    let header = try conntrackHeader(
      buffer, IPCTNL_MSG_CT_GET, UInt16(NLM_F_REQUEST | NLM_F_DUMP), sequence, filter.family)
    mnl_attr_put_u32(header, UInt16(CTA_MARK.rawValue), filter.mark.bigEndian)
    mnl_attr_put_u32(header, UInt16(CTA_MARK_MASK.rawValue), filter.markMask.bigEndian)
    try send(UnsafeRawBufferPointer(start: buffer, count: Int(header.pointee.nlmsg_len)), "read flows")
    var flows: [TrackedFlow] = []
    while let bytes = try receive(waiting: true) {
      for message in Messages(bytes: bytes) where message.sequence == sequence {
        switch Int32(message.type) {
        case NLMSG_DONE: return flows
        case NLMSG_ERROR:
          let error = message.error
          throw NftablesError(operation: "read flows", errno: error.code, message: error.text)
        default:
          guard message.payload.count >= 4 else { continue }
          let attributes = Attributes(bytes: UnsafeRawBufferPointer(rebasing: message.payload[4...]))
          if let flow = Self.flow(attributes, filter) { flows.append(flow) }
        }
      }
    }
    return flows
  }

  /// The flow, when it is one of those that are meant.
  private static func flow(_ attributes: Attributes, _ filter: FlowFilter) -> TrackedFlow? {
    guard let original = attributes.first(CTA_TUPLE_ORIG.rawValue),
      let reply = attributes.first(CTA_TUPLE_REPLY.rawValue)?.nested,
      let mark = attributes.first(CTA_MARK.rawValue)?.number, mark & filter.markMask == filter.mark,
      let id = attributes.first(CTA_ID.rawValue), id.payload.count >= 4,
      let transport = reply.first(CTA_TUPLE_PROTO.rawValue)?.nested,
      transport.first(CTA_PROTO_NUM.rawValue)?.payload.first == filter.transport.number
    else { return nil }
    if let source = filter.replySource {
      let type = filter.family == .v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC
      let bytes = source.address.bytes
      guard let from = reply.first(CTA_TUPLE_IP.rawValue)?.nested.first(UInt32(type.rawValue)),
        from.payload.elementsEqual(bytes),
        let port = transport.first(CTA_PROTO_SRC_PORT.rawValue), port.payload.count >= 2,
        UInt16(bigEndian: port.payload.loadUnaligned(as: UInt16.self)) == source.port
      else { return nil }
    }
    return TrackedFlow(tuple: Array(original.payload), id: id.payload.loadUnaligned(as: UInt32.self))
  }
}

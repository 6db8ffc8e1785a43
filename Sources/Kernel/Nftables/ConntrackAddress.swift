// Forgets what the kernel tracks of one address: a pod that left must leave no connection behind that its successor would inherit.

import Addresses
import CNetfilter
import Glibc

extension NftablesSocket {
  // Bits of CTA_FILTER_ORIG_FLAGS and CTA_FILTER_REPLY_FLAGS; no header exports them.
  private static let filterSource: UInt32 = 1 << 0

  /// Forgets the flows that one of the addresses began, and those that it answers, translated or not; none is no error. As `conntrack -D -s
  /// ADDRESS` and `conntrack -D -r ADDRESS`.
  ///
  /// Costs two messages for each IPv4 address, at each of which the kernel walks over its table, and no dump. Flows of IPv6 are read, once
  /// for all addresses, and deleted one by one: kernels compare the address of this filter the wrong way round (seen on 6.18), and
  /// would end everybody else's.
  public func deleteFlows(of addresses: [IPAddress]) throws(NftablesError) {
    for address in addresses where address.family == .v4 {
      try deleteFlows(source: address, ofReply: false)
      try deleteFlows(source: address, ofReply: true)
    }
    let others = Set(addresses.filter { $0.family == .v6 })
    guard !others.isEmpty else { return }
    var found: [FlowRecord] = []
    try forEachFlow(.v6) { flow in
      if others.contains(flow.original.source.address) || others.contains(flow.reply.source.address) {
        found.append(flow)
      }
    }
    for flow in found { try deleteFlow(flow) }
  }

  private func deleteFlows(source: IPAddress, ofReply: Bool) throws(NftablesError) {
    let sequence = takeSequence()
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    let header = try conntrackHeader(
      buffer, IPCTNL_MSG_CT_DELETE, UInt16(NLM_F_REQUEST | NLM_F_ACK), sequence, source.family, version: 1)
    let tuple = mnl_attr_nest_start(
      header, UInt16((ofReply ? CTA_TUPLE_REPLY : CTA_TUPLE_ORIG).rawValue))
    let addresses = mnl_attr_nest_start(header, UInt16(CTA_TUPLE_IP.rawValue))
    source.bytes.withUnsafeBytes {
      mnl_attr_put(header, UInt16(CTA_IP_V4_SRC.rawValue), $0.count, $0.baseAddress)
    }
    mnl_attr_nest_end(header, addresses)
    mnl_attr_nest_end(header, tuple)
    let filter = mnl_attr_nest_start(header, UInt16(CTA_FILTER.rawValue))
    mnl_attr_put_u32(header, UInt16(CTA_FILTER_ORIG_FLAGS.rawValue), ofReply ? 0 : Self.filterSource)
    mnl_attr_put_u32(header, UInt16(CTA_FILTER_REPLY_FLAGS.rawValue), ofReply ? Self.filterSource : 0)
    mnl_attr_nest_end(header, filter)
    try acknowledged(header, sequence)
  }
}

// Turns a netlink socket into a reader of events: an nflog group's packets, or connections.

import CNetfilter
import Glibc

extension NftablesSocket {
  // linux/netfilter/nfnetlink_log.h
  private enum Log {
    static let configure: UInt16 = 1
    static let (command, mode, timeout, threshold, flags): (UInt16, UInt16, UInt16, UInt16, UInt16) = (
      1, 2, 4, 5, 6
    )
    static let bind: UInt8 = 1
    static let copyPacket: UInt8 = 2
    /// `NFULNL_CFG_F_SEQ` and `_CONNTRACK`.
    static let numbers: UInt16 = 1
    static let connections: UInt16 = 4
    /// Bytes of a packet at most; a rule's own `snaplen` may say less.
    static let copyMax: UInt32 = 256
    /// In hundredths of a second: how long a packet may wait for others.
    static let patience: UInt32 = 5
    static let gathered: UInt32 = 32
  }

  /// Reads the packets of a group from now on. EBUSY: another program does.
  func bindLog(group: UInt16) throws(NftablesError) {
    roomFor(NetfilterEvents.receiveBytes)
    do throws(NftablesError) {
      try configureLog(group) { mnl_attr_put_u8($0, Log.command, Log.bind) }
    } catch {
      // The kernel says EPERM or EBUSY of a group that is taken; without rights the socket would not have opened.
      guard [EPERM, EBUSY, EEXIST].contains(error.errno) else { throw error }
      throw NftablesError(operation: "read nflog group \(group)", errno: EBUSY)
    }
    do throws(NftablesError) {
      try tune(group, Log.numbers | Log.connections)
    } catch {
      // A kernel without CONFIG_NETFILTER_NETLINK_GLUE_CT: packets come without their connection.
      guard error.errno == EOPNOTSUPP else { throw error }
      try tune(group, Log.numbers)
    }
  }

  private func tune(_ group: UInt16, _ flags: UInt16) throws(NftablesError) {
    try configureLog(group) { header in
      var mode: [UInt8] = withUnsafeBytes(of: Log.copyMax.bigEndian) { Array($0) }
      mode += [Log.copyPacket, 0]
      mode.withUnsafeBytes { mnl_attr_put(header, Log.mode, $0.count, $0.baseAddress) }
      mnl_attr_put_u32(header, Log.timeout, Log.patience.bigEndian)
      mnl_attr_put_u32(header, Log.threshold, Log.gathered.bigEndian)
      mnl_attr_put_u16(header, Log.flags, flags.bigEndian)
    }
  }

  /// Reads connections that begin and end from now on. Equals `conntrack -E -e NEW,DESTROY`.
  func joinFlowEvents() throws(NftablesError) {
    roomFor(NetfilterEvents.receiveBytes)
    for group in [NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_DESTROY] {
      var number = Int32(group.rawValue)
      // SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
      guard setsockopt(descriptor, 270, 1, &number, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
        throw NftablesError(operation: "follow connections", errno: errno)
      }
    }
  }

  private func roomFor(_ bytes: Int32) {
    var bytes = bytes
    // Without the right to it the kernel's bound holds: more is lost, and counted.
    _ = setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, socklen_t(MemoryLayout<Int32>.size))
  }

  /// Messages that found no room in this socket since it was opened; nil where the kernel does not say (before 4.13).
  var droppedMessages: UInt32? {
    // SO_MEMINFO, SK_MEMINFO_DROPS
    var memory = [UInt32](repeating: 0, count: 16)
    var length = socklen_t(memory.count * 4)
    guard getsockopt(descriptor, SOL_SOCKET, 55, &memory, &length) == 0, length >= 36 else { return nil }
    return memory[8]
  }

  private func configureLog(
    _ group: UInt16, _ body: (UnsafeMutablePointer<nlmsghdr>) -> Void
  ) throws(NftablesError) {
    let sequence = takeSequence()
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    guard let header = mnl_nlmsg_put_header(buffer) else {
      throw NftablesError(operation: "read nflog group \(group)", errno: ENOMEM)
    }
    header.pointee.nlmsg_type = UInt16(NFNL_SUBSYS_ULOG) << 8 | Log.configure
    header.pointee.nlmsg_flags = UInt16(NLM_F_REQUEST | NLM_F_ACK)
    header.pointee.nlmsg_seq = sequence
    let generic = mnl_nlmsg_put_extra_header(header, 4).assumingMemoryBound(to: UInt8.self)
    generic[2] = UInt8(group >> 8)
    generic[3] = UInt8(group & 0xff)
    body(header)
    try send(
      UnsafeRawBufferPointer(start: header, count: Int(header.pointee.nlmsg_len)),
      "read nflog group \(group)")
    while let bytes = try receive(waiting: true) {
      for message in Messages(bytes: bytes)
      where message.sequence == sequence && Int32(message.type) == NLMSG_ERROR {
        let error = message.error
        if error.code == 0 { return }
        throw NftablesError(
          operation: "read nflog group \(group)", errno: error.code, message: error.text)
      }
    }
  }
}

// The bytes of one transaction: messages one after the other between BATCH_BEGIN and BATCH_END.

import CNetfilter
import Glibc
import Ruleset

/// Builds a transaction. Each message knows which operation it belongs to, so that a refusal can name it.
final class Batch {
  /// Room that one message may take: an element list is at most 64 KiB, a rule far less.
  private static let messageMax = 96 * 1024
  private var buffer: UnsafeMutableRawPointer
  private var capacity = 256 * 1024
  private(set) var count = 0
  private var sequence: UInt32
  let firstSequence: UInt32
  /// By message, from `firstSequence` on: the operation, the first element of it in this message, the offset
  /// of the message.
  private(set) var origins: [(operation: Int?, firstElement: Int, offset: Int)] = []
  private var nextSetID: UInt32 = 1
  var operation: Int?

  init(sequence: UInt32) {
    buffer = .allocate(byteCount: capacity, alignment: 8)
    self.sequence = sequence
    firstSequence = sequence
  }

  deinit { buffer.deallocate() }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: buffer, count: count) }
  var nextSequence: UInt32 { sequence }

  private func reserve() {
    guard capacity - count < Self.messageMax else { return }
    capacity *= 2
    let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 8)
    larger.copyMemory(from: buffer, byteCount: count)
    buffer.deallocate()
    buffer = larger
  }

  func begin() { control(nftnl_batch_begin) }

  func end() { control(nftnl_batch_end) }

  private func control(_ put: (UnsafeMutablePointer<CChar>?, UInt32) -> UnsafeMutablePointer<nlmsghdr>?) {
    reserve()
    _ = put((buffer + count).assumingMemoryBound(to: CChar.self), sequence)
    finish(firstElement: 0)
  }

  /// One message of nf_tables. `firstElement` is kept with it.
  func message(
    _ type: nf_tables_msg_types, _ family: TableFamily, flags: Int32 = 0, firstElement: Int = 0,
    _ body: (UnsafeMutablePointer<nlmsghdr>) -> Void
  ) {
    reserve()
    let header = nftnl_nlmsg_build_hdr(
      (buffer + count).assumingMemoryBound(to: CChar.self), UInt16(type.rawValue), UInt16(family.number),
      UInt16(flags), sequence)
    if let header { body(header) }
    finish(firstElement: firstElement)
  }

  private func finish(firstElement: Int) {
    let length = Int((buffer + count).assumingMemoryBound(to: nlmsghdr.self).pointee.nlmsg_len)
    precondition(length <= Self.messageMax, "a netlink message outgrew its room")
    origins.append((operation, firstElement, count))
    count += (length + 3) & ~3
    sequence &+= 1
  }

  /// Asks for an acknowledgement of the last message put.
  func acknowledgeLast() {
    guard let last = origins.last else { return }
    let header = (buffer + last.offset).assumingMemoryBound(to: nlmsghdr.self)
    header.pointee.nlmsg_flags |= UInt16(NLM_F_ACK)
  }

  func makeSetID() -> UInt32 {
    defer { nextSetID += 1 }
    return nextSetID
  }

  /// What a sequence number of an error points at.
  func origin(of sequence: UInt32) -> (operation: Int?, firstElement: Int, offset: Int)? {
    let index = Int(sequence &- firstSequence)
    return index >= 0 && index < origins.count ? origins[index] : nil
  }

  /// The element of a message that holds the byte at `offset`, counted from the start of the message.
  func element(at offset: Int, ofMessageAt message: Int) -> Int? {
    guard message + 20 <= count else { return nil }
    let length = Int((buffer + message).assumingMemoryBound(to: nlmsghdr.self).pointee.nlmsg_len)
    let start = UnsafeRawPointer(buffer + message)
    let body = UnsafeRawBufferPointer(start: start + 20, count: length - 20)
    guard let list = Attributes(bytes: body).first(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) else { return nil }
    for (index, element) in list.nested.enumerated() {
      guard let base = element.payload.baseAddress else { continue }
      let end = base + element.payload.count - start
      if offset < end { return index }
    }
    return nil
  }
}

// Elements of hash sets as bytes of a message, without a call for each attribute: there may be a hundred thousand.
//
//   LIST_ELEM { KEY { VALUE bytes } DATA { VALUE bytes } USERDATA { comment } }      lengths in host order, all padded to four

import CNetfilter
import Ruleset

enum ElementWriter {
  /// Writes elements from `start` on, as far as they are plain (a key, with data or without) and the message is shorter than
  /// `roomMax`. Returns where the next one starts. One element takes at most 272 bytes; the message has room for them.
  static func put(
    _ header: UnsafeMutablePointer<nlmsghdr>, _ changes: UnsafeBufferPointer<Operation.ElementChange>,
    from start: Int, upTo roomMax: UInt32, deleting: Bool
  ) -> Int {
    let message = UnsafeMutableRawPointer(header)
    // The header's length counts whole attributes: it is a multiple of four here.
    var at = Int(header.pointee.nlmsg_len)
    var index = start
    while index < changes.count, at < Int(roomMax) {
      let element = message + at
      var end = 4 + put(changes[index].key, NFTA_SET_ELEM_KEY.rawValue, element + 4)
      if !deleting {
        switch changes[index].element.value {
        case .present: break
        case .data(let value): end += put(value, NFTA_SET_ELEM_DATA.rawValue, element + end)
        case .through, .verdict:
          header.pointee.nlmsg_len = UInt32(at)
          return index
        }
        if let comment = changes[index].element.comment { end += put(comment, element + end) }
      }
      attribute(element, end, NFTA_LIST_ELEM.rawValue | nested)
      at += end
      index += 1
    }
    header.pointee.nlmsg_len = UInt32(at)
    return index
  }

  private static let nested: UInt32 = 0x8000

  @inline(__always)
  private static func attribute(_ target: UnsafeMutableRawPointer, _ length: Int, _ type: UInt32) {
    target.storeBytes(of: UInt16(truncatingIfNeeded: length), as: UInt16.self)
    target.storeBytes(of: UInt16(truncatingIfNeeded: type), toByteOffset: 2, as: UInt16.self)
  }

  /// `{ type { VALUE bytes } }`; returns its length, padded.
  @inline(__always)
  private static func put(_ datum: Datum, _ type: UInt32, _ target: UnsafeMutableRawPointer) -> Int {
    let count = datum.write(padded: target + 8)
    let padded = (count + 3) & ~3
    attribute(target + 4, 4 + count, NFTA_DATA_VALUE.rawValue)
    attribute(target, 8 + padded, type | nested)
    return 8 + padded
  }

  /// A note of at most 127 bytes and its closing zero.
  private static func put(_ comment: String, _ target: UnsafeMutableRawPointer) -> Int {
    var text = Rule.quotable(comment)
    let count = text.withUTF8 { bytes in
      if let start = bytes.baseAddress { (target + 6).copyMemory(from: start, byteCount: bytes.count) }
      return bytes.count
    }
    // Zeros behind it: its end, and the padding.
    (target + 6 + count).storeBytes(of: 0, as: UInt32.self)
    target.storeBytes(
      of: UInt8(truncatingIfNeeded: NFTNL_UDATA_SET_ELEM_COMMENT.rawValue), toByteOffset: 4, as: UInt8.self)
    target.storeBytes(of: UInt8(truncatingIfNeeded: count + 1), toByteOffset: 5, as: UInt8.self)
    attribute(target, 7 + count, NFTA_SET_ELEM_USERDATA.rawValue)
    return (7 + count + 3) & ~3
  }
}

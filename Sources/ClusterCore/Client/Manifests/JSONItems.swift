// Takes the elements of a list's `items` out of JSON as its bytes come, without a tree of the whole.
//
//   {"kind":"List","items":[{..},{..}],"metadata":{}}  ->  {..}   {..}   and  {"kind":"List","items":[],"metadata":{}}

import ClusterObjects

/// Splits one JSON value. What it hands on is read by `JSON(parsing:)` afterwards: here only strings, brackets and the commas
/// between elements count, and everything else is passed on as it is.
struct JSONItems {
  /// One element, or all that is no element.
  static let bytesMax = 16 << 20

  struct Malformed: Error { var reason: String }

  /// What stands around the elements.
  private(set) var rest: [UInt8] = []
  private var element: [UInt8] = []
  private var depth = 0
  private var isInString = false
  private var isEscaped = false
  /// Inside `items` of the outermost object; elements stand at depth 2.
  private var isInItems = false
  private var needsComma = false
  private var isAfterComma = false
  /// The last string at depth 1: the name, when a value follows.
  private var name: [UInt8] = []

  private static let items = Array("items".utf8)

  /// Takes the next bytes. Throws when elements are not divided by single commas or something is too large.
  /// - Parameter inPlace: sees the bytes from the beginning of an element on. Where it answers with a number, the element has so many
  ///   bytes and `each` does not hear of it.
  mutating func feed(
    _ bytes: UnsafeBufferPointer<UInt8>, inPlace: (UnsafeBufferPointer<UInt8>) -> Int? = { _ in nil },
    each: ([UInt8]) -> Void
  ) throws(Malformed) {
    var at = 0
    while at < bytes.count {
      at = isInItems && depth == 2 ? try between(bytes, at, inPlace) : try through(bytes, at, each)
    }
  }

  /// Between two elements: what opens the next, or ends the list.
  private mutating func between(
    _ bytes: UnsafeBufferPointer<UInt8>, _ at: Int, _ inPlace: (UnsafeBufferPointer<UInt8>) -> Int?
  ) throws(Malformed) -> Int {
    switch bytes[at] {
    case 0x20, 0x0a, 0x0d, 0x09: break
    case UInt8(ascii: ",") where needsComma:
      needsComma = false
      isAfterComma = true
    case UInt8(ascii: "]") where !isAfterComma:
      rest.append(bytes[at])
      depth = 1
      isInItems = false
    case UInt8(ascii: "{") where !needsComma:
      if let count = inPlace(UnsafeBufferPointer(rebasing: bytes[at...])) {
        needsComma = true
        isAfterComma = false
        return at + count
      }
      element = [bytes[at]]
      depth = 3
    default: throw Malformed(reason: "expected an object of the list")
    }
    return at + 1
  }

  /// Passes bytes on until the place changes: an element ends, or `items` begins.
  private mutating func through(
    _ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ each: ([UInt8]) -> Void
  ) throws(Malformed) -> Int {
    var at = start
    defer { isAfterComma = false }
    while at < bytes.count {
      let byte = bytes[at]
      at += 1
      if isInString {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
          continue
        }
        if depth == 1 { name.append(byte) }
        continue
      }
      switch byte {
      case UInt8(ascii: "\""):
        isInString = true
        if depth == 1 { name = [] }
      case UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "["):
        depth += 1
        if depth == 2, !isInItems, name == Self.items {
          try pass(bytes, start, at)
          isInItems = true
          needsComma = false
          return at
        }
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        depth -= 1
        guard isInItems, depth == 2 else { continue }
        try pass(bytes, start, at)
        each(element)
        element = []
        needsComma = true
        return at
      case UInt8(ascii: ",") where depth == 1: name = []
      default: continue
      }
    }
    try pass(bytes, start, at)
    return at
  }

  private mutating func pass(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) throws(Malformed)
  {
    let isElement = isInItems && (depth > 2 || !element.isEmpty)
    let held = isElement ? element.count : rest.count
    guard held + end - start <= Self.bytesMax else {
      throw Malformed(reason: "larger than \(Self.bytesMax) bytes")
    }
    if isElement { element += bytes[start..<end] } else { rest += bytes[start..<end] }
  }
}

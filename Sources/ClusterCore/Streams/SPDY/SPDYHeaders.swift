// Header blocks of SPDY/3: names and values with 32-bit lengths, compressed by one zlib stream a direction that starts
// from a dictionary both sides know (SPDY draft 3.1, section 2.6.10.1).
//
//   | count | length | name | length | value | length | name | …      (inside the compressed bytes)

import CZlib
import NIOCore

/// Why a peer's bytes are no SPDY. The session ends.
public struct SPDYError: Error, Hashable, Sendable, CustomStringConvertible {
  public var description: String
  init(_ description: String) { self.description = description }
}

/// Names (lower case) and values of one block.
public struct SPDYHeaders: Sendable, Hashable, ExpressibleByDictionaryLiteral {
  public var fields: [Field]

  public struct Field: Sendable, Hashable {
    public var name: String
    public var value: String
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  /// Bytes of a block, before compression.
  public static let bytesMax = 64 << 10
  public static let fieldsMax = 128

  public init(_ fields: [Field] = []) { self.fields = fields }
  public init(dictionaryLiteral elements: (String, String)...) {
    fields = elements.map { Field(name: $0.lowercased(), value: $1) }
  }

  public subscript(name: String) -> String? {
    let name = name.lowercased()
    return fields.first { $0.name == name }?.value
  }

  var encoded: [UInt8] {
    var out = ByteBuffer()
    out.writeInteger(UInt32(clamping: fields.count))
    for field in fields {
      out.writeInteger(UInt32(clamping: field.name.utf8.count))
      out.writeString(field.name.lowercased())
      out.writeInteger(UInt32(clamping: field.value.utf8.count))
      out.writeString(field.value)
    }
    return Array(out.readableBytesView)
  }

  /// Parses an uncompressed block.
  init(parsing bytes: [UInt8]) throws(SPDYError) {
    var buffer = ByteBuffer(bytes: bytes)
    guard let count = buffer.readInteger(as: UInt32.self), count <= Self.fieldsMax else {
      throw SPDYError("a header block has no count, or more than \(Self.fieldsMax) fields")
    }
    fields = []
    func text() throws(SPDYError) -> String {
      guard let length = buffer.readInteger(as: UInt32.self), length <= Self.bytesMax,
        let bytes = buffer.readBytes(length: Int(length)), let text = String(validating: bytes, as: UTF8.self)
      else { throw SPDYError("a header block ends early, or is no text") }
      return text
    }
    for _ in 0..<count {
      let name = try text()
      fields.append(Field(name: name.lowercased(), value: try text()))
    }
  }
}

enum SPDYDictionary {
  /// The draft's dictionary: common names with their lengths, then common values. 1,423 bytes.
  static let bytes: [UInt8] = {
    var out: [UInt8] = []
    func add(_ words: String) {
      for word in words.split(separator: " ") {
        out += [0, 0, 0, UInt8(truncatingIfNeeded: word.utf8.count)] + Array(word.utf8)
      }
    }
    add(
      "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges "
        + "age allow authorization cache-control connection content-base content-encoding content-language "
        + "content-length content-location content-md5 content-range content-type date etag expect expires "
        + "from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
        + "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after "
        + "server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method "
        + "get status")
    out += [0, 0, 0, 6] + Array("200 OK".utf8)
    add("version HTTP/1.1 url public set-cookie keep-alive origin")
    out += Array(
      ("100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        + "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
        + "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
        + "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
        + "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
        + "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.")
        .utf8)
    return out
  }()
}

/// The sending direction's zlib stream. Not thread-safe: one owner.
final class SPDYCompressor {
  private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
  private let isReady: Bool

  init() {
    stream.initialize(to: z_stream())
    let size = Int32(MemoryLayout<z_stream>.size)
    let dictionary = SPDYDictionary.bytes
    isReady =
      deflateInit_(stream, Z_BEST_SPEED, ZLIB_VERSION, size) == Z_OK
      && deflateSetDictionary(stream, dictionary, UInt32(dictionary.count)) == Z_OK
  }

  deinit {
    deflateEnd(stream)
    stream.deinitialize(count: 1)
    stream.deallocate()
  }

  func compress(_ headers: SPDYHeaders) throws(SPDYError) -> [UInt8] {
    var input = headers.encoded
    guard isReady, input.count <= SPDYHeaders.bytesMax else {
      throw SPDYError("headers cannot be compressed")
    }
    // What the block can grow to, and the mark at its end.
    let room = Int(deflateBound(stream, UInt(input.count))) + 16
    var result: Int32 = Z_OK
    let out = [UInt8](unsafeUninitializedCapacity: room) { output, count in
      input.withUnsafeMutableBufferPointer { input in
        stream.pointee.next_in = input.baseAddress
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.next_out = output.baseAddress
        stream.pointee.avail_out = UInt32(room)
        result = deflate(stream, Z_SYNC_FLUSH)
        count = room - Int(stream.pointee.avail_out)
      }
    }
    guard result == Z_OK, stream.pointee.avail_in == 0 else {
      throw SPDYError("headers cannot be compressed")
    }
    return out
  }
}

/// The receiving direction's zlib stream. Not thread-safe: one owner.
final class SPDYDecompressor {
  private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
  private let isReady: Bool

  init() {
    stream.initialize(to: z_stream())
    isReady = inflateInit_(stream, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
  }

  deinit {
    inflateEnd(stream)
    stream.deinitialize(count: 1)
    stream.deallocate()
  }

  /// The headers of one block; a block that grows past `SPDYHeaders.bytesMax` is refused before it is whole.
  func decompress(_ compressed: [UInt8]) throws(SPDYError) -> SPDYHeaders {
    guard isReady else { throw SPDYError("no memory for header blocks") }
    var input = compressed
    var result: Int32 = Z_OK
    var isWhole = false
    let room = SPDYHeaders.bytesMax + 1
    let out = [UInt8](unsafeUninitializedCapacity: room) { output, count in
      input.withUnsafeMutableBufferPointer { input in
        stream.pointee.next_in = input.baseAddress
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.next_out = output.baseAddress
        stream.pointee.avail_out = UInt32(room)
        result = inflate(stream, Z_SYNC_FLUSH)
        if result == Z_NEED_DICT {
          let dictionary = SPDYDictionary.bytes
          result = inflateSetDictionary(stream, dictionary, UInt32(dictionary.count))
          if result == Z_OK { result = inflate(stream, Z_SYNC_FLUSH) }
        }
        isWhole = stream.pointee.avail_in == 0 && stream.pointee.avail_out > 0
        count = room - Int(stream.pointee.avail_out)
      }
    }
    guard result == Z_OK || result == Z_BUF_ERROR, isWhole else {
      throw SPDYError(
        "a header block is not compressed as agreed, or is larger than \(SPDYHeaders.bytesMax) bytes")
    }
    return try SPDYHeaders(parsing: out)
  }
}

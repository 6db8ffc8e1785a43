// Large answers travel compressed to clients that take it: a list of thousands of objects shrinks to a tenth.

import CZlib
import NIOCore
import NIOHTTP1

enum Compression {
  /// Answers below this go as they are, as upstream does: small ones cost more time than they save.
  static let sizeMin = 128 << 10
  /// Upstream's level: most of the gain for a third of the time.
  private static let level: Int32 = 4

  static func accepts(_ headers: HTTPHeaders) -> Bool {
    for entry in headers[canonicalForm: "accept-encoding"] {
      let parts = entry.split(separator: ";").map { $0.filter { $0 != " " } }
      if parts.first == "gzip" { return !parts.contains("q=0") }
    }
    return false
  }

  /// The response with its body compressed, when the client takes that and it is worth it.
  static func apply(_ response: HTTPResponse, for request: HTTPRequest) -> HTTPResponse {
    guard response.isWhole, accepts(request.headers),
      !response.headers.contains(where: { $0.0 == "content-encoding" }), let body = response.bytes,
      body.readableBytes >= sizeMin, let packed = gzip(body)
    else { return response }
    var packedResponse = response
    packedResponse.body = .bytes(packed)
    packedResponse.headers += [("content-encoding", "gzip"), ("vary", "Accept-Encoding")]
    return packedResponse
  }

  /// RFC 1952. Nil when zlib has no memory left.
  static func gzip(_ body: ByteBuffer) -> ByteBuffer? {
    var stream = z_stream()
    // 15 bits of window; 16 more ask for gzip's header.
    guard
      deflateInit2_(
        &stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
        Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { return nil }
    defer { deflateEnd(&stream) }
    let bound = Int(deflateBound(&stream, UInt(body.readableBytes)))
    var out = ByteBufferAllocator().buffer(capacity: bound)
    var isWhole = false
    body.withUnsafeReadableBytes { input in
      stream.next_in = UnsafeMutablePointer(
        mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
      stream.avail_in = UInt32(input.count)
      out.writeWithUnsafeMutableBytes(minimumWritableBytes: bound) { output in
        stream.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.avail_out = UInt32(output.count)
        isWhole = deflate(&stream, Z_FINISH) == Z_STREAM_END
        return Int(stream.total_out)
      }
    }
    return isWhole ? out : nil
  }
}

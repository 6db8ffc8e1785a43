// Targets, hosts and addresses as a rule changes them, written into a worker's space. What comes out can be read in one way
// only: it is made of bytes of the request's own target, which was checked, and of texts that were checked when planned.

import Addresses
import Patterns

/// What filters know of a request besides its head.
struct RequestOrigin {
  var address: IPAddress
  /// Of the listening socket.
  var port: UInt16
  var isSecure: Bool
  /// Of a client that was asked for a certificate.
  var shown: ShownCertificate?
}

/// Fills templates for one request.
struct TemplateWriter {
  let request: RouteRequest
  let origin: RequestOrigin
  /// Groups of the rule's pattern, if it has one and it was matched just now.
  let groups: PatternSpace?

  func write(_ template: RouteTemplate, to out: inout HeadSpace) {
    for piece in template.pieces {
      switch piece {
      case .text(let bytes): out.write(bytes)
      case .group(let number):
        if let range = groups?.group(Int(number)) { out.write(request.path, range) }
      case .host: writeHost(to: &out)
      case .target: out.write(request.target, 0..<request.target.count)
      case .escapedTarget: Self.writeEscaped(request.target, to: &out)
      case .path: out.write(request.path, 0..<request.path.count)
      case .query: if let query = request.query { out.write(query, 0..<query.count) }
      case .scheme: out.write(origin.isSecure ? "https" : "http")
      case .method: out.write(request.method, 0..<request.method.count)
      case .source: out.write(Array("\(origin.address)".utf8))
      }
    }
  }

  func writeHost(to out: inout HeadSpace) {
    let host = HostIndex.withoutPort(request.host)
    for byte in host { out.write(lowercase(byte)) }
  }

  /// Everything but letters, digits and `-._~` (RFC 3986 section 2.3).
  static func writeEscaped(_ bytes: UnsafeRawBufferPointer, to out: inout HeadSpace) {
    func digit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 55 + value }
    for byte in bytes {
      switch byte {
      case 48...57, 65...90, 97...122, 45, 46, 95, 126: out.write(byte)
      default:
        out.write(37)
        out.write(digit(byte >> 4))
        out.write(digit(byte & 15))
      }
    }
  }

  /// The path and query after a rewrite. - Parameter prefix: bytes of the rule's prefix.
  func writeTarget(_ rewrite: RoutePathRewrite, prefix: Int, to out: inout HeadSpace) {
    switch rewrite {
    case .whole(let template):
      let start = out.count
      var hasQuery = false
      if case .text(let first)? = template.pieces.first, first.first == UInt8(ascii: "/") {
      } else {
        // A target begins with a slash, whatever a group brings.
        out.write("/")
      }
      write(template, to: &out)
      // `$2` in `/$2` may begin with a slash of its own.
      for byte in out.bytes[start...] where byte == UInt8(ascii: "?") { hasQuery = true }
      writeQuery(hasQuery: hasQuery, to: &out)
    case .prefix(let bytes):
      out.write(bytes)
      let rest = min(prefix, request.path.count)..<request.path.count
      out.write(request.path, rest)
      if bytes.isEmpty, rest.isEmpty { out.write("/") }
      writeQuery(hasQuery: false, to: &out)
    }
  }

  private func writeQuery(hasQuery: Bool, to out: inout HeadSpace) {
    guard let query = request.query else { return }
    out.write(hasQuery ? "&" : "?")
    out.write(query, 0..<query.count)
  }

  /// Where a redirect leads.
  func writeLocation(_ redirect: RouteRedirect, prefix: Int, to out: inout HeadSpace) {
    switch redirect.place {
    case .location(let template): write(template, to: &out)
    case .parts(let scheme, let host, let port, let path):
      let isSecure = scheme.map { $0 == "https" } ?? origin.isSecure
      out.write(isSecure ? "https://" : "http://")
      if let host { out.write(Array(host.utf8)) } else { writeHost(to: &out) }
      // Without a port of its own: the scheme's when there is one, else the listener's (HTTPRequestRedirectFilter.port).
      let usual: UInt16 = isSecure ? 443 : 80
      let place = port > 0 ? port : scheme != nil ? usual : origin.port
      if place != usual { out.write(Array(":\(place)".utf8)) }
      if let path {
        writeTarget(path, prefix: prefix, to: &out)
      } else {
        out.write(request.target, 0..<request.target.count)
      }
    }
  }
}

// A request that arrived whole, and what is answered: bytes, or a stream that a watch fills.

import NIOCore
import NIOHTTP1

/// Who asks. Anonymous when no certificate was shown.
public struct Identity: Sendable, Hashable {
  public var user: String
  public var groups: [String]
  /// The user's identifier, such as a ServiceAccount's `metadata.uid`; may be empty.
  public var uid: String
  /// More that the authenticator knows, such as the pod a token is bound to.
  public var extra: [String: [String]]
  public init(user: String, groups: [String], uid: String = "", extra: [String: [String]] = [:]) {
    self.user = user
    self.groups = groups
    self.uid = uid
    self.extra = extra
  }
  public static let anonymous = Identity(user: "system:anonymous", groups: ["system:unauthenticated"])
  /// The process itself: built-in objects, assembly.
  public static let system = Identity(user: "system:apiserver", groups: ["system:masters"])
}

struct HTTPRequest: Sendable {
  var method: HTTPMethod
  /// Percent-decoded segments, without empty ones.
  var path: [String]
  var rawPath: String
  var query: [(name: String, value: String)]
  var headers: HTTPHeaders
  var body: [UInt8]
  var identity: Identity
  /// What the connection's other side showed; nil within the process.
  var peer: Peer?
  /// The other side's address, without its port; may be empty.
  var remoteAddress = ""
  /// Path and query as they were sent.
  var uri = ""

  func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }
  var isApply: Bool {
    headers.first(name: "content-type")?.hasPrefix("application/apply-patch") ?? false
  }
  func flag(_ name: String) -> Bool { ["true", "1"].contains(parameter(name) ?? "") }

  /// Splits a request target. Nil when the percent-encoding is broken.
  static func split(
    _ target: String
  ) -> (rawPath: String, path: [String], query: [(name: String, value: String)])? {
    let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    var path: [String] = []
    for part in parts[0].split(separator: "/") {
      guard let decoded = decode(part, plusIsBlank: false) else { return nil }
      path.append(decoded)
    }
    var query: [(name: String, value: String)] = []
    if parts.count > 1 {
      for pair in parts[1].split(separator: "&") {
        let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = decode(sides[0], plusIsBlank: true),
          let value = decode(sides.count > 1 ? sides[1] : "", plusIsBlank: true)
        else { return nil }
        query.append((name, value))
      }
    }
    return (String(parts[0]), path, query)
  }

  private static func decode(_ text: Substring, plusIsBlank: Bool) -> String? {
    var out: [UInt8] = []
    var bytes = text.utf8.makeIterator()
    func digit(_ byte: UInt8?) -> UInt8? {
      switch byte {
      case .some(let byte) where byte >= 48 && byte <= 57: byte - 48
      case .some(let byte) where byte >= 65 && byte <= 70: byte - 55
      case .some(let byte) where byte >= 97 && byte <= 102: byte - 87
      default: nil
      }
    }
    while let byte = bytes.next() {
      if byte == UInt8(ascii: "%") {
        guard let high = digit(bytes.next()), let low = digit(bytes.next()) else { return nil }
        out.append(high << 4 | low)
      } else {
        out.append(byte == UInt8(ascii: "+") && plusIsBlank ? 0x20 : byte)
      }
    }
    return String(validating: out, as: UTF8.self)
  }
}

struct HTTPResponse: Sendable {
  enum Body: Sendable {
    case bytes(ByteBuffer)
    /// Sent as chunks until the stream ends; the closure attaches it to the connection.
    case stream(@Sendable (StreamWriter) -> Void)
  }
  var status: HTTPResponseStatus
  var contentType: String
  var headers: [(String, String)] = []
  var body: Body

  init(_ code: Int, contentType: String = "application/json", headers: [(String, String)] = [], _ body: Body)
  {
    status = HTTPResponseStatus(statusCode: code)
    self.contentType = contentType
    self.headers = headers
    self.body = body
  }

  static func text(_ code: Int, _ text: String) -> HTTPResponse {
    HTTPResponse(code, contentType: "text/plain; charset=utf-8", .bytes(ByteBuffer(string: text)))
  }
}

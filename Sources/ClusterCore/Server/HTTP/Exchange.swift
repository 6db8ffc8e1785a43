// A request that arrived whole, and what is answered: bytes, or a stream that a watch fills.

import ClusterStreams
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
  /// Empty when the body is streamed.
  var body: [UInt8]
  var identity: Identity
  /// What the connection's other side showed; nil within the process.
  var peer: Peer?
  /// The other side's address, without its port; may be empty.
  var remoteAddress = ""
  /// Path and query as they were sent.
  var uri = ""
  /// The connection and the body as it comes, for what is passed on to a node, a pod or a Service.
  var stream: RequestStream?

  func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }
  var isApply: Bool {
    headers.first(name: "content-type")?.hasPrefix("application/apply-patch") ?? false
  }
  func flag(_ name: String) -> Bool { ["true", "1"].contains(parameter(name) ?? "") }

  /// Splits a request target. Nil when the percent-encoding is broken.
  static func split(
    _ target: String
  ) -> (rawPath: String, path: [String], query: [(name: String, value: String)])? {
    RequestTarget(target).map { ($0.rawPath, $0.path, $0.query) }
  }
}

struct HTTPResponse: Sendable {
  enum Body: Sendable {
    case bytes(ByteBuffer)
    /// A list of many bytes, sent as the connection takes it.
    case list(ListBody)
    /// Sent as chunks until the stream ends; the closure attaches it to the connection.
    case stream(@Sendable (StreamWriter) -> Void)
    /// Sent as another connection brings it. The closure is called on the event loop, after the head went out.
    case relay(@Sendable (BodyWriter) -> Void)
    /// Status 101: after the head the connection is the closure's. Called on the event loop.
    case upgrade(@Sendable (ByteLink) -> Void)
  }
  /// Whether the answer is there, not a stream of what is to come.
  var isWhole: Bool {
    switch body {
    case .bytes, .list: true
    default: false
    }
  }
  /// The body of an answer that ends by itself.
  var bytes: ByteBuffer? {
    switch body {
    case .bytes(let bytes): bytes
    case .list(let list): list.whole
    default: nil
    }
  }
  var status: HTTPResponseStatus
  /// Empty: whatever `headers` say.
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

// The page under `/weft/`: the same bytes for everybody, before anybody is asked who they are. What it shows it asks for itself,
// as whoever logs in.

import ClusterObjects
import Crypto
import NIOCore
import NIOHTTP1
import WebPage

/// One document and the headers it goes out with, made once.
struct ServedPage: Sendable {
  static let path = "/weft/"
  static let shared = ServedPage(document: WebPage.bytes)

  private let document: ByteBuffer
  private let tag: String
  private let headers: [(String, String)]

  init(document: [UInt8]) {
    self.document = ByteBuffer(bytes: document)
    tag = "\"\(Self.digest(document))\""
    let policy = WebPage.contentSecurityPolicy(
      script: Self.digest(WebPage.content(of: "script", in: document)),
      style: Self.digest(WebPage.content(of: "style", in: document)))
    headers = [
      ("content-security-policy", policy), ("x-content-type-options", "nosniff"),
      ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer"),
      ("cross-origin-opener-policy", "same-origin"), ("cross-origin-resource-policy", "same-origin"),
      // Asked for again each time, and answered with 304 while it is the same.
      ("cache-control", "no-cache"), ("etag", tag),
    ]
  }

  /// SHA-256 in Base64, as the policy names it.
  private static func digest(_ bytes: [UInt8]) -> String {
    Base64.encode(Array(SHA256.hash(data: bytes)))
  }

  /// Nil for every other path and method: they go the way of all requests.
  func answer(_ request: HTTPRequest) -> HTTPResponse? {
    guard request.method == .GET || request.method == .HEAD else { return nil }
    switch request.rawPath {
    case Self.path:
      if request.headers["if-none-match"].contains(where: { $0.contains(tag) }) {
        return HTTPResponse(304, contentType: "", headers: headers, .bytes(ByteBuffer()))
      }
      return HTTPResponse(
        200, contentType: "text/html; charset=utf-8", headers: headers, .bytes(document))
    case "/weft":
      return HTTPResponse(301, contentType: "", headers: [("location", Self.path)], .bytes(ByteBuffer()))
    default: return nil
    }
  }
}

// A request from outside as people write it: http://web.example.org:8080/cart.

import Diagnostics

/// What a client asks an ingress or a gateway for.
public struct WebTarget: Sendable, Hashable {
  public var isTLS: Bool
  /// In lower case; the request's Host field.
  public var host: String
  public var port: UInt16
  /// Begins with a slash.
  public var path: String

  /// Nil when the text has no scheme of HTTP. Throws `CLI0010` for one that has, and cannot be read.
  init?(_ text: String) throws(WeftError) {
    let rest: Substring
    if text.hasPrefix("http://") {
      (isTLS, rest) = (false, text.dropFirst(7))
    } else if text.hasPrefix("https://") {
      (isTLS, rest) = (true, text.dropFirst(8))
    } else {
      return nil
    }
    let end = rest.firstIndex(of: "/") ?? rest.endIndex
    var authority = rest[..<end]
    path = end == rest.endIndex ? "/" : String(rest[end...])
    port = isTLS ? 443 : 80
    if authority.last != "]", let colon = authority.lastIndex(of: ":") {
      guard let number = UInt16(authority[authority.index(after: colon)...]), number > 0 else {
        throw Self.unreadable(text)
      }
      port = number
      authority = authority[..<colon]
    }
    host = authority.lowercased()
    let isReadable = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
    guard !host.isEmpty, isReadable else { throw Self.unreadable(text) }
  }

  private static func unreadable(_ text: String) -> WeftError {
    WeftError(
      "CLI0010", object: text, cause: "cannot be read as a request",
      next: "write http://HOST/PATH or https://HOST:PORT/PATH")
  }
}

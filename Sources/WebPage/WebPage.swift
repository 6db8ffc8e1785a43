// The page under `/weft/`: its bytes, and the policy that browsers hold it to.

/// One file, made of nothing but itself.
public enum WebPage {
  /// HTML in UTF-8.
  public static var bytes: [UInt8] { PackageResources.page_html }

  /// Nothing from elsewhere, no plug-ins, no frames, no forms that send, no inline handlers: of scripts and styles only the two blocks
  /// of the file run, named by their digests.
  /// - Parameters: the SHA-256 digests of the text between the tags, in Base64.
  public static func contentSecurityPolicy(script: String, style: String) -> String {
    [
      "default-src 'none'", "script-src 'sha256-\(script)'", "style-src 'sha256-\(style)'",
      "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
      "frame-ancestors 'none'",
    ].joined(separator: "; ")
  }

  /// What stands between the first `<TAG>` of a document and its end; empty when there is none.
  public static func content(of tag: String, in text: [UInt8]) -> [UInt8] {
    let open = Array("<\(tag)>".utf8)
    let close = Array("</\(tag)>".utf8)
    guard let start = find(open, in: text, from: 0),
      let end = find(close, in: text, from: start + open.count)
    else { return [] }
    return Array(text[(start + open.count)..<end])
  }

  private static func find(_ part: [UInt8], in text: [UInt8], from: Int) -> Int? {
    guard text.count >= part.count, from <= text.count - part.count else { return nil }
    return (from...(text.count - part.count)).first { text[$0...].starts(with: part) }
  }
}

// A proxy that has found out who asks and says so in headers. It is believed when its certificate is of an
// authority made for that, never because of the headers.

import NIOHTTP1
import X509

struct FrontProxy: Sendable {
  let authorities: Authorities
  /// Empty: any name.
  let names: Set<String>
  let userHeaders: [String]
  let uidHeaders: [String]
  let groupHeaders: [String]
  let extraPrefixes: [String]

  init(_ settings: AuthenticationSettings, authorities: Authorities) {
    self.authorities = authorities
    names = Set(settings.frontProxyNames)
    userHeaders = settings.frontProxyUserHeaders
    uidHeaders = settings.frontProxyUIDHeaders
    groupHeaders = settings.frontProxyGroupHeaders
    extraPrefixes = settings.frontProxyExtraPrefixes.map { $0.lowercased() }
  }

  func identity(_ request: HTTPRequest, _ peer: Peer) async -> Finding {
    if peer.isEmpty { return .notMine }
    // A user's certificate is of another authority: that is no mistake.
    guard case .valid = await authorities.verify(peer) else { return .notMine }
    let name = peer.chain.first.flatMap { ClientCertificates.identity($0.subject)?.user } ?? ""
    guard names.isEmpty || names.contains(name) else {
      return .wrong("x509: subject with cn=\(name) is not in the allowed list")
    }
    guard let user = first(request, userHeaders) else { return .notMine }
    var identity = Identity(user: user, groups: [])
    identity.uid = first(request, uidHeaders) ?? ""
    for header in groupHeaders {
      identity.groups += request.headers[header].filter { !$0.isEmpty }
    }
    for (header, value) in request.headers {
      let lower = header.lowercased()
      for prefix in extraPrefixes where lower.hasPrefix(prefix) && lower.count > prefix.count {
        identity.extra[HeaderKey.decode(lower.dropFirst(prefix.count)), default: []].append(value)
      }
    }
    return .found(identity.authenticated)
  }

  private func first(_ request: HTTPRequest, _ names: [String]) -> String? {
    for name in names {
      if let value = request.headers.first(name: name), !value.isEmpty { return value }
    }
    return nil
  }
}

/// Names of extra fields in headers: in lower case, `%` before what a header's name cannot hold.
enum HeaderKey {
  /// As it is when its escapes are broken, as upstream does.
  static func decode(_ text: Substring) -> String {
    var out: [UInt8] = []
    var bytes = text.utf8.makeIterator()
    while let byte = bytes.next() {
      guard byte == UInt8(ascii: "%") else {
        out.append(byte)
        continue
      }
      guard let high = bytes.next().flatMap(digit), let low = bytes.next().flatMap(digit) else {
        return String(text)
      }
      out.append(high << 4 | low)
    }
    return String(validating: out, as: UTF8.self) ?? String(text)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 65...70: byte - 55
    case 97...102: byte - 87
    default: nil
    }
  }
}

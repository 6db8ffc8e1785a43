// Names and passwords of a request (RFC 7617) against hashes as htpasswd writes them.

import COpenSSL
import ClusterObjects

/// Answers whether a client knows a password, and remembers those that did: hashes are made to be slow.
final class CredentialChecker {
  /// Good pairs that are remembered, by worker.
  static let knownMax = 1024

  private struct Pair: Hashable {
    var hash: String
    var given: [UInt8]
  }
  private var known: Set<Pair> = []
  private static let fieldName = Array("authorization".utf8)

  func admits(_ request: RouteRequest, _ credentials: RouteCredentials) -> Bool {
    guard let field = request.field(Self.fieldName), field.count > 6, field.count < 2048,
      HeadReader.equals(field, 0..<6, "basic "),
      let given = Base64.decode(String(decoding: field[6...].drop { $0 == 32 }, as: UTF8.self)),
      let colon = given.firstIndex(of: UInt8(ascii: ":"))
    else { return false }
    guard let hash = credentials.users[String(decoding: given[..<colon], as: UTF8.self)] else { return false }
    let pair = Pair(hash: hash, given: given)
    if known.contains(pair) { return true }
    guard Self.matches(Array(given[(colon + 1)...]), hash) else { return false }
    if known.count >= Self.knownMax { known.removeAll(keepingCapacity: true) }
    known.insert(pair)
    return true
  }

  /// `$apr1$`, `{SHA}` and whatever crypt(3) of the system knows: `$2y$`, `$5$`, `$6$`, `$y$`.
  static func matches(_ password: [UInt8], _ hash: String) -> Bool {
    guard !password.contains(0) else { return false }
    return weft_password_matches(password, password.count, hash) == 1
  }

  /// Lines of an htpasswd file: name and hash by name. Comments and lines without a colon are passed over.
  static func users(file: [UInt8]) -> [String: String] {
    var users: [String: String] = [:]
    for line in file.split(whereSeparator: { $0 == 10 || $0 == 13 }) where line.first != UInt8(ascii: "#") {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      // What follows a second colon is a comment, as nginx reads it.
      let hash = line[(colon + 1)...].prefix { $0 != UInt8(ascii: ":") }
      users[String(decoding: line[..<colon], as: UTF8.self)] = String(decoding: hash, as: UTF8.self)
    }
    return users
  }
}

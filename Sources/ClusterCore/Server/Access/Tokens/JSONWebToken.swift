// A signed JSON Web Token in compact form (RFC 7515, RFC 7519), taken apart but not yet believed.
//
//   base64url(header) . base64url(claims) . base64url(signature)
//   └────────── what was signed ─────────┘

import ClusterObjects

/// Why a token is not believed. The text goes to the log and into TokenReviews, never to who showed it.
struct TokenProblem: Error, Sendable, Hashable, CustomStringConvertible {
  var text: String
  init(_ text: String) { self.text = text }
  var description: String { text }
}

struct JSONWebToken: Sendable {
  /// Longer ones are refused unread. Tokens of a ServiceAccount are about a kilobyte.
  static let bytesMax = 32 << 10

  var algorithm: String
  /// Which key signed; may be empty.
  var keyID: String
  var claims: JSON
  /// Header and claims as they were written.
  var signed: [UInt8]
  var signature: [UInt8]

  init(_ text: String) throws(TokenProblem) {
    let bytes = Array(text.utf8)
    guard bytes.count <= Self.bytesMax else {
      throw TokenProblem("token is longer than \(Self.bytesMax) bytes")
    }
    let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 3 else { throw TokenProblem("token has \(parts.count) parts instead of three") }
    let header = try Self.object(parts[0], "header")
    // An extension that must be understood (RFC 7515, 4.1.11): none is.
    guard header["crit"] == nil else { throw TokenProblem("token needs an extension: crit") }
    guard let algorithm = header["alg"]?.string else { throw TokenProblem("token names no algorithm") }
    self.algorithm = algorithm
    keyID = header["kid"]?.string ?? ""
    claims = try Self.object(parts[1], "claims")
    guard let signature = Base64URL.decode(parts[2]), !signature.isEmpty else {
      throw TokenProblem("token has no readable signature")
    }
    self.signature = signature
    signed = Array(bytes[..<parts[1].endIndex])
  }

  /// A JSON object that names nothing twice: two readers must not see two different users.
  private static func object(_ part: ArraySlice<UInt8>, _ name: String) throws(TokenProblem) -> JSON {
    guard let bytes = Base64URL.decode(part) else { throw TokenProblem("token's \(name): no base64url") }
    var duplicate: String?
    let value: JSON
    do throws(JSONError) { value = try JSON(parsing: bytes, onDuplicate: { duplicate = $0 }) } catch {
      throw TokenProblem("token's \(name): \(error)")
    }
    if let duplicate { throw TokenProblem("token's \(name): \(duplicate) is there twice") }
    guard value.object != nil else { throw TokenProblem("token's \(name): no object") }
    return value
  }

  // MARK: Registered claims

  var issuer: String { claims["iss"]?.string ?? "" }
  var subject: String { claims["sub"]?.string ?? "" }
  /// One text or a list of them.
  var audiences: [String] {
    if let one = claims["aud"]?.string { return [one] }
    return claims["aud"]?.elements.compactMap(\.string) ?? []
  }

  /// Clocks may differ by this much.
  static let leewaySeconds = 60.0

  /// Whether the token is valid at `now`, in seconds since 1970. One without an end is refused when
  /// `needsExpiry`.
  func checkTimes(now: Int64, needsExpiry: Bool) throws(TokenProblem) {
    let now = Double(now)
    if let start = try time("nbf"), now + Self.leewaySeconds < start {
      throw TokenProblem("token is not valid yet")
    }
    if let end = try time("exp") {
      if now - Self.leewaySeconds > end { throw TokenProblem("token has expired") }
    } else if needsExpiry {
      throw TokenProblem("token has no expiry")
    }
    if let issued = try time("iat"), now + Self.leewaySeconds < issued {
      throw TokenProblem("token is issued in the future")
    }
  }

  /// A NumericDate: seconds since 1970, perhaps with a fraction.
  func time(_ claim: String) throws(TokenProblem) -> Double? {
    switch claims[claim] {
    case nil, .null: return nil
    case .integer(let seconds): return Double(seconds)
    case .number(let text):
      if let seconds = Double(text), seconds.isFinite { return seconds }
    default: break
    }
    throw TokenProblem("token's \(claim) is no time")
  }
}

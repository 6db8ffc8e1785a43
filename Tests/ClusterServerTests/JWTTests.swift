// Tokens as bytes: what is read, what is refused, and that nothing a stranger sends brings the server down.

import ClusterClient
import ClusterObjects
import Crypto
import CryptoExtras
import StoreLab
import Testing

@testable import ClusterServer

private let key = SigningKey.p256(P256.Signing.PrivateKey())
private let claims: JSON = [
  "iss": "me", "sub": "system:serviceaccount:ns:sa", "aud": ["a", "b"], "exp": 2000, "nbf": 1000, "iat": 1000,
]

private func encoded(_ text: String) -> String { Base64URL.encode(Array(text.utf8)) }

/// A token of these two texts, signed by `key` whatever they say.
private func forged(header: String, claims: String) throws -> String {
  let signed = encoded(header) + "." + encoded(claims)
  guard case .p256(let secret) = key else { throw Failed(text: "no P-256 key") }
  let signature = try secret.signature(for: SHA256.hash(data: Array(signed.utf8)))
  return signed + "." + Base64URL.encode(Array(signature.rawRepresentation))
}

private func accepts(_ text: String, _ keys: VerifyingKeys = VerifyingKeys([key.verifying])) -> Bool {
  do throws(TokenProblem) {
    try keys.verify(try JSONWebToken(text))
    return true
  } catch {
    return false
  }
}

@Suite struct JWTTests {
  @Test func `what was signed is read back`() throws {
    let token = try JSONWebToken(try key.token(claims))
    try VerifyingKeys([key.verifying]).verify(token)
    #expect(token.claims == claims && token.algorithm == "ES256")
    #expect(token.keyID == key.verifying.id)
    #expect(token.audiences == ["a", "b"] && token.issuer == "me")
  }

  @Test(arguments: ["ES256", "ES384", "RS256"])
  func `each algorithm's tokens are believed, and none of another key`(algorithm: String) throws {
    func make() throws -> SigningKey {
      switch algorithm {
      case "ES256": .p256(P256.Signing.PrivateKey())
      case "ES384": .p384(P384.Signing.PrivateKey())
      default: .rsa(try _RSA.Signing.PrivateKey(keySize: .bits2048))
      }
    }
    let mine = try make()
    let other = try make()
    let token = try mine.token(claims)
    #expect(try JSONWebToken(token).algorithm == algorithm)
    #expect(accepts(token, VerifyingKeys([other.verifying, mine.verifying])))
    #expect(!accepts(token, VerifyingKeys([other.verifying])))
    // The key as others get it: a JWK set, and PEM.
    let published = try #require(VerifyingKeys(jwks: VerifyingKeys([mine.verifying]).jwks.bytes))
    #expect(accepts(token, published))
    #expect(VerifyingKey(pem: mine.verifying.pem)?.id == mine.verifying.id)
  }

  @Test(arguments: [
    #"{"alg":"none"}"#, #"{"alg":"None"}"#, #"{"alg":"HS256"}"#, #"{"alg":"ES384"}"#, #"{"alg":"RS256"}"#,
    #"{"alg":""}"#, #"{"typ":"JWT"}"#, #"{"alg":["ES256"]}"#, #"{"alg":"none","alg":"ES256"}"#,
    #"{"alg":"ES256","alg":"ES256"}"#, #"{"alg":"ES256","crit":["exp"]}"#, #"["ES256"]"#, #""ES256""#, "",
  ])
  func `a header that asks for another way to verify is refused`(header: String) throws {
    #expect(accepts(try forged(header: #"{"alg":"ES256"}"#, claims: claims.text)))
    #expect(!accepts(try forged(header: header, claims: claims.text)), "\(header)")
  }

  @Test(arguments: [
    #"{"sub":"a","sub":"b"}"#, #"{"x":{"y":1,"y":2}}"#, "[]", "null", "7", "{", #"{"a":1}x"#,
    String(repeating: "[", count: 100_000),
  ])
  func `claims that two readers could read differently are refused`(claims: String) throws {
    #expect(!accepts(try forged(header: #"{"alg":"ES256"}"#, claims: claims)))
  }

  @Test func `no signature, half of one, and that of an HMAC with the public key are refused`() throws {
    let token = try key.token(claims)
    let parts = token.split(separator: ".").map(String.init)
    #expect(!accepts(parts[0] + "." + parts[1] + "."))
    #expect(!accepts(parts[0] + "." + parts[1]))
    #expect(!accepts(token + "."))
    #expect(!accepts(parts[0] + "." + parts[1] + "." + String(parts[2].dropLast(43))))
    #expect(!accepts(encoded(#"{"alg":"none"}"#) + "." + parts[1] + "."))
    let signed = encoded(#"{"alg":"HS256"}"#) + "." + parts[1]
    let code = HMAC<SHA256>.authenticationCode(
      for: Array(signed.utf8), using: SymmetricKey(data: Array(key.verifying.pem.utf8)))
    #expect(!accepts(signed + "." + Base64URL.encode(Array(code))))
    // The other spelling of an ECDSA signature: DER instead of two numbers.
    guard case .p256(let secret) = key else { return }
    let der = try secret.signature(for: SHA256.hash(data: Array((parts[0] + "." + parts[1]).utf8)))
      .derRepresentation
    #expect(!accepts(parts[0] + "." + parts[1] + "." + Base64URL.encode(Array(der))))
  }

  @Test func `a token too long is not even read`() throws {
    let long: JSON = ["x": JSON(String(repeating: "y", count: JSONWebToken.bytesMax))]
    #expect(throws: TokenProblem("token is longer than \(JSONWebToken.bytesMax) bytes")) {
      try JSONWebToken(try key.token(long))
    }
  }

  @Test func `cut at any byte, or with any byte changed, a token is refused`() throws {
    let token = try key.token(claims)
    let bytes = Array(token.utf8)
    for count in bytes.indices { #expect(!accepts(String(decoding: bytes[..<count], as: UTF8.self))) }
    var generator = SplitMix(seed: 7)
    for index in bytes.indices {
      var changed = bytes
      changed[index] = UInt8.random(in: 0...255, using: &generator)
      if changed == bytes { continue }
      #expect(!accepts(String(decoding: changed, as: UTF8.self)), "byte \(index) = \(changed[index])")
    }
  }

  @Test func `mutated tokens, keys and files bring nothing down`() throws {
    var generator = SplitMix(seed: 42)
    let rsa = SigningKey.rsa(try _RSA.Signing.PrivateKey(keySize: .bits2048))
    let keys = VerifyingKeys([key.verifying, rsa.verifying])
    let corpus = [
      try key.token(claims), try rsa.token(claims), keys.jwks.text, key.verifying.pem, rsa.verifying.pem,
      "a.b.c", "..", #"tok,user,uid,"g1,g2""#,
    ].map { Array($0.utf8) }
    for _ in 0..<4000 {
      var bytes = corpus.randomElement(using: &generator) ?? []
      for _ in 0...Int.random(in: 0...4, using: &generator) { mutate(&bytes, &generator) }
      let text = String(decoding: bytes, as: UTF8.self)
      if !corpus.contains(bytes) { #expect(!accepts(text, keys)) }
      _ = VerifyingKeys(jwks: bytes)
      _ = PEM.blocks(text).map(VerifyingKey.init(pem:))
      _ = try? StaticTokens(csv: text, path: "f", audiences: ["a"])
      _ = BootstrapTokens.split(text)
      _ = HeaderKey.decode(text[...])
      if let tree = try? JSON(parsing: bytes) { _ = try? AuditPolicy(tree, path: "f") }
    }
  }

  @Test(arguments: [
    (939, "token is not valid yet"), (940, ""), (1500, ""), (2060, ""), (2061, "token has expired"),
  ])
  func `clocks may differ by a minute and no more`(now: Int64, problem: String) throws {
    let token = try JSONWebToken(try key.token(claims))
    do throws(TokenProblem) {
      try token.checkTimes(now: now, needsExpiry: true)
      #expect(problem.isEmpty)
    } catch {
      #expect(error.text == problem)
    }
  }

  @Test(
    arguments: [
      (["exp": "2000"], false), (["exp": .number("1e400")], false), (["exp": .number("2000.5")], true),
      ([:], false), (["exp": 9_223_372_036_854_775_807], true), (["exp": -9_223_372_036_854_775_808], false),
      (["exp": 2000, "iat": 5000], false), (["exp": 2000, "nbf": true], false),
    ] as [(JSON, Bool)])
  func `times that are none are no time`(claims: JSON, isValid: Bool) throws {
    let token = try JSONWebToken(try key.token(claims))
    do throws(TokenProblem) {
      try token.checkTimes(now: 1500, needsExpiry: true)
      #expect(isValid)
    } catch {
      #expect(!isValid, "\(error)")
    }
  }

  @Test func `base64 for URLs has one spelling`() {
    for count in 0..<20 {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 89 &+ 7) }
      #expect(Base64URL.decode(Base64URL.encode(bytes).utf8) == bytes)
    }
    for wrong in ["A", "AB=", "AB==", "A+", "A/", "AB\n", "AA A", "AB", "AAB"] {
      #expect(Base64URL.decode(wrong.utf8) == nil, "\(wrong)")
    }
  }

  @Test func `memory of verified tokens is bounded and keeps what is used`() {
    let cache = VerifiedTokens<Int>()
    for index in 0..<10_000 {
      cache.remember("t\(index)", index)
      if index > 0 { #expect(cache["t0"] == 0) }
    }
    #expect(cache.count <= VerifiedTokens<Int>.countMax)
    #expect(cache["t9999"] == 9999)
    #expect(cache["t1"] == nil)
  }
}

/// Small, seeded, the same everywhere.
struct SplitMix: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

func mutate(_ bytes: inout [UInt8], _ generator: inout SplitMix) {
  guard !bytes.isEmpty else { return bytes.append(UInt8.random(in: 0...255, using: &generator)) }
  let index = Int.random(in: bytes.indices, using: &generator)
  switch Int.random(in: 0..<5, using: &generator) {
  case 0: bytes[index] = UInt8.random(in: 0...255, using: &generator)
  case 1: bytes.remove(at: index)
  case 2: bytes.insert(UInt8.random(in: 32...126, using: &generator), at: index)
  case 3: bytes.removeSubrange(index..<min(bytes.count, index + Int.random(in: 1...40, using: &generator)))
  default: bytes.insert(contentsOf: bytes[..<index].suffix(30), at: index)
  }
}

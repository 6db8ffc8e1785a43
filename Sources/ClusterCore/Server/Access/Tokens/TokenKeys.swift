// Keys that sign and verify tokens, and how they are written: PEM, JWK.
//
//   ES256 P-256 with SHA-256 (ours)   ES384 P-384 with SHA-384   RS256 RSA PKCS #1 v1.5 with SHA-256

import ClusterObjects
import Crypto
import CryptoExtras

/// A public key that says which one algorithm it is for: a token cannot choose.
struct VerifyingKey: Sendable {
  enum Material: Sendable {
    case p256(P256.Signing.PublicKey)
    case p384(P384.Signing.PublicKey)
    case rsa(_RSA.Signing.PublicKey)
  }
  var material: Material
  /// What tokens name it by. Of ours: the SHA-256 of the key's DER, in base64url.
  var id: String

  init(_ material: Material, id: String? = nil) {
    self.material = material
    let der: [UInt8] =
      switch material {
      case .p256(let key): Array(key.derRepresentation)
      case .p384(let key): Array(key.derRepresentation)
      case .rsa(let key): Array(key.derRepresentation)
      }
    self.id = id ?? Base64URL.encode(SHA256.hash(data: der))
  }

  /// PEM of a public key, or of a private one whose public half is meant. Nil when it is neither or of
  /// another sort.
  init?(pem: String) {
    if let key = try? P256.Signing.PublicKey(pemRepresentation: pem) {
      self.init(.p256(key))
    } else if let key = try? P384.Signing.PublicKey(pemRepresentation: pem) {
      self.init(.p384(key))
    } else if let key = try? _RSA.Signing.PublicKey(pemRepresentation: pem) {
      self.init(.rsa(key))
    } else if let key = SigningKey(pem: pem) {
      self = key.verifying
    } else {
      return nil
    }
  }

  /// A JSON Web Key (RFC 7517). Nil for keys of other sorts and uses, which a set may hold too.
  init?(jwk: JSON) {
    if let use = jwk["use"]?.string, use != "sig" { return nil }
    func part(_ name: String) -> [UInt8]? {
      jwk[name]?.string.flatMap { $0.utf8.count <= 2048 ? Base64URL.decode($0.utf8) : nil }
    }
    let id = jwk["kid"]?.string
    let key: VerifyingKey
    switch (jwk["kty"]?.string, jwk["crv"]?.string) {
    case ("EC", "P-256"):
      guard let x = part("x"), let y = part("y"), x.count == y.count,
        let point = try? P256.Signing.PublicKey(rawRepresentation: x + y)
      else { return nil }
      key = VerifyingKey(.p256(point), id: id)
    case ("EC", "P-384"):
      guard let x = part("x"), let y = part("y"), x.count == y.count,
        let point = try? P384.Signing.PublicKey(rawRepresentation: x + y)
      else { return nil }
      key = VerifyingKey(.p384(point), id: id)
    case ("RSA", _):
      guard let n = part("n"), let e = part("e"), n.count >= 256, !e.isEmpty, e.count <= 8,
        let modulus = try? _RSA.Signing.PublicKey(n: n, e: e)
      else { return nil }
      key = VerifyingKey(.rsa(modulus), id: id)
    default: return nil
    }
    if let algorithm = jwk["alg"]?.string, algorithm != key.algorithm { return nil }
    self = key
  }

  var algorithm: String {
    switch material {
    case .p256: "ES256"
    case .p384: "ES384"
    case .rsa: "RS256"
    }
  }

  func isValid(_ signature: [UInt8], for signed: [UInt8]) -> Bool {
    switch material {
    case .p256(let key):
      guard signature.count == 64, let value = try? P256.Signing.ECDSASignature(rawRepresentation: signature)
      else { return false }
      return key.isValidSignature(value, for: SHA256.hash(data: signed))
    case .p384(let key):
      guard signature.count == 96, let value = try? P384.Signing.ECDSASignature(rawRepresentation: signature)
      else { return false }
      return key.isValidSignature(value, for: SHA384.hash(data: signed))
    case .rsa(let key):
      return key.isValidSignature(
        _RSA.Signing.RSASignature(rawRepresentation: signature), for: SHA256.hash(data: signed),
        padding: .insecurePKCS1v1_5)
    }
  }

  var jwk: JSON {
    var key: JSON = ["use": "sig", "kid": JSON(id), "alg": JSON(algorithm)]
    func point(_ curve: String, _ raw: [UInt8]) {
      key["kty"] = "EC"
      key["crv"] = JSON(curve)
      key["x"] = JSON(Base64URL.encode(raw[..<(raw.count / 2)]))
      key["y"] = JSON(Base64URL.encode(raw[(raw.count / 2)...]))
    }
    switch material {
    case .p256(let public256): point("P-256", Array(public256.rawRepresentation))
    case .p384(let public384): point("P-384", Array(public384.rawRepresentation))
    case .rsa(let rsa):
      key["kty"] = "RSA"
      if let numbers = try? rsa.getKeyPrimitives() {
        key["n"] = JSON(Base64URL.encode(Array(numbers.modulus)))
        key["e"] = JSON(Base64URL.encode(Array(numbers.publicExponent)))
      }
    }
    return key
  }

  var pem: String {
    switch material {
    case .p256(let key): key.pemRepresentation
    case .p384(let key): key.pemRepresentation
    case .rsa(let key): key.pemRepresentation
    }
  }
}

/// A private key.
enum SigningKey: Sendable {
  case p256(P256.Signing.PrivateKey)
  case p384(P384.Signing.PrivateKey)
  case rsa(_RSA.Signing.PrivateKey)

  init?(pem: String) {
    if let key = try? P256.Signing.PrivateKey(pemRepresentation: pem) {
      self = .p256(key)
    } else if let key = try? P384.Signing.PrivateKey(pemRepresentation: pem) {
      self = .p384(key)
    } else if let key = try? _RSA.Signing.PrivateKey(pemRepresentation: pem) {
      self = .rsa(key)
    } else {
      return nil
    }
  }

  var verifying: VerifyingKey {
    switch self {
    case .p256(let key): VerifyingKey(.p256(key.publicKey))
    case .p384(let key): VerifyingKey(.p384(key.publicKey))
    case .rsa(let key): VerifyingKey(.rsa(key.publicKey))
    }
  }

  private func signature(for signed: [UInt8]) throws -> [UInt8] {
    switch self {
    case .p256(let key): Array(try key.signature(for: SHA256.hash(data: signed)).rawRepresentation)
    case .p384(let key): Array(try key.signature(for: SHA384.hash(data: signed)).rawRepresentation)
    case .rsa(let key):
      Array(
        try key.signature(for: SHA256.hash(data: signed), padding: .insecurePKCS1v1_5).rawRepresentation)
    }
  }

  /// A token with these claims. About 30 µs with P-256.
  func token(_ claims: JSON) throws -> String {
    let key = verifying
    let header: JSON = ["alg": JSON(key.algorithm), "kid": JSON(key.id)]
    let signed = Base64URL.encode(header.bytes) + "." + Base64URL.encode(claims.bytes)
    return signed + "." + Base64URL.encode(try signature(for: Array(signed.utf8)))
  }
}

/// The keys one issuer's tokens may be signed with.
struct VerifyingKeys: Sendable {
  /// Keys of one set that are kept; of longer sets the first.
  static let countMax = 64
  private(set) var keys: [VerifyingKey] = []

  init(_ keys: [VerifyingKey]) {
    var seen: Set<String> = []
    for key in keys.prefix(Self.countMax) where seen.insert(key.id + key.algorithm).inserted {
      self.keys.append(key)
    }
  }

  /// A JWK set. Nil when it is none.
  init?(jwks: [UInt8]) {
    guard let tree = try? JSON(parsing: jwks), let list = tree["keys"]?.array else { return nil }
    self.init(list.compactMap(VerifyingKey.init(jwk:)))
  }

  func contains(id: String) -> Bool { keys.contains { $0.id == id } }

  /// Throws unless one of the keys signed the token, by the algorithm that key is for.
  func verify(_ token: JSONWebToken) throws(TokenProblem) {
    let fitting = keys.filter { $0.algorithm == token.algorithm }
    guard !fitting.isEmpty else { throw TokenProblem("no key for the algorithm \"\(token.algorithm)\"") }
    // The named key first; a token without a name may be of any.
    let named = fitting.filter { $0.id == token.keyID }
    let tried = named.isEmpty ? fitting : named
    guard tried.contains(where: { $0.isValid(token.signature, for: token.signed) }) else {
      throw TokenProblem("invalid signature")
    }
  }

  var jwks: JSON { ["keys": .array(keys.map(\.jwk))] }
}

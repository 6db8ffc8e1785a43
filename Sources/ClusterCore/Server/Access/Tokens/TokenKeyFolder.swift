// The key that signs the tokens of ServiceAccounts, and the public keys of all that did so lately.
//
//   <folder>/service-account.key   signs; mode 0600; made when missing
//            service-account.pub   public keys that are believed, the newest first
//
// Rotation: remove `service-account.key` and start again. A new one is made; what the old one signed stays
// valid while its public key is in the list.

import ClusterClient
import Crypto
import Diagnostics

struct TokenKeyFolder: Sendable {
  /// Public keys kept in the list; the oldest goes.
  static let publicKeysMax = 8

  var signing: SigningKey
  var verifying: [VerifyingKey]

  /// Reads the folder, and makes what is missing. Errors: `API0003` files, `API0010` what they hold.
  init(folder: String) throws(WeftError) {
    let keyPath = folder + "/service-account.key"
    let listPath = folder + "/service-account.pub"
    if let text = try PrivateFile.read(keyPath) {
      signing = try Self.signingKey(text, keyPath)
    } else {
      let fresh = P256.Signing.PrivateKey()
      try PrivateFile.write(keyPath, fresh.pemRepresentation + "\n", mode: 0o600)
      signing = .p256(fresh)
    }
    let known = try Self.publicKeys(try PrivateFile.read(listPath) ?? "", listPath)
    let own = signing.verifying
    verifying = Array(([own] + known.filter { $0.id != own.id }).prefix(Self.publicKeysMax))
    if known.first?.id != own.id {
      try PrivateFile.write(listPath, verifying.map { $0.pem + "\n" }.joined(), mode: 0o644)
    }
  }

  /// The private key of a PEM file.
  static func signingKey(path: String) throws(WeftError) -> SigningKey {
    guard let text = try PrivateFile.read(path) else { throw missing(path) }
    return try signingKey(text, path)
  }

  /// All keys of a PEM file, public or private.
  static func publicKeys(path: String) throws(WeftError) -> [VerifyingKey] {
    guard let text = try PrivateFile.read(path) else { throw missing(path) }
    let keys = try publicKeys(text, path)
    guard !keys.isEmpty else { throw unusable(path, "holds no key in PEM form") }
    return keys
  }

  private static func signingKey(_ text: String, _ path: String) throws(WeftError) -> SigningKey {
    guard let key = SigningKey(pem: text) else {
      throw unusable(path, "is no private key of P-256, P-384 or RSA (2048 bits or more) in PEM form")
    }
    return key
  }

  private static func publicKeys(_ text: String, _ path: String) throws(WeftError) -> [VerifyingKey] {
    var keys: [VerifyingKey] = []
    for block in PEM.blocks(text) {
      // What OpenSSL writes before an EC key; it says only the curve, which the key says too.
      if block.hasPrefix("-----BEGIN EC PARAMETERS") { continue }
      guard let key = VerifyingKey(pem: block) else {
        throw unusable(path, "holds a key that is none of P-256, P-384 and RSA (2048 bits or more)")
      }
      keys.append(key)
    }
    return keys
  }

  private static func missing(_ path: String) -> WeftError {
    WeftError("API0010", object: path, cause: "there is no such file", next: "give the path of a PEM file")
  }

  private static func unusable(_ path: String, _ cause: String) -> WeftError {
    WeftError(
      "API0010", object: path, cause: cause,
      next: "restore the file, or remove it and let a new one be made (older tokens become invalid)")
  }
}

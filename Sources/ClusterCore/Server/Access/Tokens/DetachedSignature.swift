// A JSON Web Signature whose content stands elsewhere (RFC 7515, appendix F):
//
//   base64url({"alg":"HS256","kid":ID}) . . base64url(HMAC-SHA256(SECRET, header . content))

import ClusterObjects
import Crypto

public enum DetachedSignature {
  /// As `kubeadm` makes it and compares it, byte by byte: the header's fields in this order, without blanks.
  /// - Parameters:
  ///   - content: what is signed.
  ///   - keyID: told openly, `kid`.
  ///   - secret: the key's bytes as they are written.
  public static func make(_ content: String, keyID: String, secret: String) -> String {
    let fields: JSON = ["alg": "HS256", "kid": JSON(keyID)]
    let header = Base64URL.encode(fields.bytes)
    let signed = Array("\(header).\(Base64URL.encode(content.utf8))".utf8)
    let code = HMAC<SHA256>.authenticationCode(for: signed, using: SymmetricKey(data: Array(secret.utf8)))
    return "\(header)..\(Base64URL.encode(code))"
  }
}

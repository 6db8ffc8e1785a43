// Annotations about certificates: of clients (`auth-tls-*`), and towards endpoints (`proxy-ssl-*`).

import ClusterObjects
import ClusterView
import Patterns

extension AnnotationPlan {
  /// What clients have to show. Without a Secret that can be read the routes are closed.
  mutating func clientCertificates(
    _ reader: inout AnnotationReader, _ ingress: Ingress, _ secrets: [ObjectKey: CredentialSecret],
    _ isClosed: inout Bool
  ) {
    guard reader["auth-tls-secret"] != nil, reader["auth-tls-verify-client"] != "off" else { return }
    func close(_ reason: String) {
      reader.complain("\(reason): the routes answer 403 (ING0005)")
      isClosed = true
    }
    guard let key = Self.secretKey(ingress, "auth-tls-secret") else {
      return close("auth-tls-secret names no Secret of the Ingress's own namespace")
    }
    let depth = reader.number("auth-tls-verify-depth", 1...100) ?? 1
    guard let pem = secrets[key]?.data["ca.crt"] else {
      return close("auth-tls-secret: secret \(key) does not exist or has no key ca.crt")
    }
    // A list of revoked certificates that is passed over would let them in.
    let revoked = secrets[key]?.data["ca.crl"] ?? []
    let authority = TLSAuthority(source: "\(key)", pem: pem, depth: UInt8(depth), revoked: revoked)
    guard authority.isUsable else {
      return close(
        "auth-tls-secret: ca.crt\(revoked.isEmpty ? "" : " or ca.crl") of secret \(key) cannot be read")
    }
    var asked = RouteClientCertificate(authority: authority.id)
    switch reader["auth-tls-verify-client"] {
    case nil, "on": break
    case "optional": asked.need = .optional
    case "optional_no_ca": asked.need = .optionalUnknown
    case .some: reader.wrong("auth-tls-verify-client", "on, off, optional or optional_no_ca")
    }
    asked.errorPage = reader.template("auth-tls-error-page")
    asked.passes = reader.isTrue("auth-tls-pass-certificate-to-upstream")
    if let text = reader["auth-tls-match-cn"] {
      do throws(BytePatternError) { asked.subject = try BytePattern(text) } catch {
        return close("auth-tls-match-cn is no regular expression that is known here (\(error))")
      }
    }
    settle(authority, asked)
  }

  /// TLS towards endpoints, where `backend-protocol` has it.
  mutating func upstreamTLS(
    _ reader: inout AnnotationReader, _ ingress: Ingress, _ secrets: [ObjectKey: CredentialSecret],
    _ isClosed: inout Bool
  ) {
    guard var tls = policy.tls else { return }
    func close(_ reason: String) {
      reader.complain("\(reason): the routes answer 403 (ING0005)")
      isClosed = true
    }
    tls.serverName = reader["proxy-ssl-name"] ?? ""
    tls.hidesName = !Self.isOn(reader["proxy-ssl-server-name"])
    if reader["proxy-ssl-secret"] != nil {
      guard let key = Self.secretKey(ingress, "proxy-ssl-secret"), let data = secrets[key]?.data else {
        return close("proxy-ssl-secret names no Secret of the Ingress's own namespace that exists")
      }
      tls.certificate = data["tls.crt"] ?? []
      tls.key = data["tls.key"] ?? []
      if Self.isOn(reader["proxy-ssl-verify"]) {
        guard let authorities = data["ca.crt"], TLSAuthority(source: "", pem: authorities).isUsable else {
          return close("proxy-ssl-verify: secret \(key) has no ca.crt that can be read")
        }
        tls.authorities = authorities
        tls.depth = UInt8(reader.number("proxy-ssl-verify-depth", 1...100) ?? 1)
      }
    } else if Self.isOn(reader["proxy-ssl-verify"]) {
      return close("proxy-ssl-verify needs proxy-ssl-secret")
    }
    if let ciphers = reader["proxy-ssl-ciphers"], ciphers != "DEFAULT" {
      if ciphers.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) {
        tls.ciphers = ciphers
      } else {
        reader.wrong("proxy-ssl-ciphers", "a list as OpenSSL has it")
      }
    }
    if let words = reader["proxy-ssl-protocols"]?.split(separator: " ") {
      let versions = ["TLSv1.2": UInt8(12), "TLSv1.3": 13]
      let known = words.compactMap { versions[String($0)] }
      if let oldest = known.min(), let newest = known.max() {
        (tls.oldest, tls.newest) = (oldest, newest)
      } else {
        reader.wrong("proxy-ssl-protocols", "TLSv1.2, TLSv1.3 or both")
      }
    }
    policy.tls = tls
  }

  private static func isOn(_ text: String?) -> Bool { text == "on" }
}

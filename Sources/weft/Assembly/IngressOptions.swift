// What an ingress is told besides where it listens.

import ArgumentParser
import ClusterObjects
import Diagnostics

struct IngressSettings: Sendable {
  /// The Secret for names that nobody claims.
  var defaultSecret: ObjectKey?
  /// The field's value; empty for none.
  var strictTransportSecurity = IngressOptions.hstsDefault
}

struct IngressOptions: ParsableArguments {
  /// What ingress-nginx sends.
  static let hstsDefault = "max-age=31536000; includeSubDomains"

  @Option(
    help: """
      NAMESPACE/NAME of the Secret whose certificate is served for names that no Ingress claims. Default: a self-signed one.
      """)
  var defaultSslCertificate: String?
  @Option(
    help: "Strict-Transport-Security of answers over TLS, for hosts with a certificate; `none` for none.")
  var hsts = IngressOptions.hstsDefault

  func settings() throws(WeftError) -> IngressSettings {
    var settings = IngressSettings()
    if let text = defaultSslCertificate {
      let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, parts.allSatisfy({ Names.subdomainProblem($0) == nil }) else {
        throw WeftError(
          "CLI0004", object: "--default-ssl-certificate \(text)", cause: "is no NAMESPACE/NAME of a Secret",
          next: "write it as kube-system/default-cert")
      }
      settings.defaultSecret = ObjectKey(parts[0], parts[1])
    }
    guard hsts.utf8.allSatisfy({ $0 >= 32 && $0 < 127 }) else {
      throw WeftError(
        "CLI0004", object: "--hsts", cause: "is no value of a header field",
        next: "write it as: --hsts '\(Self.hstsDefault)'")
    }
    settings.strictTransportSecurity = hsts == "none" ? "" : hsts
    return settings
  }
}

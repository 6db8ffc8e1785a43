// A certificate for 127.0.0.1 and localhost, made by openssl when the tests begin.

import DNS
import SoakLab

enum TestCertificate {
  /// A self-signed certificate with its key, and the folder that holds them as `crt` and `key`.
  static func make(_ names: String = "IP:127.0.0.1,DNS:localhost") throws -> (
    credentials: TLSCredentials, folder: String
  ) {
    let folder = try ScratchFolder.make("dns")
    _ = run(
      """
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=weft \
      -addext subjectAltName=\(names) -keyout \(folder)/key -out \(folder)/crt 2>&1
      """)
    return (TLSCredentials(certificate: text("\(folder)/crt"), key: text("\(folder)/key")), folder)
  }

  static func text(_ path: String) -> String { run("cat \(path)") }
}

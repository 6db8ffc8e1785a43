// Certificates and their ends as people read them, in kubeadm's columns.

import Diagnostics

extension CertificateFolder.Life {
  /// Header and rows of `check-expiration`; `now` in seconds since 1970.
  public static func table(_ lives: [Self], now: Int64) -> [[String]] {
    [["CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY"]]
      + lives.map { life in
        [
          life.name, Timestamp.text(seconds: life.end),
          life.end > now ? residual(life.end - now) : "<expired>", life.isAuthority ? "" : life.authority,
        ]
      }
  }

  private static func residual(_ seconds: Int64) -> String {
    let day: Int64 = 86_400
    if seconds >= 365 * day { return "\(seconds / (365 * day))y" }
    return seconds >= day ? "\(seconds / day)d" : "\(seconds / 3600)h"
  }
}

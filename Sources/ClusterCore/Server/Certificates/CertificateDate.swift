// The one place that needs a date type: swift-certificates takes its validity as FoundationEssentials' Date.

import FoundationEssentials
import X509

extension CertificateAuthority {
  static func date(_ seconds: Int64) -> Date { Date(timeIntervalSince1970: Double(seconds)) }
}

extension Certificate {
  /// When it begins and when it ends, in seconds since 1970.
  var beginning: Int64 { Int64(notValidBefore.timeIntervalSince1970) }
  var end: Int64 { Int64(notValidAfter.timeIntervalSince1970) }

  /// Whether less than a third of its life is left: time for another.
  func isLate(at now: Int64) -> Bool { end - now < (end - beginning) / 3 }
}

// The one place that needs a date type: swift-certificates takes its validity as FoundationEssentials' Date.

import FoundationEssentials

extension CertificateAuthority {
  static func date(_ seconds: Int64) -> Date { Date(timeIntervalSince1970: Double(seconds)) }
}

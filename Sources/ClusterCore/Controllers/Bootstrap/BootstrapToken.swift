// Tokens with which new nodes introduce themselves, as controllers read them: Secrets `kube-system/bootstrap-token-ID`. Pure.

import ClusterObjects
import Diagnostics

/// A Secret of this kind that is whole. Who shows the token is authenticated elsewhere; here it signs, and it ends.
struct BootstrapToken: Sendable, Equatable {
  static let type = "bootstrap.kubernetes.io/token"
  static let namespace = "kube-system"
  static let namePrefix = "bootstrap-token-"

  /// Six letters and digits, not secret.
  var id: String
  var secret: String
  /// `usage-bootstrap-signing` is `true`.
  var maySign: Bool
  var end: BootstrapTokenEnd

  /// Nil for other Secrets, and for one whose parts are missing or whose name says another id.
  init?(_ object: JSON) {
    guard object.isBootstrapToken, !object.isTerminating, object.name.hasPrefix(Self.namePrefix) else {
      return nil
    }
    let data = object["data"]
    id = data.text("token-id")
    secret = data.text("token-secret")
    guard id.isBootstrapTokenID, object.name.dropFirst(Self.namePrefix.count) == id, !secret.isEmpty else {
      return nil
    }
    maySign = data.text("usage-bootstrap-signing") == "true"
    end = BootstrapTokenEnd(object)
  }
}

/// When a token is over.
enum BootstrapTokenEnd: Sendable, Equatable {
  case never
  /// Seconds since 1970. What cannot be read is long past, as the authenticator has it.
  case at(Int64)

  init(_ object: JSON) {
    let text = object["data"].text("expiration")
    self = text.isEmpty ? .never : .at(KubeTime(text)?.seconds ?? 0)
  }

  /// Seconds until then, 0 or less when it is over; nil for never.
  func left(now: Int64) -> Int64? {
    if case .at(let end) = self { end - now } else { nil }
  }
}

extension JSON {
  var isBootstrapToken: Bool {
    self["type"]?.string == BootstrapToken.type && namespace == BootstrapToken.namespace
  }
}

extension JSON? {
  /// A Secret's value as text; empty when it is missing or no base64.
  fileprivate func text(_ key: String) -> String {
    String(decoding: self?[key]?.string.flatMap { Base64.decode($0) } ?? [], as: UTF8.self)
  }
}

extension String {
  fileprivate var isBootstrapTokenID: Bool {
    utf8.count == 6
      && utf8.allSatisfy {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
      }
  }
}

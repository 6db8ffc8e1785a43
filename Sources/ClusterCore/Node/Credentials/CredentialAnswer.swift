// What is said to a credential provider and what it answers (credentialprovider.kubelet.k8s.io/v1), and how long an answer is
// good for which images. Pure.

import ClusterObjects
import Diagnostics

/// Why an answer is none, in kubelet's words where it has some.
struct CredentialRefusal: Error, Hashable { var message: String }

/// For which images an answer is kept.
enum CredentialScope: String, Sendable { case image = "Image", registry = "Registry", global = "Global" }

/// A provider's logins: a map from registries to logins, as in a pull secret.
struct CredentialAnswer: Sendable, Hashable {
  var auth: JSON
  var scope: CredentialScope
  /// Nil when the provider leaves it to the node's file.
  var cacheSeconds: Double?

  /// The question; `path` is the image's name with its registry, without tag and digest.
  static func request(_ path: String) -> [UInt8] {
    let request: JSON = [
      "kind": "CredentialProviderRequest", "apiVersion": JSON(CredentialProviderSettings.protocolVersion),
      "image": JSON(path),
    ]
    return request.bytes
  }

  init(_ bytes: [UInt8]) throws(CredentialRefusal) {
    guard !bytes.isEmpty else { throw CredentialRefusal(message: "it answered nothing") }
    guard let tree = try? JSON(parsing: bytes) else {
      throw CredentialRefusal(message: "it answered no JSON")
    }
    guard tree.kind == "CredentialProviderResponse" else {
      throw CredentialRefusal(
        message: "failed to get credential response kind, expected CredentialProviderResponse, got "
          + "\"\(tree.kind)\"")
    }
    let version = CredentialProviderSettings.protocolVersion
    guard tree.apiVersion == version else {
      throw CredentialRefusal(
        message: "apiVersion from credential plugin response did not match expected apiVersion:\(version), "
          + "actual apiVersion:\(tree.apiVersion)")
    }
    guard let scope = tree["cacheKeyType"]?.string.flatMap(CredentialScope.init) else {
      throw CredentialRefusal(message: "credential provider plugin did not return a valid cacheKeyType")
    }
    self.scope = scope
    auth = tree["auth"] ?? [:]
    if let duration = tree["cacheDuration"], !duration.isNull {
      guard let seconds = duration.string.flatMap({ GoDuration.seconds($0) }) else {
        throw CredentialRefusal(message: "its cacheDuration is no duration")
      }
      cacheSeconds = seconds
    }
  }
}

/// A provider's answers that are still good. At most `entriesMax`; when it is full those that are over go, and then all.
struct CredentialCache: Sendable {
  static let entriesMax = 1024
  private enum Key: Hashable { case image(String), registry(String), global }
  private var entries: [Key: (auth: JSON, until: ContinuousClock.Instant)] = [:]

  private static func key(_ scope: CredentialScope, _ path: String) -> Key {
    switch scope {
    case .image: .image(path)
    case .registry: .registry(String(path.prefix { $0 != "/" }))
    case .global: .global
    }
  }

  /// The narrowest that there is.
  func auth(_ path: String, now: ContinuousClock.Instant) -> JSON? {
    for scope in [CredentialScope.image, .registry, .global] {
      if let entry = entries[Self.key(scope, path)], now < entry.until { return entry.auth }
    }
    return nil
  }

  /// Keeps an answer as long as it says, or else `defaultSeconds`; none of them keeps it not at all.
  mutating func keep(
    _ answer: CredentialAnswer, for path: String, defaultSeconds: Double, now: ContinuousClock.Instant
  ) {
    let seconds = answer.cacheSeconds ?? defaultSeconds
    guard seconds > 0 else { return }
    if entries.count >= Self.entriesMax { entries = entries.filter { now < $0.value.until } }
    if entries.count >= Self.entriesMax { entries = [:] }
    entries[Self.key(answer.scope, path)] = (answer.auth, now + .seconds(seconds))
  }
}

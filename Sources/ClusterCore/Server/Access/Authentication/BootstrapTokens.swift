// Tokens with which a new node introduces itself: `ID.SECRET`, kept in Secret
// `kube-system/bootstrap-token-ID`.

import ClusterObjects
import Diagnostics

struct BootstrapTokens: TokenAuthenticator {
  private let objects: any LiveObjects
  private let audiences: [String]
  private let now: WallClock

  init(
    objects: any LiveObjects, audiences: [String], now: @escaping WallClock = { Timestamp.now().seconds }
  ) {
    self.objects = objects
    self.audiences = audiences
    self.now = now
  }

  /// The two halves of `[a-z0-9]{6}.[a-z0-9]{16}`; nil for anything else.
  static func split(_ token: String) -> (id: String, secret: String)? {
    let parts = token.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    func isPlain(_ byte: UInt8) -> Bool {
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
    guard parts.count == 2, parts[0].count == 6, parts[1].count == 16,
      parts.allSatisfy({ $0.allSatisfy(isPlain) })
    else { return nil }
    return (String(Substring(parts[0])), String(Substring(parts[1])))
  }

  func authenticate(_ token: String, audiences asked: [String]) async throws(TokenProblem) -> TokenIdentity? {
    guard let (id, secret) = Self.split(token) else { return nil }
    let common = asked.filter(audiences.contains)
    guard !common.isEmpty else { return nil }
    let name = "bootstrap-token-" + id
    guard let object = await objects.object(.secrets, namespace: "kube-system", name: name),
      !object.isTerminating, object["type"]?.string == "bootstrap.kubernetes.io/token"
    else { return nil }
    func data(_ key: String) -> String {
      let bytes = object.at("data", key)?.string.flatMap { Base64.decode($0) } ?? []
      return String(decoding: bytes, as: UTF8.self)
    }
    guard ConstantTime.areEqual(Array(data("token-secret").utf8), Array(secret.utf8)),
      data("token-id") == id, !isExpired(data("expiration")),
      data("usage-bootstrap-authentication") == "true"
    else { return nil }
    var groups = ["system:bootstrappers"]
    let more = data("auth-extra-groups")
    for group in more.split(separator: ",", omittingEmptySubsequences: true) {
      guard Self.isBootstrapGroup(group) else { return nil }
      groups.append(String(group))
    }
    return TokenIdentity(
      identity: Identity(user: "system:bootstrap:" + id, groups: groups), audiences: common)
  }

  /// A moment that cannot be read is past.
  private func isExpired(_ text: String) -> Bool {
    if text.isEmpty { return false }
    guard let end = KubeTime(text) else { return true }
    return end.seconds <= now()
  }

  /// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
  static func isBootstrapGroup(_ group: Substring) -> Bool {
    let prefix = "system:bootstrappers:"
    guard group.hasPrefix(prefix) else { return false }
    let rest = Array(group.dropFirst(prefix.count).utf8)
    func isPlain(_ byte: UInt8) -> Bool {
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
    guard let last = rest.last, isPlain(last), rest.count <= 256 else { return false }
    return rest.allSatisfy { isPlain($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "-") }
  }
}

// Tokens of pods' ServiceAccounts while they are in files: kept until most of their life is over, then
// replaced. Pure but for the asking.

import ClusterObjects
import Diagnostics

/// A token that a volume asks for.
struct TokenWish: Hashable, Sendable {
  /// Empty: for the API server.
  var audience: String
  var seconds: Int
}

/// A token for a pod's ServiceAccount.
public struct PodToken: Sendable, Hashable {
  public var text: String
  /// When it ends, in seconds since 1970; nil when it does not say.
  public var end: Int64?
  public init(text: String, end: Int64? = nil) {
    self.text = text
    self.end = end
  }
}

/// The tokens of one pod.
struct PodTokens: Sendable {
  private struct Held: Sendable {
    var token: PodToken
    var refreshAt: Int64
  }
  private var held: [TokenWish: Held] = [:]

  /// Replaced after this share of a token's life, as upstream does.
  static let lifeShare = 0.8
  /// And in any case when this old.
  static let ageMaxSeconds: Int64 = 86_400
  /// Spread, so that pods started together do not ask together.
  static let jitterSeconds: Int64 = 10

  /// When a token had at `now` is to be replaced.
  static func refreshMoment(now: Int64, end: Int64?, jitter: Int64) -> Int64 {
    let oldest = now + ageMaxSeconds
    guard let end, end > now else { return end == nil ? oldest : now }
    let share = now + Int64(Double(end - now) * lifeShare)
    return min(oldest, max(share - jitter, now + 1))
  }

  /// The token, when it need not be replaced yet.
  func fresh(_ wish: TokenWish, now: Int64) -> String? {
    guard let held = held[wish], now < held.refreshAt else { return nil }
    return held.token.text
  }

  /// The token when no new one can be had: while it is valid.
  func usable(_ wish: TokenWish, now: Int64) -> String? {
    guard let held = held[wish], held.token.end.map({ now < $0 }) ?? true else { return nil }
    return held.token.text
  }

  mutating func keep(_ token: PodToken, for wish: TokenWish, now: Int64) {
    held[wish] = Held(
      token: token,
      refreshAt: Self.refreshMoment(
        now: now, end: token.end, jitter: Int64.random(in: 0...Self.jitterSeconds)))
  }

  /// Forgets what the pod no longer asks for.
  mutating func retain(_ wishes: Set<TokenWish>) { held = held.filter { wishes.contains($0.key) } }
}

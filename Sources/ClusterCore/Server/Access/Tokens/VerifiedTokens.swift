// Tokens whose signature was found good, so that a client's next request costs no signature.
//
// What a token says about time and living objects is asked anew at every request: nothing that died is
// remembered as alive.

import Crypto
import Diagnostics
import Synchronization

final class VerifiedTokens<Claims: Sendable>: Sendable {
  /// Tokens remembered; when full, the half that was asked for least lately goes.
  static var countMax: Int { 4096 }

  private struct Entry {
    var claims: Claims
    var lastUse: UInt64
  }
  private struct State {
    /// By the SHA-256 of the token: a look into memory gives nobody a token.
    var entries: [[UInt8]: Entry] = [:]
    var uses: UInt64 = 0
  }
  private let state = Mutex(State())
  private let hits: Counter
  private let misses: Counter

  init(metrics: Metrics = .shared) {
    let requests = metrics.counter(
      "authentication_token_cache_request_total", "Tokens looked up among those verified before.",
      labels: ["status"])
    hits = requests.child("hit")
    misses = requests.child("miss")
  }

  var count: Int { state.withLock { $0.entries.count } }

  subscript(_ token: String) -> Claims? {
    let key = Self.key(token)
    let found = state.withLock { state -> Claims? in
      guard let claims = state.entries[key]?.claims else { return nil }
      state.uses += 1
      state.entries[key]?.lastUse = state.uses
      return claims
    }
    (found == nil ? misses : hits).increment()
    return found
  }

  private static func key(_ token: String) -> [UInt8] { Array(SHA256.hash(data: Array(token.utf8))) }

  func remember(_ token: String, _ claims: Claims) {
    let key = Self.key(token)
    state.withLock { state in
      if state.entries.count >= Self.countMax {
        let middle = state.entries.values.map(\.lastUse).sorted()[state.entries.count / 2]
        state.entries = state.entries.filter { $0.value.lastUse > middle }
      }
      state.uses += 1
      state.entries[key] = Entry(claims: claims, lastUse: state.uses)
    }
  }
}

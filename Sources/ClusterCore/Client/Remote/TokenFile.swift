// A bearer token that somebody else renews in its file: the node agent rewrites a pod's before it lapses.

import Diagnostics
import Synchronization

/// The token of a file, read again once a minute, as client-go does. Thread-safe.
final class TokenFile: Sendable {
  static let refreshAfter: Duration = .seconds(60)

  private struct State {
    var token: String
    var readAt: ContinuousClock.Instant
  }
  private let path: String
  private let state: Mutex<State>

  init(path: String, token: String) {
    self.path = path
    state = Mutex(State(token: token, readAt: .now))
  }

  /// The token to send now. A file that cannot be read leaves the last one in use.
  func token(now: ContinuousClock.Instant = .now) -> String {
    state.withLock { state in
      guard now - state.readAt >= Self.refreshAfter else { return state.token }
      state.readAt = now
      if let fresh = try? Self.read(path) { state.token = fresh }
      return state.token
    }
  }

  /// Makes the next use read the file again: the server has refused the token.
  func expire() { state.withLock { $0.readAt = .now - Self.refreshAfter } }

  /// Throws `CLI0100` for a file that cannot be read, `CLI0101` for an empty one.
  static func read(_ path: String) throws(WeftError) -> String {
    let text = String(decoding: try readFile(path, code: "CLI0100", bytesMax: 1 << 20), as: UTF8.self)
    guard let token = text.split(whereSeparator: \.isWhitespace).first else {
      throw WeftError(
        "CLI0101", object: path, cause: "holds no token", next: "look at the service account's Secret")
    }
    return String(token)
  }
}

// An OpenID Connect issuer under test: its configuration and keys, which may change.

import ClusterObjects
import NIOCore
import Synchronization

@testable import ClusterServer

final class Published: Sendable {
  private struct State {
    var keys: VerifyingKeys
    var address = ""
    var asked = 0
  }
  private let state: Mutex<State>

  init(_ keys: VerifyingKeys) { state = Mutex(State(keys: keys)) }

  var keys: VerifyingKeys {
    get { state.withLock { $0.keys } }
    set { state.withLock { $0.keys = newValue } }
  }
  var address: String {
    get { state.withLock { $0.address } }
    set { state.withLock { $0.address = newValue } }
  }
  /// Times the keys were asked for.
  var asked: Int { state.withLock { $0.asked } }

  func answer(_ request: HTTPRequest) -> HTTPResponse {
    if request.rawPath == "/keys" {
      return state.withLock { state in
        state.asked += 1
        return HTTPResponse(200, .bytes(ByteBuffer(bytes: state.keys.jwks.bytes)))
      }
    }
    let address = address
    return Answer.json(200, ["issuer": JSON(address), "jwks_uri": JSON(address + "/keys")])
  }
}

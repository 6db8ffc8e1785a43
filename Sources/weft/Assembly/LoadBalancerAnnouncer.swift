// Announces load balancer addresses from one node: view and packet sockets put together.

import Addresses
import ClusterView
import Logging
import Proxy
import Reactor
import Synchronization

/// Follows a view until `stop`. Opens its sockets when there is something to announce for the first time; without CAP_NET_RAW it
/// says so once and announces nothing.
final class LoadBalancerAnnouncer: Sendable {
  private enum State: Sendable {
    case idle
    case open(AddressAnnouncer)
    case refused
  }

  private let nodeName: String
  private let besides: Set<String>
  private let state = Mutex(State.idle)

  /// - Parameter besides: names of links that lead to pods.
  init(nodeName: String, besides: Set<String>) {
    self.nodeName = nodeName
    self.besides = besides
  }

  func update(_ view: ClusterView) {
    let addresses = planAnnouncements(view, nodeName: nodeName)
    state.withLock { state in
      if case .idle = state, !addresses.isEmpty { state = open() }
      if case .open(let announcer) = state { announcer.update(addresses) }
    }
  }

  private func open() -> State {
    do throws(SocketError) {
      return .open(try AddressAnnouncer(besides: besides))
    } catch {
      Logger(label: "load-balancer").warning(
        "addresses are not announced: packet sockets need CAP_NET_RAW", metadata: ["error": "\(error)"])
      return .refused
    }
  }

  func stop() {
    state.withLock { state in
      if case .open(let announcer) = state { announcer.stop() }
      state = .refused
    }
  }
}

// Announces load balancer addresses from one node: pool, view and packet sockets put together.

import Addresses
import ClusterClient
import ClusterControllers
import ClusterView
import Logging
import Proxy

/// Follows a view until `stop`. Without CAP_NET_RAW it says so once and announces nothing.
final class LoadBalancerAnnouncer: Sendable {
  private let nodeName: String
  private let pool: LoadBalancerPool
  /// Apart from the node's: who may not read the ConfigMap goes without it, and nothing else waits for it.
  private let informers: SharedInformers
  private let announcer: AddressAnnouncer?
  private let registration: InformerRegistration

  /// - Parameters:
  ///   - besides: names of links that lead to pods.
  ///   - changed: called when the pool may be another one: bring `update` the view again.
  init(
    nodeName: String, informers: SharedInformers, pool fallback: AddressPool, besides: Set<String>,
    changed: @escaping @Sendable () -> Void
  ) {
    self.nodeName = nodeName
    self.informers = SharedInformers(api: informers.api)
    pool = LoadBalancerPool(informers: self.informers, fallback: fallback)
    registration = pool.onChange { _ in changed() }
    do {
      announcer = try AddressAnnouncer(besides: besides)
    } catch {
      Logger(label: "load-balancer").warning(
        "addresses are not announced: packet sockets need CAP_NET_RAW", metadata: ["error": "\(error)"])
      announcer = nil
    }
  }

  func update(_ view: ClusterView) {
    announcer?.update(planAnnouncements(view, nodeName: nodeName, pool: pool.pool))
  }

  func stop() async {
    announcer?.stop()
    await informers.stop()
  }
}

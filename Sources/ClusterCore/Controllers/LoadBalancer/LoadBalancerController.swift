// Gives Services of type LoadBalancer addresses of a pool, for clusters without a cloud that would. Nodes announce them.

import Addresses
import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

/// The pool in force: the ConfigMap's, else what the process was told. Nodes need not know it.
final class LoadBalancerPool: Sendable {
  private let configMaps: Informer
  private let fallback: AddressPool

  /// - Parameter informers: follows `kube-system/weft-load-balancer`, whose key `pool` goes before `fallback`.
  init(informers: SharedInformers, fallback: AddressPool) {
    configMaps = informers.informer(.configMaps, namespace: LoadBalancerNames.configMap.namespace)
    self.fallback = fallback
  }

  /// The pool now. An unreadable ConfigMap is as none.
  var pool: AddressPool { text.flatMap { AddressPool($0) } ?? fallback }

  var text: String? {
    configMaps[LoadBalancerNames.configMap]?.at("data", LoadBalancerNames.poolKey)?.string
  }

  /// Calls `changed` when another pool may be in force.
  func onChange(_ changed: @escaping @Sendable (JSON?) -> Void) -> InformerRegistration {
    configMaps.onChange { changes in
      for change in changes where change.key == LoadBalancerNames.configMap { changed(change.new) }
    }
  }
}

func loadBalancerController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("service")
  let services = context.informers.informer(.services)
  let pool = LoadBalancerPool(informers: context.informers, fallback: context.settings.loadBalancerPool)
  let ledger = LoadBalancerLedger()
  @Sendable func addAll() {
    for service in services.snapshot.values where service.wantsLoadBalancer { queue.add(service.key) }
  }
  let registrations = [
    services.onChange { changes in
      // All of a first list count before any Service is given an address.
      for key in changes.flatMap({ ledger.see($0.key, $0.new) }) { queue.add(key) }
      for change in changes {
        let concerns = [change.old, change.new].compactMap(\.self).contains {
          $0.at("spec", "type")?.string == "LoadBalancer" || !$0.loadBalancerAddresses.isEmpty
        }
        if concerns, !change.isDeletion { queue.add(change.key) }
      }
    },
    pool.onChange { map in
      if let map, let text = map.at("data", LoadBalancerNames.poolKey)?.string, AddressPool(text) == nil {
        context.events.record(
          map, "Warning", "InvalidPool",
          "\"\(text)\" is no list of blocks (192.0.2.0/28), ranges (192.0.2.1-192.0.2.9) and addresses",
          from: "service-controller")
      }
      addAll()
    },
  ]
  return Controller(
    "service", context, queue: queue, registrations: registrations, workers: 1, resync: addAll
  ) { key in
    guard let service = services[key] else { return nil }
    let plan = planLoadBalancer(service, pool: pool.pool) { ledger.isFree($0, for: service) }
    if let problem = plan.problem {
      ledger.isStarved(key)
      context.events.record(
        service, "Warning", "SyncLoadBalancerFailed", "Error syncing load balancer: \(problem)",
        from: "service-controller")
    }
    guard
      let addresses = plan.addresses
        ?? (plan.problem == nil ? unannouncedAddresses(service, pool: pool.pool) : nil)
    else { return nil }
    ledger.reserve(addresses, for: service)
    var changed = service
    let ingress = addresses.map { address -> JSON in ["ip": JSON("\(address)"), "ipMode": "VIP"] }
    changed.set(addresses.isEmpty ? [:] : ["ingress": .array(ingress)], at: "status", "loadBalancer")
    if addresses.isEmpty {
      changed.removeCondition(JSON.announcedCondition)
    } else {
      changed.setCondition(
        JSON.announcedCondition, "True", reason: "AddressFromPool",
        message: "the addresses are of the cluster's pool; one ready node answers for each")
    }
    do {
      _ = try await context.api.update(.services, changed, subresource: "status", options: context.options)
    } catch {
      ledger.reserve(nil, for: service)
      throw error
    }
    if !addresses.isEmpty {
      context.events.record(
        service, "Normal", "EnsuredLoadBalancer",
        "Ensured load balancer: \(addresses.map(\.description).joined(separator: ", "))",
        from: "service-controller")
    }
    return nil
  }
}

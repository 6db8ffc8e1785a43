// Ties a service proxy's health and its healthCheckNodePorts to the informers and to the loop that puts rules in force.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Logging
import Proxy
import Synchronization

/// Made before the follower is started: a change must be known as queued before rules can show it.
final class ProxyWatch: Sendable {
  let health: ProxyHealth
  private let nodeName: String
  private let changes = ProxyChangeMetrics()
  private let ports: ServiceHealthServer?
  private let events: EventRecorder?
  private let services: Informer
  private let registrations = Mutex<[InformerRegistration]>([])

  /// - Parameters:
  ///   - addresses: where healthCheckNodePorts listen; none: they are not served.
  ///   - events: where a port that cannot be opened is told; nil where nobody can be told.
  init(
    nodeName: String, health: ProxyHealth, informers: SharedInformers, addresses: [IPAddress],
    events: EventRecorder?
  ) {
    self.nodeName = nodeName
    self.health = health
    self.events = events
    let services = informers.informer(.services)
    self.services = services
    do {
      ports =
        addresses.isEmpty
        ? nil
        : try ServiceHealthServer(addresses: addresses, health: health) { port, reason in
          guard let service = services[port.service] else { return }
          events?.record(
            service, "Warning", "FailedToStartServiceHealthcheck",
            "node \(nodeName) failed to start healthcheck \"\(port.service)\" on port \(port.port): \(reason)"
          )
        }
    } catch {
      Logger(label: "proxy").error("no health check ports", metadata: ["error": "\(error)"])
      ports = nil
    }
    let made = [
      services.onChange { [changes, health] batch in
        health.queued()
        changes.services(batch.count)
      },
      informers.informer(.endpointSlices).onChange { [changes, health] batch in
        health.queued()
        changes.endpoints(batch.count)
      },
      informers.informer(.nodes).onChange { [health] batch in
        for change in batch where change.key.name == nodeName { health.see(node: change.new) }
      },
    ]
    registrations.withLock { $0 = made }
  }

  /// Takes each view whose rules are in force.
  func inForce(_ view: ClusterView) {
    health.updated()
    changes.inForce()
    ports?.update(planServiceHealth(view, nodeName: nodeName))
  }

  /// Tells users of addresses that the userspace mode cannot listen on.
  func unopened(_ list: [UserspaceProxy.Unopened]) {
    for each in list {
      guard let service = services[each.service] else { continue }
      events?.record(
        service, "Warning", "FailedToOpenPort",
        "node \(nodeName) cannot listen on \(each.endpoint)/\(each.transport.rawValue): \(each.reason)")
    }
  }

  func stop() async {
    registrations.withLock { $0 = [] }
    ports?.stop()
    await events?.stop()
  }
}

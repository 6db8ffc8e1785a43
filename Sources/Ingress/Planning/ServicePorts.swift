// Ports of TCP and UDP that lead to Services by a ConfigMap: ingress-nginx's `tcp-services` and `udp-services`.
//
//   data: {"5432": "demo/db:5432", "9000": "demo/logs:plain:PROXY:PROXY"}
//          port     namespace/service:port or its name, a header in front of connections here, one in front of those to endpoints

import Addresses
import ClusterObjects
import ClusterView

/// What such ConfigMaps come to.
public struct ServicePortPlan: Sendable {
  /// The streams there were, and these.
  public var table: StreamTable
  /// Sockets that have to be open, with what is carried there.
  public var ports: [TransportProtocol: Set<UInt16>] = [:]
  /// What is not served, and why; each with the code ING0022.
  public var problems: [String] = []
}

/// Pure: the same objects give the same table. Cost: the entries and their endpoints.
/// - Parameters:
///   - services: data of the ConfigMaps, by what is carried.
///   - taken: ports of TCP that are somebody else's.
///   - streams: what there is already; of a port that it has for the same transport the entry is not served.
public func planServicePorts(
  view: ClusterView, _ services: [TransportProtocol: [String: String]], taken: Set<UInt16>,
  beside streams: StreamTable = StreamTable()
) -> ServicePortPlan {
  var plan = ServicePortPlan(table: streams)
  var (backends, listeners) = (streams.backends, streams.listeners)
  for transport in [TransportProtocol.tcp, .udp] {
    for (key, value) in (services[transport] ?? [:]).sorted(by: { $0.key < $1.key }) {
      let name = "\(transport)-services: \(key): \(value)".lowercased()
      guard let number = UInt16(key), number > 0 else {
        plan.problems.append("\(name): \(key) is no port (ING0022)")
        continue
      }
      let isUsed = listeners.contains { $0.port == number && ($0.kind == .udp) == (transport == .udp) }
      if isUsed || transport == .tcp && taken.contains(number) {
        plan.problems.append("\(name): port \(number) is somebody else's already (ING0022)")
        continue
      }
      guard let target = ServicePortTarget(value) else {
        plan.problems.append("\(name): is no NAMESPACE/SERVICE:PORT (ING0022)")
        continue
      }
      guard let port = view.services[target.service]?.ports.first(where: { target.means($0, transport) })
      else {
        plan.problems.append(
          "\(name): service \(target.service) does not exist or has no such \(transport) port (ING0022)")
        continue
      }
      var backend = RouteBackend(
        namespace: target.service.namespace, ingress: "", service: target.service.name,
        servicePort: "\(port.port)", endpoints: view.targets(of: target.service, port: port))
      backend.policy.proxy = target.sendsProxy ? .v1 : view.proxyVersion(of: target.service)
      backends.append(backend)
      listeners.append(
        StreamListener(
          port: number, kind: transport == .udp ? .udp : .tcp, acceptsProxy: target.acceptsProxy,
          rules: [StreamRule(targets: [StreamTarget(backend: backends.count - 1)])]))
      plan.ports[transport, default: []].insert(number)
    }
  }
  plan.table = StreamTable(backends: backends, listeners: listeners)
  return plan
}

/// A value of such a ConfigMap.
private struct ServicePortTarget {
  var service: ObjectKey
  var port: Substring
  var acceptsProxy: Bool
  var sendsProxy: Bool

  init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard (2...4).contains(parts.count), !parts[1].isEmpty,
      parts.dropFirst(2).allSatisfy({ $0.isEmpty || $0.uppercased() == "PROXY" })
    else { return nil }
    let names = parts[0].split(separator: "/", omittingEmptySubsequences: false)
    guard names.count == 2, names.allSatisfy({ !$0.isEmpty }) else { return nil }
    service = ObjectKey(String(names[0]), String(names[1]))
    port = parts[1]
    acceptsProxy = parts.count > 2 && !parts[2].isEmpty
    sendsProxy = parts.count > 3 && !parts[3].isEmpty
  }

  func means(_ port: Service.Port, _ transport: TransportProtocol) -> Bool {
    guard port.transport == transport else { return false }
    return UInt16(self.port).map { $0 == port.port } ?? (port.name == self.port)
  }
}

// Whose an address is, and was: pods, nodes and Services by what packets carry.

import Addresses
import ClusterObjects
import ClusterView
import Policy

/// Kept by changes of the view: a change costs what it names.
public struct FlowNames: Sendable {
  struct Holder: Sendable {
    var pod: ObjectKey
    var labels: [String: String]
    /// Nanoseconds since 1970.
    var since: UInt64
    var until: UInt64 = .max
  }

  private struct Port: Hashable {
    var address: IPAddress?
    var port: UInt16
    var transport: UInt8
  }

  /// Addresses that pods have left are remembered, for connections that end later: so many of them.
  public static let departedMax = 4096

  private var holders: [IPAddress: Holder] = [:]
  private var addresses: [ObjectKey: [IPAddress]] = [:]
  private var pods: [ObjectKey: Pod] = [:]
  private var attached: [ObjectKey: [IPAddress]] = [:]
  private var departed: [IPAddress: Holder] = [:]
  private var departures: [IPAddress] = []
  private var nodes: [IPAddress: String] = [:]
  private var nodeAddresses: [String: [IPAddress]] = [:]
  private var services: [Port: (key: ObjectKey, portName: String)] = [:]
  private var servicePorts: [ObjectKey: [Port]] = [:]
  private var serviceAddresses: [IPAddress: ObjectKey] = [:]

  public init() {}

  /// All of a view, and what the CNI plugin reported. Costs about 1 µs for each object.
  init(_ view: ClusterView, _ attachments: [PodAttachment], now: UInt64) {
    var view = view
    let consumer = view.addConsumer(withPods: true)
    apply(view.takeChanges(of: consumer), now: now)
    apply(attachments, now: now)
  }

  /// Takes changes in; they must name pods.
  public mutating func apply(_ changes: ViewChanges, now: UInt64) {
    if changes.isWhole {
      let gone = Set(pods.keys).subtracting(changes.pods.keys)
      for key in gone {
        pods[key] = nil
        place(key, now)
      }
      for key in Set(servicePorts.keys).subtracting(changes.services.keys) { set(key, nil) }
    }
    for (key, pod) in changes.pods {
      pods[key] = pod
      place(key, now)
    }
    for (name, node) in changes.nodes {
      for address in nodeAddresses[name] ?? [] where nodes[address] == name { nodes[address] = nil }
      // A node's end of its pods' bridge is the first address of its block: probes come from there.
      let own = node.map { $0.internalIPs + $0.podCIDRs.compactMap { $0.address(at: 1) } }
      nodeAddresses[name] = own
      for address in own ?? [] { nodes[address] = name }
    }
    for (key, state) in changes.services { set(key, state?.service) }
  }

  /// This node's pods as the CNI plugin reported them: known before their status has the address.
  public mutating func apply(_ attachments: [PodAttachment], now: UInt64) {
    let before = attached
    attached = Dictionary(attachments.map { ($0.pod, $0.addresses) }, uniquingKeysWith: { $0 + $1 })
    for key in Set(before.keys).union(attached.keys) where before[key] != attached[key] { place(key, now) }
  }

  private mutating func place(_ key: ObjectKey, _ now: UInt64) {
    let pod = pods[key]
    let isAway = pod.map { $0.hasEnded || $0.isHostNetwork } ?? false
    let wanted = isAway ? [] : attached[key] ?? pod?.addresses ?? []
    for address in addresses[key] ?? [] where !wanted.contains(address) && holders[address]?.pod == key {
      leave(address, now)
    }
    addresses[key] = wanted.isEmpty ? nil : wanted
    for address in wanted {
      if holders[address]?.pod == key {
        if let labels = pod?.labels { holders[address]?.labels = labels }
      } else {
        if holders[address] != nil { leave(address, now) }
        holders[address] = Holder(pod: key, labels: pod?.labels ?? [:], since: now)
      }
    }
  }

  private mutating func leave(_ address: IPAddress, _ now: UInt64) {
    guard var holder = holders.removeValue(forKey: address) else { return }
    holder.until = now
    if departed.updateValue(holder, forKey: address) == nil { departures.append(address) }
    // The oldest half goes at once: moving the list for each would cost its length each time.
    if departures.count > Self.departedMax {
      for old in departures.prefix(Self.departedMax / 2) { departed[old] = nil }
      departures.removeFirst(Self.departedMax / 2)
    }
  }

  private mutating func set(_ key: ObjectKey, _ service: Service?) {
    for port in servicePorts.removeValue(forKey: key) ?? [] where services[port]?.key == key {
      services[port] = nil
      if let address = port.address, serviceAddresses[address] == key { serviceAddresses[address] = nil }
    }
    guard let service else { return }
    var own: [Port] = []
    for port in service.ports {
      let all = service.clusterIPs + service.externalIPs + service.loadBalancerIPs
      var places = all.map { Port(address: $0, port: port.port, transport: port.transport.number) }
      if port.nodePort > 0 {
        places.append(Port(address: nil, port: port.nodePort, transport: port.transport.number))
      }
      for place in places where services[place] == nil {
        services[place] = (key, port.name)
        if let address = place.address, serviceAddresses[address] == nil { serviceAddresses[address] = key }
        own.append(place)
      }
    }
    if !own.isEmpty { servicePorts[key] = own }
  }

  /// The pod that held an address at a time; time 0: now.
  func holder(of address: IPAddress, at time: UInt64) -> Holder? {
    if time > 0, let old = departed[address], old.since <= time, time <= old.until { return old }
    return holders[address] ?? departed[address]
  }

  func node(at address: IPAddress) -> String? { nodes[address] }

  /// The Service whose address it is, at whatever port.
  func service(at address: IPAddress) -> ObjectKey? { serviceAddresses[address] }

  /// The Service of an address and port that a sender wrote; with a node's address its node ports.
  func service(at endpoint: SocketEndpoint, transport: UInt8) -> (key: ObjectKey, portName: String)? {
    services[Port(address: endpoint.address, port: endpoint.port, transport: transport)]
      ?? (nodes[endpoint.address] != nil
        ? services[Port(address: nil, port: endpoint.port, transport: transport)] : nil)
  }
}

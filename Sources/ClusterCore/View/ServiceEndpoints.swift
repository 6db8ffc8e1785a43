// Which endpoints of a Service port serve a node. The one place that decides it: proxy, ingress and explain all ask here.

import Addresses
import ClusterObjects

/// One endpoint of one Service port: where packets go.
public struct ServiceEndpoint: Sendable, Hashable, Comparable {
  public var target: SocketEndpoint
  /// On the node that asked.
  public var isLocal: Bool
  public var isReady: Bool
  public var isServing: Bool
  public var isTerminating: Bool
  public var nodeName: String?
  public var zone: String?
  public var hintedZones: [String] = []
  public var hintedNodes: [String] = []
  public var pod: ObjectKey?
  public static func < (a: Self, b: Self) -> Bool { a.target < b.target }
}

/// Where the node that asks stands.
public struct NodePlace: Sendable, Hashable {
  /// Nil: no endpoint is local.
  public var name: String?
  /// The label `topology.kubernetes.io/zone`.
  public var zone: String?
  public init(name: String?, zone: String? = nil) {
    self.name = name
    self.zone = zone
  }
}

/// The endpoints that a Service port uses on a node.
public struct EndpointChoice: Sendable, Hashable {
  /// For traffic of policy Cluster, after topology hints.
  public var cluster: [ServiceEndpoint]
  /// For traffic of policy Local.
  public var local: [ServiceEndpoint]
}

extension Sequence<EndpointSlice> {
  /// Every endpoint that the slices list for a Service port and family, sorted and each target once, whatever its
  /// state. Slices name their ports as the Service does.
  public func endpoints(of port: Service.Port, family: IPFamily, on nodeName: String?) -> [ServiceEndpoint] {
    var all: [ServiceEndpoint] = []
    for slice in self where slice.family == family {
      for slicePort in slice.ports where slicePort.name == port.name && slicePort.transport == port.transport
      {
        guard let number = slicePort.port else { continue }
        all.reserveCapacity(all.count + slice.endpoints.count)
        for endpoint in slice.endpoints {
          all.append(
            ServiceEndpoint(
              target: SocketEndpoint(endpoint.address, number),
              isLocal: nodeName != nil && endpoint.nodeName == nodeName, isReady: endpoint.isReady,
              isServing: endpoint.isServing, isTerminating: endpoint.isTerminating,
              nodeName: endpoint.nodeName, zone: endpoint.zone, hintedZones: endpoint.hintedZones,
              hintedNodes: endpoint.hintedNodes, pod: endpoint.pod))
        }
      }
    }
    return all.eachTargetOnce()
  }

  /// The endpoints a Service port uses on a node: those of the cluster that its hints allow, and the local ones.
  /// KEP-1669's fall-back is applied to each set for itself.
  public func choice(of port: Service.Port, family: IPFamily, at place: NodePlace) -> EndpointChoice {
    let all = endpoints(of: port, family: family, on: place.name)
    return EndpointChoice(
      cluster: ClusterView.hinted(ClusterView.usable(all), at: place),
      local: place.name == nil ? [] : ClusterView.usable(all.filter { $0.isLocal }))
  }
}

extension [ObjectKey: EndpointSlice] {
  /// The endpoints a Service port uses on a node, of these slices. As of any sequence of slices, but made for this type alone:
  /// whoever plans ten thousand Services asks ten thousand times.
  public func choice(of port: Service.Port, family: IPFamily, at place: NodePlace) -> EndpointChoice {
    values.choice(of: port, family: family, at: place)
  }
}

/// Where packets of a Service port go, when nothing else is to be known of its endpoints: no memory of its own.
public struct PlainEndpoint: Sendable, Hashable {
  public var target: SocketEndpoint
  /// On the node that asked.
  public var isLocal: Bool
  /// On another node, which is named.
  public var isElsewhere: Bool
}

extension [ObjectKey: EndpointSlice] {
  /// The same choice for the plainest and most frequent case, an eighth of the work: one slice, whose endpoints are in order, ready and
  /// without hints. Nil in every other case.
  public func plainChoice(of port: Service.Port, family: IPFamily, at place: NodePlace) -> [PlainEndpoint]? {
    guard count == 1, let slice = first?.value, slice.family == family, !slice.hasHints else { return nil }
    var number: UInt16?
    for slicePort in slice.ports where slicePort.name == port.name && slicePort.transport == port.transport {
      guard number == nil, let its = slicePort.port else { return nil }
      number = its
    }
    guard let number else { return nil }
    return slice.endpoints.withUnsafeBufferPointer { endpoints in
      var result: [PlainEndpoint] = []
      result.reserveCapacity(endpoints.count)
      // By place: an endpoint is large, and is not copied to be looked at.
      for index in endpoints.indices {
        guard endpoints[index].isReady, !endpoints[index].isTerminating,
          index == 0 || endpoints[index - 1].address < endpoints[index].address
        else { return nil }
        let isLocal = place.name != nil && endpoints[index].nodeName == place.name
        result.append(
          PlainEndpoint(
            target: SocketEndpoint(endpoints[index].address, number), isLocal: isLocal,
            isElsewhere: !isLocal && place.name != nil && endpoints[index].nodeName != nil))
      }
      return result
    }
  }
}

extension [ServiceEndpoint] {
  /// Sorted. The same address may stand in two slices while the controller moves it: the first ready one counts.
  fileprivate func eachTargetOnce() -> [ServiceEndpoint] {
    let isInOrder = indices.dropFirst().allSatisfy { self[$0 - 1].target < self[$0].target }
    if isInOrder { return self }
    let order = indices.sorted {
      self[$0].target == self[$1].target ? $0 < $1 : self[$0].target < self[$1].target
    }
    var result: [ServiceEndpoint] = []
    result.reserveCapacity(count)
    for index in order {
      let candidate = self[index]
      guard let seen = result.last, seen.target == candidate.target else {
        result.append(candidate)
        continue
      }
      if !seen.isReady, candidate.isReady { result[result.count - 1] = candidate }
    }
    return result
  }
}

extension ClusterView {
  /// Every endpoint that slices list for a Service port and family, sorted and each target once, whatever its state.
  public func allEndpoints(
    of service: ObjectKey, port: Service.Port, family: IPFamily, on nodeName: String? = nil
  ) -> [ServiceEndpoint] {
    (endpointSlices[service] ?? [:]).values.endpoints(of: port, family: family, on: nodeName)
  }

  /// The endpoints that take traffic: the ready ones; when there are none, those that still serve while they
  /// terminate (KEP-1669).
  public static func usable(_ endpoints: [ServiceEndpoint]) -> [ServiceEndpoint] {
    if endpoints.allSatisfy({ $0.isReady && !$0.isTerminating }) { return endpoints }
    let ready = endpoints.filter { $0.isReady && !$0.isTerminating }
    if !ready.isEmpty { return ready }
    let readyAnyhow = endpoints.filter(\.isReady)
    if !readyAnyhow.isEmpty { return readyAnyhow }
    return endpoints.filter { $0.isServing && $0.isTerminating }
  }

  /// The endpoints that topology hints leave for a node: those hinted at the node when each has a hint of nodes and
  /// one names this node; else likewise by zone; else all. Hints count while endpoints are ready.
  public static func hinted(_ usable: [ServiceEndpoint], at place: NodePlace) -> [ServiceEndpoint] {
    // Most have none, and the first one says so.
    guard !usable.isEmpty, usable[0].isReady, !usable[0].hintedNodes.isEmpty || !usable[0].hintedZones.isEmpty
    else { return usable }
    let first = usable[0]
    func narrowed(_ name: String?, _ hints: (ServiceEndpoint) -> [String]) -> [ServiceEndpoint]? {
      guard let name, !name.isEmpty, !hints(first).isEmpty, usable.allSatisfy({ !hints($0).isEmpty }) else {
        return nil
      }
      let mine = usable.filter { hints($0).contains(name) }
      return mine.isEmpty ? nil : mine
    }
    return narrowed(place.name, \.hintedNodes) ?? narrowed(place.zone, \.hintedZones) ?? usable
  }

  /// Where a node stands, as far as the view knows it.
  public func place(of nodeName: String?) -> NodePlace {
    NodePlace(name: nodeName, zone: nodeName.flatMap { nodes[$0]?.zone })
  }

  /// The endpoints a Service port uses on a node. Without a node's name, all over the cluster.
  public func endpoints(
    of service: ObjectKey, port: Service.Port, family: IPFamily, on nodeName: String?
  ) -> (cluster: [ServiceEndpoint], local: [ServiceEndpoint]) {
    let choice = (endpointSlices[service] ?? [:]).values.choice(
      of: port, family: family, at: place(of: nodeName))
    return (choice.cluster, choice.local)
  }

  /// The pods that selectors of a NetworkPolicy peer choose.
  public func pods(
    inNamespacesMatching namespaces: LabelSelector?, own: String, pods selector: LabelSelector?
  ) -> [Pod] {
    self.pods.values.filter { pod in
      if let namespaces {
        guard let namespace = self.namespaces[pod.key.namespace], namespaces.matches(namespace.labels) else {
          return false
        }
      } else if pod.key.namespace != own {
        return false
      }
      return selector?.matches(pod.labels) ?? true
    }.sorted { $0.key < $1.key }
  }

  /// The pod that holds an address now; ended pods and pods of the host network do not hold one.
  public func pod(at address: IPAddress) -> Pod? {
    pods.values.filter { !$0.isHostNetwork && !$0.hasEnded && $0.addresses.contains(address) }
      .min { ($0.isTerminating ? 1 : 0, $0.key) < ($1.isTerminating ? 1 : 0, $1.key) }
  }
}

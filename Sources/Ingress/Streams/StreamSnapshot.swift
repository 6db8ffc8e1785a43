// A table of streams at work on one worker: what a port and a name lead to, and whose turn it is.

import Addresses
import Reactor

/// Who a connection is of.
struct StreamClient {
  /// As the PROXY protocol gave it, or the socket's peer.
  var source: SocketEndpoint
  /// Where it went, when that is not the accepted socket's own address.
  var destination: SocketEndpoint?
}

/// One rule on one worker.
final class StreamRuleRuntime {
  let rule: StreamRule
  private let backends: [BackendRuntime?]
  /// Of smooth weighted round robin: shares are exact for few connections too.
  private var credits: [Int64]

  init(_ rule: StreamRule, _ backends: [BackendRuntime]) {
    self.rule = rule
    self.backends = rule.targets.map { $0.backend < 0 ? nil : backends[$0.backend] }
    credits = rule.targets.map { _ in 0 }
  }

  /// Whose turn it is; nil: nobody's.
  func next() -> BackendRuntime? {
    var best = -1
    var total: Int64 = 0
    for (index, target) in rule.targets.enumerated() where target.weight > 0 {
      credits[index] += Int64(target.weight)
      total += Int64(target.weight)
      if best < 0 || credits[index] > credits[best] { best = index }
    }
    guard best >= 0 else { return nil }
    credits[best] -= total
    return backends[best]
  }

  /// Whether an endpoint is still one of the rule's.
  func serves(_ endpoint: SocketEndpoint) -> Bool {
    zip(rule.targets, backends).contains { target, backend in
      target.weight > 0 && backend?.backend.endpoints.contains(endpoint) == true
    }
  }
}

/// One listener on one worker.
final class StreamListenerRuntime {
  let listener: StreamListener
  private let rules: [StreamRuleRuntime]
  private let names: HostIndex

  init(_ listener: StreamListener, _ backends: [BackendRuntime]) {
    self.listener = listener
    rules = listener.rules.map { StreamRuleRuntime($0, backends) }
    names = HostIndex(listener.rules.map(\.name), isDeep: true)
  }

  /// Of a listener without names.
  var only: StreamRuleRuntime? { rules.first }

  /// The rule of the most specific name that a client's falls under. No allocation.
  func rule(for name: UnsafeRawBufferPointer) -> StreamRuleRuntime? {
    var found: StreamRuleRuntime?
    let host = HostIndex.withoutPort(name)
    names.forEach(host: host) { index in
      let rule = rules[index].rule
      // What a wildcard stands for is in front of what is behind its star.
      if rule.coversOneLabel, rule.name.hasPrefix("*."),
        host.prefix(max(0, host.count - rule.name.utf8.count + 1)).contains(UInt8(ascii: "."))
      {
        return true
      }
      found = rules[index]
      return false
    }
    return found
  }
}

final class StreamSnapshot {
  /// Without an address: for those of the port that no other listener names.
  private var connections: [ListenerPlace: StreamListenerRuntime] = [:]
  private var datagrams: [ListenerPlace: StreamListenerRuntime] = [:]
  /// Whether it matters which address a connection or a datagram came to.
  let namesAddresses: Bool

  init(_ table: StreamTable = StreamTable(), _ backends: [BackendRuntime] = []) {
    namesAddresses = table.listeners.nameAddresses
    for listener in table.listeners {
      let made = StreamListenerRuntime(listener, backends)
      let addresses = listener.addresses.isEmpty ? [nil] : listener.addresses.map(Optional.some)
      for address in addresses {
        let place = ListenerPlace(listener.port, address)
        if listener.kind == .udp { datagrams[place] = made } else { connections[place] = made }
      }
    }
  }

  func connections(to place: ListenerPlace) -> StreamListenerRuntime? { find(place, connections) }
  func datagrams(to place: ListenerPlace) -> StreamListenerRuntime? { find(place, datagrams) }

  private func find(
    _ place: ListenerPlace, _ listeners: [ListenerPlace: StreamListenerRuntime]
  ) -> StreamListenerRuntime? {
    if namesAddresses, place.address != nil, let found = listeners[place] { return found }
    return listeners[ListenerPlace(place.port)]
  }
}

// Listeners of a Gateway and of its ListenerSets: what is spoken, which routes may come, which certificates are there, and who has
// a port that two want.

import ClusterObjects
import ClusterView
import Ingress

extension GatewayPlanner {
  /// Listeners of one Gateway, its sets' among them.
  static let listenersMax = 64 * 65

  mutating func planListeners(of gateway: Gateway) {
    let first = listeners.count
    refusedGateways[gateway.key] = refusal(of: gateway)
    take(gateway.listeners, of: Owner(kind: "Gateway", key: gateway.key), gateway, gateway.generation)
    let own = listeners.count
    let sets = objects.listenerSets.values.filter { $0.gateway == gateway.key }
      .sorted { ($0.creationTimestamp, $0.key) < ($1.creationTimestamp, $1.key) }
    for set in sets {
      let namespace = set.key.namespace
      if !isAllowed(namespace, by: gateway.listenerSetNamespaces, own: gateway.key.namespace) {
        refusedSets[set.key] = Finding(
          "NotAllowed", "gateway \(gateway.key) allows no ListenerSet of namespace \(namespace)")
      } else if refusedGateways[gateway.key] != nil {
        refusedSets[set.key] = Finding("ParentNotAccepted", "gateway \(gateway.key) is not accepted")
      } else if listeners.count - first + set.listeners.count > Self.listenersMax {
        refusedSets[set.key] = Finding(
          "Invalid", "gateway \(gateway.key) has \(Self.listenersMax) listeners already")
      } else {
        take(set.listeners, of: Owner(kind: "ListenerSet", key: set.key), gateway, set.generation)
      }
    }
    findConflicts(first: first, own: own)
  }

  private func refusal(of gateway: Gateway) -> Finding? {
    if let parameters = gateway.parameters {
      return Finding(
        "InvalidParameters",
        "infrastructure.parametersRef: \(parameters) is nothing that this controller reads")
    }
    if let wrong = gateway.addresses.first(where: { $0.type != "IPAddress" }) {
      return Finding("UnsupportedAddress", "addresses of type \(wrong.type) are not given")
    }
    return nil
  }

  private mutating func take(
    _ specs: [GatewayListener], of owner: Owner, _ gateway: Gateway, _ generation: Int64
  ) {
    let start = listeners.count
    for spec in specs {
      var state = ListenerState(gateway: gateway.key, owner: owner, generation: generation, spec: spec)
      state.protocol = GatewayPlan.ListenerProtocol(rawValue: spec.protocolName).flatMap {
        settings.protocols.contains($0) ? $0 : nil
      }
      if let spoken = state.protocol {
        if let ports = settings.ports, ports[spec.port]?.contains(spoken) != true {
          state.rejection = Finding(
            "PortUnavailable", "\(spec.protocolName) is not served on port \(spec.port) here")
        }
        let sockets = GatewaySocket.sockets(
          spoken.transport, spec.port, at: boundAddresses(of: gateway.key) ?? [])
        if let users = settings.taken[GatewaySocket(spoken.transport, spec.port)], !users.contains(spoken) {
          state.rejection = Finding("PortUnavailable", Self.text(users, on: spec.port))
        } else if let reason = sockets.compactMap({ settings.refused[$0] }).first {
          state.rejection = Finding(
            "PortUnavailable", "port \(spec.port) cannot be listened on here: \(reason)")
        }
        if spoken == .tls, !state.isPassthrough, !settings.opensTLS {
          state.rejection = Finding("UnsupportedValue", "connections by TLS are not opened here")
        }
        findKinds(spoken, &state)
        findCertificates(&state)
        if state.needsCertificate, let validation = gateway.clientValidation(port: spec.port) {
          findAuthorities(validation, of: gateway.key, &state)
        }
      } else {
        state.rejection = Finding(
          "UnsupportedProtocol", "protocol \(spec.protocolName) is not served here")
      }
      listeners.append(state)
    }
    listenersOf[owner] = start..<listeners.count
  }

  private static func text(_ users: Set<GatewayPlan.ListenerProtocol>, on port: UInt16) -> String {
    let names = users.map(\.rawValue).sorted().joined(separator: " and ")
    return users.isEmpty ? "port \(port) is this machine's own" : "port \(port) is for \(names) here"
  }

  static func kinds(of spoken: GatewayPlan.ListenerProtocol) -> [GatewayRoute.Kind] {
    switch spoken {
    case .http, .https: [.http, .grpc]
    case .tls: [.tls]
    case .tcp: [.tcp]
    case .udp: [.udp]
    }
  }

  private func findKinds(_ spoken: GatewayPlan.ListenerProtocol, _ state: inout ListenerState) {
    let possible = Self.kinds(of: spoken).map { GatewayListener.RouteKind(kind: $0.rawValue) }
    let wanted = state.spec.routeKinds
    state.supportedKinds = wanted.isEmpty ? possible : wanted.filter(possible.contains)
    if let wrong = wanted.first(where: { !possible.contains($0) }) {
      state.unresolved = Finding(
        "InvalidRouteKinds", "routes of kind \(wrong.kind) do not go with \(state.spec.protocolName)")
    }
  }

  // MARK: References

  private func findCertificates(_ state: inout ListenerState) {
    guard state.needsCertificate else { return }
    let namespace = state.owner.key.namespace
    for reference in state.spec.tls?.certificates ?? [] {
      let key = reference.key(in: namespace)
      if let finding = problem(
        ofCertificate: reference, at: key, for: state.owner.kind, in: namespace, "InvalidCertificateRef")
      {
        state.unresolved = state.unresolved ?? finding
      } else if !state.certificates.contains(key) {
        state.certificates.append(key)
      }
    }
    if state.certificates.isEmpty, state.unresolved == nil {
      state.unresolved = Finding("InvalidCertificateRef", "no certificate is named")
    }
  }

  /// Nil: the Secret can be served.
  func problem(
    ofCertificate reference: ObjectReference, at key: ObjectKey, for kind: String, in namespace: String,
    _ reason: String
  ) -> Finding? {
    guard reference.group.isEmpty, reference.kind == "Secret" else {
      return Finding(reason, "\(reference) is no Secret")
    }
    guard objects.permits(kind, in: namespace, to: reference, at: key) else {
      return Finding("RefNotPermitted", "no ReferenceGrant in \(key.namespace) allows secret \(key)")
    }
    guard let secret = input.secrets[key] else {
      return Finding(reason, "secret \(key) does not exist")
    }
    if case .failure(let error) = secret.loaded {
      return Finding(reason, "secret \(key) cannot be served: \(error)")
    }
    return nil
  }

  private func findAuthorities(
    _ validation: Gateway.ClientValidation, of gateway: ObjectKey, _ state: inout ListenerState
  ) {
    var found: [ObjectKey] = []
    for reference in validation.authorities {
      let key = reference.key(in: gateway.namespace)
      let finding: Finding? =
        if !reference.group.isEmpty || reference.kind != "ConfigMap" {
          Finding("InvalidCACertificateKind", "\(reference) is no ConfigMap")
        } else if !objects.permits("Gateway", in: gateway.namespace, to: reference, at: key) {
          Finding("RefNotPermitted", "no ReferenceGrant in \(key.namespace) allows configmap \(key)")
        } else if input.authorities[key] == nil {
          Finding("InvalidCACertificateRef", "configmap \(key) has no ca.crt with certificates")
        } else {
          nil
        }
      if let finding {
        state.unresolved = state.unresolved ?? finding
      } else {
        found.append(key)
      }
    }
    state.clients = GatewayPlan.ClientValidation(authorities: found, isInsecure: validation.isInsecure)
    if found.isEmpty {
      state.rejection =
        state.rejection
        ?? Finding("NoValidCACertificate", "no authority is left to check clients' certificates with")
    }
  }

  // MARK: Conflicts

  /// What can be told apart on one port.
  enum Family { case plain, sealed, stream, datagram }

  static func family(_ spoken: GatewayPlan.ListenerProtocol) -> Family {
    switch spoken {
    case .http: .plain
    case .https, .tls: .sealed
    case .tcp: .stream
    case .udp: .datagram
    }
  }

  private func conflict(_ a: ListenerState, _ b: ListenerState) -> Finding? {
    guard a.spec.port == b.spec.port, let first = a.protocol, let second = b.protocol else { return nil }
    let families = (Self.family(first), Self.family(second))
    if (families.0 == .datagram) != (families.1 == .datagram) { return nil }
    let other = "listener \(a.spec.name) of \(a.owner.kind) \(a.owner.key)"
    guard families.0 == families.1 else {
      return Finding("ProtocolConflict", "\(other) speaks \(first.rawValue) on port \(a.spec.port)")
    }
    if a.spec.hostname == b.spec.hostname {
      return Finding(
        first == second ? "HostnameConflict" : "ProtocolConflict",
        "\(other) has port \(a.spec.port) for \(a.spec.hostname ?? "every name")")
    }
    if !settings.allowsMixedTLS, first == .tls, second == .tls, a.isPassthrough != b.isPassthrough {
      return Finding("ProtocolConflict", "\(other) has another TLS mode on port \(a.spec.port)")
    }
    return nil
  }

  /// Of a Gateway's own listeners that cannot be told apart none is served. Those of sets come after them, and after older sets.
  private mutating func findConflicts(first: Int, own: Int) {
    var byPort: [UInt16: [Int]] = [:]
    for index in first..<listeners.count where listeners[index].protocol != nil {
      let earlier = byPort[listeners[index].spec.port] ?? []
      for other in earlier {
        // One that lost to somebody else takes nothing from anybody.
        if other >= own, listeners[other].conflict != nil { continue }
        guard let finding = conflict(listeners[other], listeners[index]) else { continue }
        listeners[index].conflict = listeners[index].conflict ?? finding
        if index < own {
          let back = conflict(listeners[index], listeners[other])
          listeners[other].conflict = listeners[other].conflict ?? back
        }
      }
      byPort[listeners[index].spec.port] = earlier + [index]
    }
  }
}

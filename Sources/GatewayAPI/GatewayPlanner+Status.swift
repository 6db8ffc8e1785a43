// Conditions of listeners, Gateways and ListenerSets, once routes are attached.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

extension GatewayPlanner {
  mutating func planStatus(of gateway: Gateway) {
    let generation = gateway.generation
    let range = listenersOf[Owner(kind: "Gateway", key: gateway.key)] ?? 0..<0
    let refusal = refusedGateways[gateway.key]
    let (addresses, unusable) = addresses(of: gateway)
    let notServing = notProgrammed(refusal, unusable, addresses)
    var conditions: [Condition] = []
    conditions.append(acceptance(of: gateway, listeners[range], refusal))
    let usable = listeners.contains { $0.gateway == gateway.key && $0.isUsable }
    let programmed =
      notServing ?? (usable ? nil : Finding("Invalid", "no listener can be served"))
    conditions.append(
      Self.condition(
        "Programmed", programmed, else: Finding("Programmed", "the data plane has it"), generation))
    conditions.append(resolution(of: gateway, listeners[range]))
    if ([gateway.clientValidation] + gateway.clientValidationOfPorts.values.map { $0 })
      .contains(where: { $0?.isInsecure == true })
    {
      conditions.append(
        Condition(
          type: "InsecureFrontendValidationMode", isTrue: true, reason: "ConfigurationChanged",
          message: "clients without a valid certificate are let in", generation: generation))
    }
    var attachedSets = 0
    for set in objects.listenerSets.values where set.gateway == gateway.key {
      let status = self.status(of: set, notServing)
      if status.conditions.first?.isTrue == true { attachedSets += 1 }
      result.listenerSets[set.key] = status
    }
    result.gateways[gateway.key] = GatewayPlan.GatewayStatus(
      conditions: conditions, listeners: listeners[range].map { self.status(of: $0, notServing) },
      addresses: addresses, attachedListenerSets: attachedSets)
  }

  /// What keeps all listeners from being served; nil: nothing.
  private func notProgrammed(_ refusal: Finding?, _ unusable: Finding?, _ addresses: [Gateway.Address])
    -> Finding?
  {
    if let refusal { return Finding("Invalid", refusal.message) }
    if let unusable { return unusable }
    if addresses.isEmpty { return Finding("AddressNotAssigned", "this node has no address for clients") }
    if !settings.isServing { return Finding("Pending", "the data plane does not serve Gateways yet") }
    return nil
  }

  /// Where a Gateway is to be reached; empty: anywhere; nil: nowhere, for it asks for nothing that is here.
  func boundAddresses(of key: ObjectKey) -> Set<IPAddress>? {
    guard let gateway = objects.gateways[key] else { return [] }
    guard gateway.addresses.contains(where: { !$0.value.isEmpty && $0.type == "IPAddress" }) else {
      return []
    }
    let found = Set(addresses(of: gateway).0.compactMap { IPAddress($0.value) })
    return found.isEmpty ? nil : found
  }

  private func addresses(of gateway: Gateway) -> ([Gateway.Address], Finding?) {
    let known = settings.addresses.map { Gateway.Address(type: "IPAddress", value: $0) }
    let wanted = gateway.addresses.filter { !$0.value.isEmpty && $0.type == "IPAddress" }
    if wanted.isEmpty { return (known, nil) }
    let usable = wanted.filter { settings.addresses.contains($0.value) }
    let missing = wanted.first { !settings.addresses.contains($0.value) }
    return (
      usable,
      missing.map { Finding("AddressNotUsable", "address \($0.value) is none of this machine") }
    )
  }

  private func acceptance(of gateway: Gateway, _ own: ArraySlice<ListenerState>, _ refusal: Finding?)
    -> Condition
  {
    let bad = own.filter { !$0.isAccepted }
    let names = bad.map(\.spec.name).joined(separator: ", ")
    let finding =
      refusal
      ?? (bad.count == own.count ? Finding("ListenersNotValid", "no listener is accepted: \(names)") : nil)
    let good =
      bad.isEmpty
      ? Finding("Accepted", "every listener is accepted")
      : Finding("ListenersNotValid", "listeners that are not accepted: \(names)")
    return Self.condition("Accepted", finding, else: good, gateway.generation)
  }

  private func resolution(of gateway: Gateway, _ own: ArraySlice<ListenerState>) -> Condition {
    var finding: Finding?
    if let reference = gateway.backendCertificate {
      let namespace = gateway.key.namespace
      finding = problem(
        ofCertificate: reference, at: reference.key(in: namespace), for: "Gateway", in: namespace,
        "InvalidClientCertificateRef")
    }
    let unresolved = own.filter { $0.unresolved != nil }.map(\.spec.name)
    if finding == nil, !unresolved.isEmpty {
      finding = Finding(
        "ListenersNotResolved",
        "listeners that name what they cannot have: \(unresolved.joined(separator: ", "))")
    }
    return Self.condition(
      "ResolvedRefs", finding, else: Finding("ResolvedRefs", "all that is named is there"), gateway.generation
    )
  }

  private func status(of listener: ListenerState, _ notServing: Finding?) -> GatewayPlan.ListenerStatus {
    let generation = listener.generation
    // What is wrong with the listener itself is said before what is wrong with all.
    let programmed =
      listener.conflict
      ?? (listener.isUsable
        ? notServing
        : Finding("Invalid", (listener.rejection ?? listener.unresolved)?.message ?? "it cannot be served"))
    let conditions = [
      Self.condition(
        "Accepted", listener.conflict ?? listener.rejection,
        else: Finding("Accepted", "the listener is accepted"), generation),
      Self.condition(
        "Programmed", programmed, else: Finding("Programmed", "the data plane has it"), generation),
      Self.condition(
        "ResolvedRefs", listener.unresolved, else: Finding("ResolvedRefs", "all that is named is there"),
        generation),
      Condition(
        type: "Conflicted", isTrue: listener.conflict != nil,
        reason: listener.conflict?.reason ?? "NoConflicts",
        message: listener.conflict?.message ?? "nobody else has its port and name", generation: generation),
    ]
    return GatewayPlan.ListenerStatus(
      name: listener.spec.name, supportedKinds: listener.supportedKinds,
      attachedRoutes: listener.attached.count, conditions: conditions)
  }

  private func status(of set: ListenerSet, _ notServing: Finding?) -> GatewayPlan.ListenerSetStatus {
    let own = listeners[listenersOf[Owner(kind: "ListenerSet", key: set.key)] ?? 0..<0]
    let bad = own.filter { !$0.isUsable }
    let names = bad.map(\.spec.name).joined(separator: ", ")
    let finding =
      refusedSets[set.key]
      ?? (bad.count == own.count ? Finding("ListenersNotValid", "no listener can be served: \(names)") : nil)
    let good =
      bad.isEmpty
      ? Finding("Accepted", "every listener is accepted")
      : Finding("ListenersNotValid", "listeners that cannot be served: \(names)")
    return GatewayPlan.ListenerSetStatus(
      conditions: [
        Self.condition("Accepted", finding, else: good, set.generation),
        Self.condition(
          "Programmed", finding ?? notServing, else: Finding("Programmed", "the data plane has it"),
          set.generation),
      ], listeners: own.map { status(of: $0, notServing) })
  }
}

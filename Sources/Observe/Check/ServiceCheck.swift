// Why a Service does not answer, as far as its objects tell: a selector that selects nobody, pods that are not ready, ports that
// nobody has.

import Addresses
import ClusterObjects
import ClusterView

/// A line for each Service. Costs a look at each pod of a namespace for each of its Services with a selector.
public func checkServices(_ view: ClusterView) -> CheckReport.Category {
  let pods = Dictionary(grouping: view.pods.values.filter { !$0.hasEnded }, by: \.key.namespace)
  return CheckReport.Category(
    "services",
    view.services.values.sorted { $0.key < $1.key }.map { check($0, pods[$0.key.namespace] ?? [], view) })
}

private func check(_ service: Service, _ pods: [Pod], _ view: ClusterView) -> CheckReport.Item {
  let name = "\(service.key)"
  let namespace = service.key.namespace
  if service.kind == .externalName { return .ok(name, "is \(service.externalName)") }
  let slices = view.slices(of: service.key)
  let endpoints = slices.flatMap(\.endpoints)
  let ready = endpoints.count(where: \.isReady)
  guard !service.selector.isEmpty else {
    if ready > 0 { return .ok(name, words(service, ready)) }
    return .warning(
      name, "CLI0133", "has no selector, and nobody gave it endpoints",
      next: "kubectl get endpointslices -n \(namespace) -l kubernetes.io/service-name=\(service.key.name)")
  }
  let selector = service.selector.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    .joined(separator: ",")
  let selected = pods.filter { pod in service.selector.allSatisfy { pod.labels[$0.key] == $0.value } }
  guard !selected.isEmpty else {
    return .failed(
      name, "CLI0130", "its selector \(selector) selects no pod",
      next: "kubectl get pods -n \(namespace) --show-labels")
  }
  guard ready > 0 || service.publishNotReadyAddresses else {
    let unready = selected.filter { !$0.isReady }
    guard let first = unready.sorted(by: { $0.key < $1.key }).first else {
      return .failed(
        name, "CLI0132", missingPort(service, slices) ?? "has ready pods and no endpoint",
        next: "kubectl get endpointslices -n \(namespace) -l kubernetes.io/service-name=\(service.key.name)")
    }
    let why = first.stoppedContainers.first.map { " (\($0))" } ?? ""
    return .failed(
      name, "CLI0131", "none of its \(selected.count) pods is ready: \(first.key.name)\(why)",
      next: "kubectl describe pod -n \(namespace) \(first.key.name)")
  }
  if let missing = missingPort(service, slices) {
    return .failed(
      name, "CLI0132", missing,
      next: "kubectl get service -n \(namespace) \(service.key.name) -o jsonpath='{.spec.ports}'")
  }
  if let strange = undeclaredPort(slices, selected) {
    return .warning(
      name, "CLI0134", strange,
      next: "see who listens: kubectl exec -n \(namespace) \(selected[0].key.name) -- ss -ltn")
  }
  return .ok(name, words(service, ready))
}

private func words(_ service: Service, _ ready: Int) -> String {
  let address = service.clusterIPs.first.map { "\($0)" } ?? "headless"
  return "\(address) to \(ready) endpoint\(ready == 1 ? "" : "s")"
}

/// A port of the Service that no slice carries: its targetPort is a name that no container has.
private func missingPort(_ service: Service, _ slices: [EndpointSlice]) -> String? {
  let carried = Set(slices.flatMap(\.ports).map(\.name))
  guard let port = service.ports.first(where: { !carried.contains($0.name) }) else { return nil }
  return "no container has the port that its port \(port.port) is sent to by name"
}

private func undeclaredPort(_ slices: [EndpointSlice], _ pods: [Pod]) -> String? {
  for port in slices.flatMap(\.ports) {
    if let number = port.port, let strange = undeclaredPort(number, port.transport, pods) { return strange }
  }
  return nil
}

/// Containers need not declare their ports; where all do, another number is a reason to look. Nil when there is none.
func undeclaredPort(_ number: UInt16, _ transport: TransportProtocol, _ pods: [Pod]) -> String? {
  let declared = pods.map { $0.ports.filter { $0.transport == transport }.map(\.port) }
  guard !declared.isEmpty, declared.allSatisfy({ !$0.isEmpty && !$0.contains(number) }) else { return nil }
  let others = Set(declared.joined()).sorted().map(String.init).joined(separator: ", ")
  return "sends to port \(number), and its containers declare \(others)"
}

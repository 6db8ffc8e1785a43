// From a Service to an address that answers: a ready endpoint, as the API server itself knows them, else the
// cluster address. No proxy and no DNS is needed between the API server and its webhooks.

import ClusterClient
import ClusterObjects

/// Finds endpoints in the watch caches.
struct ServiceResolver: Sendable {
  let state: AdmissionState

  func resolve(_ namespace: String, _ name: String, _ port: Int) throws(WebhookError) -> (
    host: String, port: Int
  ) {
    guard let service = state.object(.services, namespace: namespace, name: name)?.tree else {
      throw WebhookError(.unreachable, "service \"\(name)\" not found")
    }
    if service.at("spec", "type")?.string == "ExternalName",
      let external = service.at("spec", "externalName")?.string
    {
      return (external, port)
    }
    guard
      let servicePort = service.at("spec", "ports")?.elements.first(where: { $0["port"]?.int == port })
    else {
      throw WebhookError(.unreachable, "no service port \(port) found for service \"\(name)\"")
    }
    let portName = servicePort["name"]?.string ?? ""
    var ready: [(String, Int)] = []
    var hasSlices = false
    for slice in state.objects(.endpointSlices, namespace: namespace)
    where slice.labels["kubernetes.io/service-name"] == name {
      hasSlices = true
      guard
        let target = slice.tree["ports"]?.elements.first(where: { ($0["name"]?.string ?? "") == portName })?[
          "port"]?.int
      else { continue }
      for endpoint in slice.tree["endpoints"]?.elements ?? []
      where endpoint.at("conditions", "ready")?.bool != false {
        for address in endpoint["addresses"]?.elements.prefix(1) ?? [] {
          if let text = address.string { ready.append((text, target)) }
        }
      }
    }
    if let chosen = ready.randomElement() { return chosen }
    if !hasSlices, let address = service.at("spec", "clusterIP")?.string, !address.isEmpty, address != "None"
    {
      return (address, port)
    }
    throw WebhookError(.unreachable, "no endpoints available for service \"\(name)\"")
  }
}

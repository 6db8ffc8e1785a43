// What else an explanation of a request needs: the Secrets and ConfigMaps that Ingresses and Gateways name.

import ClusterClient
import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress
import Observe

extension Explainer {
  /// Reads them one by one, and nothing else of the cluster's Secrets. Without the right to it the rest is still to be told.
  mutating func readReferences(_ api: any ClusterAPI) async {
    let gateways = planGatewayReferences(view: view, settings: GatewaySettings(addresses: [])).secrets
    secrets = try? await ServedCertificates.read(planSecretReferences(view: view).union(gateways), api)
    credentials = try? await ServedCertificates.read(
      planCredentialReferences(view: view), of: .secrets, api, CredentialSecret.init(secret:))
    let read = try? await ServedCertificates.read(
      planHeaderReferences(view: view), of: .configMaps, api, headerFields(configMap:))
    fields = read ?? [:]
  }
}

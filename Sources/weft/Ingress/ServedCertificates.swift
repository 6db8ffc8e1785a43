// What `weft check` asks of certificates: the Secrets that Ingresses and Gateways name, read one by one, and nothing else of the
// cluster's Secrets; and the files of a control plane on this machine.

import ClusterClient
import ClusterObjects
import ClusterServer
import ClusterView
import Diagnostics
import GatewayAPI
import Ingress
import Observe

enum ServedCertificates {
  /// Secrets that are read; of more the rest is not looked at.
  private static let secretsMax = 1_000

  /// - Parameter folder: the data directory of this machine's control plane, if it has one.
  static func check(_ view: ClusterView, _ api: some ClusterAPI, folder: String?) async
    -> CheckReport.Category
  {
    let now = Timestamp.now().seconds
    var items: [CheckReport.Item] = []
    if let folder, let kept = try? CertificateFolder(dataFolder: folder).lives() {
      items += checkClusterCertificates(kept.map { ($0.name, $0.end, $0.isAuthority) }, now: now)
    }
    do {
      var view = view
      try await ClusterOptions.addGateways(to: &view, of: api)
      let gateways = planGatewayReferences(view: view, settings: GatewaySettings(addresses: [])).secrets
      let secrets = try await read(planSecretReferences(view: view).union(gateways), api)
      let plan = planRoutesExplained(view: view, tls: TLSInput(secrets: secrets))
      items += checkCertificates(plan.certificates, problems: plan.problems, now: now).items
      items += checkGatewayCertificates(
        view, secrets: secrets.filter { gateways.contains($0.key) }, now: now)
    } catch {
      items.append(
        .warning(
          "Secrets", "CLI0147", "cannot be read (\(error))",
          next: "use a kubeconfig that may: kubectl auth can-i get secrets -A"))
    }
    return .init("certificates", items)
  }

  /// Those of them that exist.
  static func read(_ keys: Set<ObjectKey>, _ api: any ClusterAPI) async throws -> [ObjectKey: TLSSecret] {
    try await read(keys, of: .secrets, api, TLSSecret.init(secret:))
  }

  /// Those of them that exist, as what `make` makes of each.
  static func read<Value>(
    _ keys: Set<ObjectKey>, of resource: GroupVersionResource, _ api: any ClusterAPI, _ make: (JSON) -> Value
  ) async throws -> [ObjectKey: Value] {
    var found: [ObjectKey: Value] = [:]
    for key in keys.sorted().prefix(secretsMax) {
      do {
        found[key] = make(try await api.get(resource, namespace: key.namespace, name: key.name))
      } catch let refusal as APIStatusError where refusal.isNotFound {
        continue
      }
    }
    return found
  }
}

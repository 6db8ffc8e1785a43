// What `weft check` asks of certificates: the Secrets that Ingresses name, read one by one, and nothing else of the cluster's Secrets.

import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Ingress
import Observe

enum ServedCertificates {
  /// Secrets that are read; of more the rest is not looked at.
  private static let secretsMax = 1_000

  static func check(_ view: ClusterView, _ api: some ClusterAPI) async -> CheckReport.Category {
    do {
      let secrets = try await read(planSecretReferences(view: view), api)
      let plan = planRoutesExplained(view: view, tls: TLSInput(secrets: secrets))
      return checkCertificates(plan.certificates, problems: plan.problems, now: Timestamp.now().seconds)
    } catch {
      return .init(
        "certificates",
        [
          .warning(
            "Secrets", "CLI0147", "cannot be read (\(error))",
            next: "use a kubeconfig that may: kubectl auth can-i get secrets -A")
        ])
    }
  }

  /// Those of them that exist.
  static func read(_ keys: Set<ObjectKey>, _ api: any ClusterAPI) async throws -> [ObjectKey: TLSSecret] {
    var found: [ObjectKey: TLSSecret] = [:]
    for key in keys.sorted().prefix(secretsMax) {
      do {
        found[key] = TLSSecret(secret: try await api.get(.secrets, namespace: key.namespace, name: key.name))
      } catch let refusal as APIStatusError where refusal.isNotFound {
        continue
      }
    }
    return found
  }
}

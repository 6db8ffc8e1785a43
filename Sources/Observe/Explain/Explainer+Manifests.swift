// What manifests hold of the Secrets and ConfigMaps that Ingresses and Gateways name.

import ClusterObjects
import Ingress

extension Explainer {
  /// Takes them as the API server would hand them out: with a namespace, `stringData` in `data`.
  public mutating func takeReferences(_ objects: [JSON]) {
    var (certificates, passwords) = ([ObjectKey: TLSSecret](), [ObjectKey: CredentialSecret]())
    for object in objects where object.kind == "Secret" || object.kind == "ConfigMap" {
      var object = RehearsedPods.inNamespace(object)
      if object.kind == "ConfigMap" {
        fields[object.key] = headerFields(configMap: object)
        continue
      }
      KindRegistry.builtin.kind(apiVersion: "v1", kind: "Secret")?.applyDefaults(&object)
      certificates[object.key] = TLSSecret(secret: object)
      passwords[object.key] = CredentialSecret(secret: object)
    }
    (secrets, credentials) = (certificates, passwords)
  }
}

// Every namespace that lives has a `default` ServiceAccount and, in ConfigMap `kube-root-ca.crt`, the
// cluster's CA.

import ClusterClient
import ClusterObjects
import Diagnostics

func serviceAccountController(_ context: ControllerContext) -> Controller {
  perNamespace("serviceaccount", context, resource: .serviceAccounts, name: "default") {
    namespace, existing in
    guard existing == nil else { return nil }
    return [
      "apiVersion": "v1", "kind": "ServiceAccount",
      "metadata": ["namespace": JSON(namespace), "name": "default"],
    ]
  }
}

func rootCertificateController(_ context: ControllerContext) -> Controller {
  let certificate = context.settings.rootCertificate
  return perNamespace(
    "root_ca_cert_publisher", context, resource: .configMaps, name: "kube-root-ca.crt",
    all: authenticationMap
  ) { namespace, existing in
    planRootCertificate(namespace, existing, certificate: certificate())
  }
}

/// Where API servers write whom they trust, so that others see when that changes.
let authenticationMap = ObjectKey("kube-system", "extension-apiserver-authentication")

/// The ConfigMap to write, or nil when it is right already or there is nothing to publish.
func planRootCertificate(_ namespace: String, _ existing: JSON?, certificate: String) -> JSON? {
  guard !certificate.isEmpty else { return nil }
  var map =
    existing ?? [
      "apiVersion": "v1", "kind": "ConfigMap",
      "metadata": [
        "namespace": JSON(namespace), "name": "kube-root-ca.crt",
        "annotations": [
          "kubernetes.io/description": "The certificate authority of this cluster's API server."
        ],
      ],
    ]
  if map["data"] == ["ca.crt": JSON(certificate)] { return nil }
  map["data"] = ["ca.crt": JSON(certificate)]
  return map
}

/// A controller that keeps one object by a fixed name in every living namespace. When the object `all` changes, each is looked
/// at again.
private func perNamespace(
  _ controller: String, _ context: ControllerContext, resource: GroupVersionResource, name: String,
  all: ObjectKey? = nil, plan: @escaping @Sendable (_ namespace: String, _ existing: JSON?) -> JSON?
) -> Controller {
  let queue: WorkQueue<String> = context.queue(controller)
  let namespaces = context.informers.informer(.namespaces)
  let objects = context.informers.informer(resource)
  let registrations = [
    namespaces.onChange { changes in
      for change in changes where change.new != nil { queue.add(change.key.name) }
    },
    objects.onChange { changes in
      for change in changes where change.old != nil {
        if change.key.name == name { queue.add(change.key.namespace) }
        if change.key == all { for key in namespaces.snapshot.keys { queue.add(key.name) } }
      }
    },
  ]
  return Controller(
    controller, context, queue: queue, registrations: registrations, workers: 1,
    resync: { for key in namespaces.snapshot.keys { queue.add(key.name) } }
  ) { namespace in
    guard let owner = namespaces["", namespace], !owner.isTerminating else { return nil }
    let existing = objects[namespace, name]
    guard let wanted = plan(namespace, existing) else { return nil }
    do {
      if existing == nil {
        _ = try await context.api.create(resource, wanted, options: context.options)
      } else {
        _ = try await context.api.update(resource, wanted, subresource: nil, options: context.options)
      }
    } catch let error as APIStatusError where error.isAlreadyExists || error.isOfEndingNamespace {
      // Made by someone else meanwhile, or the namespace has begun to go. Any other refusal is told and tried again.
    }
    return nil
  }
}

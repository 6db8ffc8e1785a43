// Which Ingresses an ingress serves: by class, controller and namespace, as ingress-nginx's flags say it.

import ClusterClient
import ClusterObjects
import ClusterView
import Ingress

struct IngressScope: Sendable {
  /// `spec.controller` of the IngressClasses that are ours.
  var controller = ingressControllerName
  /// A class that is ours without an IngressClass that says so, as the old annotation names one.
  var className: String?
  /// Also Ingresses without a class, where no default class is another's.
  var servesUnclassed = false
  /// Empty: all.
  var namespace = ""

  /// The view as this ingress sees it.
  func narrow(_ whole: ClusterView) -> ClusterView {
    var view = whole
    if !namespace.isEmpty {
      for key in view.ingresses.keys where key.namespace != namespace { view.remove(kind: "Ingress", key) }
    }
    if let className, view.ingressClasses[className] == nil {
      view.apply([
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": ["name": JSON(className)],
        "spec": ["controller": JSON(controller)],
      ])
    }
    return view
  }

  /// Of a namespaced resource only what lies in the namespace: a Role is enough then.
  func informerScope(_ resource: GroupVersionResource) -> InformerScope {
    InformerScope(resource, namespace: resource == .ingressClasses ? "" : namespace)
  }
}

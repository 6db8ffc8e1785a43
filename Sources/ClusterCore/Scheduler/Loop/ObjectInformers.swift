// The informers behind a scheduler, and the view of objects that plugins get.

import ClusterClient
import ClusterObjects

extension GroupVersionResource {
  static let storageClasses = Self("storage.k8s.io", "v1", "storageclasses")
  static let csiNodes = Self("storage.k8s.io", "v1", "csinodes")
  static let disruptionBudgets = Self("policy", "v1", "poddisruptionbudgets")
  static let replicationControllers = Self("", "v1", "replicationcontrollers")
  static let statefulSets = Self("apps", "v1", "statefulsets")
}

struct ObjectInformers: Sendable {
  let pods: Informer
  let nodes: Informer
  let namespaces: Informer
  let volumes: Informer
  let claims: Informer
  let storageClasses: Informer
  let csiNodes: Informer
  let budgets: Informer
  let services: Informer
  let replicationControllers: Informer
  let replicaSets: Informer
  let statefulSets: Informer

  init(_ informers: SharedInformers) {
    pods = informers.informer(.pods)
    nodes = informers.informer(.nodes)
    namespaces = informers.informer(.namespaces)
    volumes = informers.informer(.persistentVolumes)
    claims = informers.informer(.persistentVolumeClaims)
    storageClasses = informers.informer(.storageClasses)
    csiNodes = informers.informer(.csiNodes)
    budgets = informers.informer(.disruptionBudgets)
    services = informers.informer(.services)
    replicationControllers = informers.informer(.replicationControllers)
    replicaSets = informers.informer(.replicaSets)
    statefulSets = informers.informer(.statefulSets)
  }

  /// References to the informers' snapshots.
  var view: ClusterObjectsView {
    var view = ClusterObjectsView()
    view.namespaces = namespaces.snapshot
    view.volumes = volumes.snapshot
    view.claims = claims.snapshot
    view.storageClasses = storageClasses.snapshot
    view.csiNodes = csiNodes.snapshot
    view.budgets = budgets.snapshot
    view.services = services.snapshot
    view.replicationControllers = replicationControllers.snapshot
    view.replicaSets = replicaSets.snapshot
    view.statefulSets = statefulSets.snapshot
    return view
  }
}

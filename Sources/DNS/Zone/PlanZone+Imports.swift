// ServiceImports of a plan: their names in each zone of the cluster set.

import Addresses
import ClusterObjects
import ClusterView

extension ZonePlanner {
  mutating func take(imported key: ObjectKey, _ state: ServiceImportState?, _ step: inout Step) {
    let old = imports[key]
    if old?.state == state { return }
    if let old {
      retire(old.groups, &step)
      if old.isServed { count(key.namespace, -1, &step) }
    }
    guard let state else {
      imports[key] = nil
      return
    }
    var planned = PlannedImport(state: state, isServed: isServed(imported: state.service), groups: [])
    if planned.isServed {
      count(key.namespace, 1, &step)
      work.services += 1
      for zone in settings.multiclusterZones {
        guard let plan = planImport(state, settings, zone: zone) else { continue }
        planned.groups.append(build(plan.names, plan.pointers, &step))
      }
    }
    imports[key] = planned
  }

  private func isServed(imported service: ServiceImport) -> Bool {
    isServed(namespace: service.key.namespace) && settings.serviceSelector?.matches(service.labels) ?? true
  }
}

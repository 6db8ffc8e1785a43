// From the informers into cache and queue.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

extension Scheduler {
  func follow() {
    keep(objects.nodes.onChange { [weak self] changes in self?.nodesChanged(changes) })
    keep(objects.pods.onChange { [weak self] changes in self?.podsChanged(changes) })
    for informer in [objects.volumes, objects.claims, objects.storageClasses, objects.csiNodes] {
      keep(informer.onChange { [weak self] _ in self?.happened(.storage) })
    }
    for informer in [objects.namespaces, objects.services] {
      keep(
        informer.onChange { [weak self] changes in
          // A namespace's status says nothing to a selector.
          if changes.contains(where: { $0.old?.labels != $0.new?.labels || $0.old?.spec != $0.new?.spec }) {
            self?.happened(.selectors)
          }
        })
    }
  }

  private func nodesChanged(_ changes: [ObjectChange]) {
    for change in changes {
      if let node = change.new {
        // A heartbeat changes conditions' times and nothing that is read here.
        if let old = change.old, Self.readsSame(old, node) { continue }
        if let event = cache.setNode(NodeFacts(node)) { happened(event) }
      } else {
        cache.removeNode(change.key.name)
      }
    }
  }

  private static func readsSame(_ old: JSON, _ new: JSON) -> Bool {
    old["spec"] == new["spec"] && old.at("metadata", "labels") == new.at("metadata", "labels")
      && old.at("status", "allocatable") == new.at("status", "allocatable")
      && old.at("status", "capacity") == new.at("status", "capacity")
      && old.at("status", "images") == new.at("status", "images")
  }

  private func podsChanged(_ changes: [ObjectChange]) {
    var isQueued = false
    for change in changes {
      guard let object = change.new else {
        queue.withLock { $0.remove(change.key) }
        if let event = cache.removePod(change.key) { happened(event) }
        continue
      }
      let pod = PodInfo(object)
      if pod.isFinished {
        queue.withLock { $0.remove(pod.key) }
        if let event = cache.removePod(pod.key) { happened(event) }
      } else if !pod.nodeName.isEmpty {
        queue.withLock { $0.remove(pod.key) }
        if let event = cache.setPod(pod) { happened(event) }
      } else if let profile = profiles[pod.schedulerName], !pod.isTerminating {
        if cache.isAssumed(pod.key) { continue }
        if !pod.nominatedNodeName.isEmpty { cache.nominate(pod, pod.nominatedNodeName) }
        let isGated = profile.preEnqueue.contains { $0.preEnqueue(pod) != nil }
        queue.withLock { $0.add(pod, isGated: isGated, now: .now) }
        if change.old == nil { metrics.incoming.child(isGated ? "gated" : "active", "PodAdd").increment() }
        isQueued = true
      } else {
        queue.withLock { $0.remove(pod.key) }
      }
    }
    if isQueued { wakeLoop() }
  }
}
